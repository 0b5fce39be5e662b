"""Kill -9 proves nothing about fsync, since the kernel keeps what was written: here the system calls of one record
are looked at, from its publisher to the warehouse. Each step is durable before the next one relies on it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import pytest

from tests.crash.running import REPOSITORY, make_project
from tests.crash.traced import MARKS
from tests.missing import without

TRACED = "write,writev,pwrite64,pwritev,fsync,fdatasync,link,linkat,rename,renameat,renameat2"
SYNCS = {"fsync", "fdatasync"}
WRITES = {"write", "writev", "pwrite64", "pwritev"}
_LINE = re.compile(r"^(\d+) +(?:<\.\.\. )?(\w+)(?: resumed>|\()(.*)$")


@dataclass(frozen=True, slots=True)
class Call:
    """A system call: its arguments with their paths, and in which lines of the trace it began and ended."""

    name: str
    arguments: str
    began: int
    ended: int


class Trace:
    """The calls of all threads."""

    def __init__(self, text: str) -> None:
        self.calls: list[Call] = []
        open_calls: dict[tuple[str, str], tuple[str, int]] = {}
        for number, line in enumerate(text.splitlines()):
            found = _LINE.match(line)
            if found is None:
                continue
            thread, name, rest = found.groups()
            if rest.endswith("<unfinished ...>"):
                open_calls[thread, name] = rest, number
                continue
            arguments, began = open_calls.pop((thread, name), ("", number))
            assert re.search(r"= \d+", rest), f"a call failed: {line}"
            self.calls.append(Call(name, arguments + rest, began, number))

    def all_of(self, names: set[str], path: str, between: tuple[int, int]) -> list[Call]:
        """Calls on a path that ends so, begun and ended between two lines."""
        about: Callable[[str], object] = re.compile(rf"{path}[>\"]").search
        return [
            call
            for call in self.calls
            if call.name in names and about(call.arguments) and between[0] < call.began and call.ended < between[1]
        ]

    def one(self, names: set[str], path: str, between: tuple[int, int]) -> Call:
        found = self.all_of(names, path, between)
        assert len(found) == 1, (names, path, found)
        return found[0]

    def last(self, names: set[str], path: str, between: tuple[int, int]) -> Call:
        found = self.all_of(names, path, between)
        assert found, (names, path)
        return max(found, key=lambda call: call.ended)

    def during(self, step: str) -> tuple[int, int]:
        """From where a step's beginning was marked to where its end was."""
        marks = {
            mark: [call for call in self.calls if MARKS in call.arguments and f'"{mark} {step}\\n"' in call.arguments]
            for mark in ("before", "after")
        }
        return marks["before"][0].ended, marks["after"][0].began


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    strace = shutil.which("strace")
    if strace is None:
        without("strace is not installed (tests/system_packages.sh brings it)")
    folder = tmp_path_factory.mktemp("order")
    make_project(folder, "[load]\nmax_age_s = 0.05\n")
    log = folder / "trace"
    options = ["-f", "-y", "-s", "80", "-e", f"trace={TRACED}", "-o", str(log)]
    done = subprocess.run(
        [strace, *options, sys.executable, "-m", "tests.crash.traced", str(folder)],
        cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    if "ptrace" in done.stderr and done.returncode:
        without(f"strace may not trace here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return Trace(log.read_text())


def test_publish_returns_after_its_commit_is_durable(trace: Trace) -> None:
    publishing = trace.during("queue.publish")
    log = r"/queue/[^/]+\.db-wal"
    written = trace.last(WRITES, log, publishing)
    synced = trace.last(SYNCS, log, publishing)
    assert written.ended < synced.began
    assert trace.all_of(SYNCS, "/queue", publishing), "the folder, which names the file"


def test_a_rounds_file_is_durable_before_it_has_its_name_and_the_name_before_it_is_acknowledged(trace: Trace) -> None:
    archiving, acknowledging = trace.during("archive.put"), trace.during("queue.ack")
    temporary = r"/archive/incoming/\.[0-9a-f]+\.tmp"
    written = trace.last(WRITES, temporary, archiving)
    synced = trace.one(SYNCS, temporary, archiving)
    named = trace.one({"link", "linkat", "rename", "renameat", "renameat2"}, r"\.ndjson\.zst", archiving)
    folder = trace.last(SYNCS, "/archive/incoming", archiving)
    position = trace.last(WRITES, r"/positions\.db-wal", acknowledging)
    acknowledged = trace.last(SYNCS, r"/positions\.db-wal", acknowledging)
    steps = [written, synced, named, folder, position, acknowledged]
    for earlier, later in pairwise(steps):
        assert earlier.ended < later.began


def test_nothing_is_acknowledged_before_the_folder_is_durable(trace: Trace) -> None:
    archiving = trace.during("archive.put")
    assert trace.all_of(WRITES, r"/positions\.db(-wal)?", archiving) == []
    assert archiving[1] < trace.during("queue.ack")[0]


def test_a_load_is_durable_before_it_counts(trace: Trace) -> None:
    """The transaction's rows and its entry in the ledger go to DuckDB's log together."""
    committing = trace.during("commit of a load")
    written = trace.last(WRITES, r"/warehouse\.duckdb\.wal", committing)
    synced = trace.last(SYNCS, r"/warehouse\.duckdb\.wal", committing)
    assert written.ended < synced.began
    assert synced.ended < trace.during("warehouse.load")[1]
