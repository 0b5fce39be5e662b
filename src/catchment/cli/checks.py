"""What `catchment doctor` looks at. Nothing of it disturbs a project that runs: no consumer is started, no file of
anyone else's is written, and the warehouse is left to its adapter's `diagnose`."""

from __future__ import annotations

import platform
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import catchment
from catchment.archives import INCOMING, Archive
from catchment.config import Part, Project
from catchment.config.units import size_text
from catchment.errors import CatchmentError, StorageError
from catchment.finding import Finding
from catchment.load.files import parse
from catchment.load.verify import problems
from catchment.queues import Queue
from catchment.queues.outbox_lanes import waiting

MIN_DUCKDB = (2, 0, 1)
MIN_FREE_BYTES = 2_000_000_000
CLOCK_TOLERANCE_S = 300
MAX_FILES_FOR_CLOCK = 10_000
MAX_LOOKED_AT_BYTES = 100_000_000
VANISHING = frozenset({"tmpfs", "ramfs", "overlay"})
"""File systems that a restart of the machine or of its container empties."""
SET_ASIDE = ("*/broken/*", "*.damaged-*")
"""Where the embedded queue and the embedded warehouse put a damaged file."""


def examine(project: Project, *, whole_archive: bool = False) -> Iterator[Finding]:
    """Everything that can be looked at from here, as it is found. Reading the whole archive may take long."""
    yield versions()
    yield clock(project.runtime)
    yield writable(project.runtime)
    yield free_space(project.runtime)
    yield from private_env(project.root / ".env")
    yield from set_aside(project.runtime)
    yield from part(project.queue, _ask_queue)
    if (folder := project.queue.outbox_folder) is not None:
        yield outbox(folder)
    for listener in project.listen.values():
        yield from part(listener, None, name=listener.name)
        if listener.forward is not None:
            for found in part(listener.forward, _ask_queue):
                yield replace(found, subject=f"listen.{listener.name}.forward")
    yield from part(project.archive, lambda archive: _ask_archive(archive, whole=whole_archive))
    yield from part(project.warehouse, None)
    yield from part(project.state, None)


def versions() -> Finding:
    """Python and DuckDB."""
    duckdb = version("duckdb")
    words = f"Python {platform.python_version()}, DuckDB {duckdb}, Catchment {catchment.__version__}"
    numbers = tuple(int(number) for number in re.findall(r"\d+", duckdb)[:3])
    least = ".".join(map(str, MIN_DUCKDB))
    return Finding("versions", numbers >= MIN_DUCKDB, words, f"pip install 'duckdb>={least}'")


def clock(runtime: Path) -> Finding:
    """Whether files were written later than it is now: records would be stamped too early."""
    now_s = time.time()
    latest_s = Path(catchment.__file__).stat().st_mtime
    for path in islice(runtime.rglob("*"), MAX_FILES_FOR_CLOCK):
        try:
            latest_s = max(latest_s, path.stat().st_mtime)
        except FileNotFoundError:  # removed meanwhile, as files of the queue are
            continue
    moment = datetime.fromtimestamp(now_s, UTC).isoformat(timespec="seconds")
    if latest_s <= now_s + CLOCK_TOLERANCE_S:
        return Finding("clock", True, moment)
    later = datetime.fromtimestamp(latest_s, UTC).isoformat(timespec="seconds")
    return Finding(
        "clock", False, f"it is {moment}, yet a file is of {later}", "set the clock, and have it kept right by NTP"
    )


def writable(runtime: Path) -> Finding:
    """Whether the runtime folder can be written to, or made."""
    if (runtime.exists() or runtime.is_symlink()) and not runtime.is_dir():
        return Finding("folder", False, f"{runtime} is no folder", f"move it away: mv {runtime} {runtime}.old")
    folder = _existing(runtime)
    try:
        with tempfile.TemporaryFile(dir=folder):
            return Finding("folder", True, f"{folder} can be written to")
    except OSError as error:
        return Finding(
            "folder", False, f"{folder} cannot be written to: {error.strerror}", f"ls -ld {folder}; df {folder}"
        )


def free_space(runtime: Path) -> Finding:
    """Whether the disk has room for the queue and the archive to grow."""
    folder = _existing(runtime)
    free_bytes = shutil.disk_usage(folder).free
    words = f"{free_bytes / 1e9:.1f} GB free at {folder}"
    return Finding(
        "disk",
        free_bytes >= MIN_FREE_BYTES,
        words,
        f"make room: at least {size_text(MIN_FREE_BYTES)} should be free",
    )


