"""Kill -9 proves nothing about fsync: here the system calls of a `put` are looked at."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.missing import without

TRACED = "mkdir,mkdirat,write,writev,fsync,fdatasync,link,linkat,rename,renameat,renameat2,unlink,unlinkat"
_CALL = re.compile(r"^(?:\d+ +)?(\w+)\((.*)\) += (-?\d+)")
_FINISHED = "put has returned"


@pytest.fixture
def strace() -> str:
    found = shutil.which("strace")
    if found is None:
        without("strace is not installed (tests/system_packages.sh brings it)")
    return found


def calls_of_put(strace: str, tmp_path: Path, name: str) -> list[tuple[str, str]]:
    """The successful system calls of a process that puts `name`, up to where `put` has returned."""
    script = f"""
import os
from pathlib import Path
from catchment.archives.disk import DiskArchive, DiskConfig
DiskArchive(DiskConfig(), Path({str(tmp_path)!r})).put({name!r}, [b"some", b"bytes"])
os.write(1, b"{_FINISHED}")
"""
    trace = tmp_path / "trace"
    options = ["-f", "-y", "-s", "200", "-e", f"trace={TRACED}", "-o", str(trace)]
    command = [strace, *options, sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "ptrace" in done.stderr and done.returncode:
        without(f"strace may not trace here: {done.stderr.strip()}")
    assert done.stdout == _FINISHED, done.stderr
    found = [match for line in trace.read_text().splitlines() if (match := _CALL.match(line))]
    calls = [(match[1], match[2].replace(str(tmp_path), "")) for match in found if int(match[3]) >= 0]
    end = next(at for at, (_, arguments) in enumerate(calls) if _FINISHED in arguments)
    return [(call, arguments) for call, arguments in calls[:end] if "/archive" in arguments or call == "fsync"]


def story(calls: list[tuple[str, str]]) -> list[str]:
    """The calls with their paths alone, the temporary name as TMP."""
    told = []
    for call, arguments in calls:
        paths = re.findall(r'"(/[^"]*)"', arguments) or re.findall(r"\d+<([^>]*)>", arguments)
        text = " ".join(re.sub(r"\.[0-9a-f]{16}\.tmp", "TMP", path) or "/" for path in paths)
        told.append(f"{call.removesuffix('at')} {text}")
    return told


def test_everything_is_durable_in_this_order_before_put_returns(strace: str, tmp_path: Path) -> None:
    assert story(calls_of_put(strace, tmp_path, "table=a.b/x")) == [
        "mkdir /archive",
        "fsync /",
        "mkdir /archive/table=a.b",
        "fsync /archive",
        "writev /archive/table=a.b/TMP",
        "fsync /archive/table=a.b/TMP",
        "link /archive/table=a.b/TMP /archive/table=a.b/x",
        "unlink /archive/table=a.b/TMP",
        "fsync /archive/table=a.b",
    ]


def test_a_file_that_is_there_already_is_made_durable_too(strace: str, tmp_path: Path) -> None:
    """Whoever wrote it may have died before it synced the folder."""
    (tmp_path / "archive" / "a").mkdir(parents=True)
    (tmp_path / "archive" / "a" / "x").write_bytes(b"somebytes")
    told = story(calls_of_put(strace, tmp_path, "a/x"))
    assert told[-1] == "fsync /archive/a"
    assert "fsync /archive" in told
    assert not [call for call in told if call.startswith("link")]
