"""What a power cut would meet: the order of the system calls.

kill -9 proves nothing about it, since the page cache survives the process.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest
from tests.missing import without

if shutil.which("strace") is None:
    without("strace is not installed (tests/system_packages.sh brings it)")

PUBLISH = """
import os, sys
from pathlib import Path
from catchment.queues.sqlite import Config, SqliteQueue

publisher = SqliteQueue(Config(rotate_bytes=30_000), Path(sys.argv[1]))
for number in range(15):
    publisher.publish([b"x" * 5_000])
    os.write(1, b"returned")
publisher.close()
consumer = SqliteQueue(Config(), Path(sys.argv[1]))
while delivery := consumer.receive(10_000, 0.05):
    consumer.ack([delivery])
    os.write(1, b"returned")
"""
CALLS = "openat,write,pwrite64,fsync,fdatasync,rename,unlink"
CALL = re.compile(r"(?P<name>\w+)\((?P<arguments>.*)\)\s+= (?P<result>.+)")
WRITES = {"write", "pwrite64"}
SYNCS = {"fsync", "fdatasync"}
QUOTES = '" '


def whole_calls(log: str) -> Iterator[tuple[str, str, str]]:
    """Name, arguments and result of each call, in the order of their ends; threads cut each other's lines."""
    begun: dict[str, str] = {}
    for line in log.splitlines():
        thread, _, text = line.partition(" ")
        text = text.lstrip()
        if text.endswith("<unfinished ...>"):
            begun[thread] = text.removesuffix("<unfinished ...>")
            continue
        if resumed := re.match(r"<\.\.\. \w+ resumed>(.*)", text):
            text = begun.pop(thread) + resumed[1]
        if call := CALL.match(text):
            yield call["name"], call["arguments"], call["result"]


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str]]:
    """Each system call of a publisher and consumer about the queue's files, in order, with the file's path."""
    place = tmp_path_factory.mktemp("traced")
    log = place / "strace.log"
    command = [
        "strace",
        "-f",
        "-y",
        "-s",
        "16",
        "-e",
        f"trace={CALLS}",
        "-o",
        str(log),
        sys.executable,
        "-c",
        PUBLISH,
    ]
    done = subprocess.run([*command, str(place)], capture_output=True, text=True, timeout=120, check=False)
    if done.returncode and "ptrace" in done.stderr:
        without(f"strace may not trace here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    seen = []
    for name, arguments, result in whole_calls(log.read_text()):
        if name in WRITES and '"returned"' in arguments:
            seen.append(("returned", ""))
        elif name in WRITES | SYNCS and (path := re.match(r"\d+<([^>]*)>", arguments)):
            seen.append((name, path[1].removeprefix(str(place)).lstrip("/")))
        elif name == "unlink":
            seen.append((name, f"queue/{arguments.rpartition('/')[2].strip(QUOTES)}"))
        elif name == "rename":
            seen.append((name, arguments.rpartition("/")[2].strip(QUOTES)))
        elif name == "openat" and "O_CREAT" in arguments and (path := re.search(r"<([^>]*)>", result)):
            seen.append(("create", path[1].removeprefix(str(place)).lstrip("/")))
    return [(name, path) for name, path in seen if name == "returned" or path.startswith(("queue", ""))]


def test_every_write_to_a_wal_is_synced_before_publish_or_ack_returns(calls: list[tuple[str, str]]) -> None:
    unsynced: set[str] = set()
    written = returned = 0
    for name, path in calls:
        if name in WRITES and path.endswith("-wal"):
            unsynced.add(path)
            written += 1
        elif name in SYNCS:
            unsynced.discard(path)
        elif name == "returned":
            returned += 1
            assert not unsynced, f"call {returned} returned before its sync"
    assert returned >= 23
    assert written >= 23


def test_a_new_file_is_in_its_folder_for_good_before_publish_returns(calls: list[tuple[str, str]]) -> None:
    new: set[str] = set()
    files = 0
    published = [at for at, (name, _) in enumerate(calls) if name == "returned"][:15]
    for name, path in calls[: published[-1] + 1]:
        if name == "rename" or (name == "create" and path.endswith("-wal")):
            new.add(path)
            files += 1
        elif name in SYNCS and path == "queue":
            new.clear()
        elif name == "returned":
            assert not new, "a publish returned while its file could still vanish with the power"
    assert files >= 6, "neither files nor their wal were created, so nothing was shown"


def test_a_new_file_is_whole_before_it_gets_its_name(calls: list[tuple[str, str]]) -> None:
    renamed = [at for at, (name, _) in enumerate(calls) if name == "rename"]
    assert len(renamed) >= 3
    for at in renamed:
        new_file = f"queue/{calls[at][1]}.new"
        last_write = max(before for before in range(at) if calls[before] == ("pwrite64", new_file))
        assert ("fsync", new_file) in calls[last_write:at]


def test_a_drained_file_is_gone_for_good_before_its_position_is_forgotten(calls: list[tuple[str, str]]) -> None:
    removed = [at for at, (name, path) in enumerate(calls) if name == "unlink" and re.search(r"-\d+\.db$", path)]
    assert removed
    for at in removed:
        forgotten = next(i for i in range(at, len(calls)) if calls[i] == ("pwrite64", "queue/positions.db-wal"))
        assert ("fsync", "queue") in calls[at:forgotten]


def test_the_queues_folder_itself_is_durable(calls: list[tuple[str, str]]) -> None:
    returned = calls.index(("returned", ""))
    assert ("fsync", "") in calls[:returned]