def private_env(file: Path) -> Iterator[Finding]:
    """Whether others may read the secrets in `.env`; nothing where there is none."""
    if file.exists():
        is_private = not file.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH)
        words = "only its owner can read it" if is_private else "other users can read it"
        yield Finding(".env", is_private, words, f"chmod 600 {file}")


def set_aside(runtime: Path) -> Iterator[Finding]:
    """Damaged files that Catchment has put out of its way; nothing where there are none."""
    files = sorted(path for pattern in SET_ASIDE for path in runtime.glob(pattern))
    if files:
        names = ", ".join(str(path.relative_to(runtime)) for path in files[:3]) + (", …" if len(files) > 3 else "")
        words = f"{len(files)} set aside in {runtime}: {names}"
        yield Finding("damaged files", False, words, "look into the disk, keep a copy, then remove them")


def outbox(folder: Path) -> Finding:
    """Whether what waits in the outbox would outlive a restart of the machine, or of its container."""
    waits = f"{waiting(folder).messages or 0:,} messages wait"
    kind = filesystem_of(_existing(folder))
    if kind in VANISHING:
        return Finding(
            "outbox",
            False,
            f"{folder} lies on {kind}, which a restart empties; {waits}",
            "path = a folder on a disk or volume that stays, in [outbox]",
        )
    return Finding("outbox", True, f"{folder} lies on {kind or 'a disk'}; {waits}")


def filesystem_of(folder: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str:
    """The kind of file system that the folder lies on; empty where the system does not tell."""
    try:
        lines = mounts.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    kind, longest = "", -1
    for line in lines:
        left, _, right = line.partition(" - ")
        mounted_at = Path(left.split(" ")[4].encode().decode("unicode_escape"))
        if folder.resolve().is_relative_to(mounted_at) and len(mounted_at.parts) >= longest:
            kind, longest = right.split(" ")[0], len(mounted_at.parts)
    return kind


def part(part: Part[Any], ask: Callable[[Any], str] | None, **more: Any) -> Iterator[Finding]:
    """One adapter: by its own `diagnose` if it offers one, which may want `more`, else by a question that `ask` puts
    to it."""
    diagnose = getattr(part.adapter, "diagnose", None)
    try:
        if diagnose is not None:
            yield from diagnose(part.config, part.folder, **more)
        elif ask is not None:
            yield Finding(part.kind, True, f"{part.type}: {_answer(part, ask)}")
        else:
            yield Finding(part.kind, True, f"{part.type}: configured; it offers nothing to look at from here")
    except CatchmentError as error:
        yield Finding(part.kind, False, f"{part.type}: {error.message}", error.hint)
    except Exception as error:  # a driver's own errors are of any type; each means that it cannot be reached
        yield Finding(part.kind, False, f"{part.type}: {type(error).__name__}: {error}", f"see [{part.kind}]")


def _answer(part: Part[Any], ask: Callable[[Any], str]) -> str:
    opened = part.open()
    if not hasattr(opened, "close"):
        return ask(opened)
    with closing(opened):
        return ask(opened)


def _ask_queue(queue: Queue) -> str:
    stats = queue.stats()
    return f"{'an unknown number of' if stats.messages is None else stats.messages} messages wait"


def _ask_archive(archive: Archive, *, whole: bool) -> str:
    """Raises `StorageError` where files are damaged: all are read, or as many of the newest as take a moment."""
    entries = sorted(archive.list("" if whole else INCOMING), key=lambda entry: entry.name, reverse=True)
    ours = [entry for entry in entries if parse(entry.name) is not None]
    damaged: dict[str, str] = {}
    looked_at = looked_at_bytes = 0
    for entry in ours:
        if not whole and looked_at_bytes >= MAX_LOOKED_AT_BYTES:
            break
        with suppress(FileNotFoundError):  # rewritten meanwhile
            found = problems(archive, entry.name)
            looked_at, looked_at_bytes = looked_at + 1, looked_at_bytes + entry.bytes
            if found:
                damaged[entry.name] = found[0]
    if damaged:
        name, problem = next(iter(damaged.items()))
        raise StorageError(
            f"{len(damaged):,} of {looked_at:,} files are damaged, such as {name}: {problem}",
            "look into the disk; put the files back from a copy of the archive, or move them away",
        )
    where = "in all" if whole else "incoming"
    return f"{looked_at:,} files {where} are whole" if looked_at else "it can be listed; nothing is incoming"


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that exists."""
    while not folder.is_dir():
        folder = folder.parent
    return folder
