"""Names of archive files, as the loader, the sweep, rewriting and walks share them.

    incoming/20261123T100000.123456Z-3f9a0c51d2e4.7.ndjson.zst               a round's file of 7 tables
    incoming/20261123T100000.123456Z-3f9a0c51d2e4.1.late.ndjson.zst          late rows of one table
    table=website.signup/date=2026-11-23/hour=10/<hash>.1.ndjson.zst         rewritten: one table and hour
    table=shop.customer/newest/<hash>.1.ndjson.zst                           of a mirrored table, what retention kept
    removed/20261123T120000.000000Z-<hash>.names                             what rewriting has removed
    removed/20261123T120000.000000Z-<hash>.expired                           what retention has removed, of one table

The number is that of the file's batches (one a table): whether the ledger has all of them can be told without
opening it. A rewritten file is named by a hash of the files whose records it holds, and its first pack's
header names them, so that a rewriting that is repeated after a crash finds what it has done.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from catchment.archives import INCOMING

REMOVED = "removed/"
HOUR = timedelta(hours=1)

_MOMENT = r"(\d{8}T\d{6}\.\d{6}Z)"
_INCOMING = re.compile(rf"{INCOMING}{_MOMENT}-([0-9a-f]{{12}})\.([1-9]\d*)(\.late)?\.ndjson\.zst")
_REWRITTEN = re.compile(
    r"table=([a-z0-9_]+\.[a-z0-9_]+)/date=(\d{4}-\d\d-\d\d)/hour=(\d\d)/([0-9a-f]{32})\.1(\.late)?\.ndjson\.zst"
)
_NEWEST = re.compile(r"table=([a-z0-9_]+\.[a-z0-9_]+)/newest/([0-9a-f]{32})\.1\.ndjson\.zst")
_REMOVED = re.compile(rf"{REMOVED}{_MOMENT}-([0-9a-f]{{32}})\.names")
_EXPIRED = re.compile(rf"{REMOVED}{_MOMENT}-([0-9a-f]{{32}})\.expired")


@dataclass(frozen=True, slots=True)
class Incoming:
    """A file of a round, as the loader archived it: `batches` tables, and whether its rows are late ones."""

    archived_at: datetime
    nonce: str
    batches: int
    late: bool = False

    @property
    def name(self) -> str:
        """Names sort as the times of archiving do."""
        late = ".late" if self.late else ""
        return f"{INCOMING}{_moment(self.archived_at)}-{self.nonce}.{self.batches}{late}.ndjson.zst"


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A file of one table and hour. `hour` is where the UTC hour of its records' `received_at` begins."""

    table: str
    hour: datetime
    digest: str
    late: bool = False
    batches: int = 1

    @property
    def name(self) -> str:
        """Its folder says table, date and hour as Hive's partitions do."""
        late = ".late" if self.late else ""
        return f"{folder(self.table, self.hour)}{self.digest}.1{late}.ndjson.zst"


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest versions of keys of a mirrored table, out of files that its retention has removed."""

    table: str
    digest: str
    late: bool = False
    batches: int = 1

    @property
    def name(self) -> str:
        """Beside the folders of dates: it holds records of many."""
        return f"table={self.table}/newest/{self.digest}.1.ndjson.zst"


def new_incoming(archived_at: datetime, batches: int, *, late: bool = False) -> Incoming:
    """A name nobody has: for a file of as many tables as `batches`."""
    return Incoming(archived_at, secrets.token_hex(6), batches, late)


def rewritten(table: str, hour: datetime, old: Iterable[str], *, late: bool = False) -> Rewritten:
    """The name for what these files hold of a table and hour; their order does not matter."""
    return Rewritten(table, hour, _digest(old), late)


def newest(table: str, old: Iterable[str], part: int, parts: int) -> Newest:
    """The name for a part of what is kept of these files; their order does not matter."""
    return Newest(table, _digest([*old, f"part {part} of {parts}"]))


def folder(table: str, hour: datetime) -> str:
    """Where the rewritten files of a table and hour lie, with the slash at its end."""
    return f"table={table}/date={hour:%Y-%m-%d}/hour={hour:%H}/"


def parse(name: str) -> Incoming | Rewritten | Newest | None:
    """What a name says; None for a file that holds no records, or is none of ours."""
    try:
        if found := _INCOMING.fullmatch(name):
            return Incoming(_parse_moment(found[1]), found[2], int(found[3]), bool(found[4]))
        if found := _REWRITTEN.fullmatch(name):
            hour = datetime.strptime(f"{found[2]}T{found[3]}+0000", "%Y-%m-%dT%H%z")
            return Rewritten(found[1], hour.astimezone(UTC), found[4], bool(found[5]))
        if found := _NEWEST.fullmatch(name):
            return Newest(found[1], found[2])
    except ValueError:
        return None  # digits that are no time
    return None


def in_full(name: str, loaded: Collection[str]) -> bool:
    """Whether the tables that the ledger has of a file are all of its tables; False for a name not ours."""
    file = parse(name)
    return file is not None and len(loaded) >= file.batches


def begins(name: str) -> datetime:
    """A time that tells which of two files holds what was received earlier, by their names."""
    match parse(name):
        case Incoming(archived_at=archived_at):
            return archived_at
        case Rewritten(hour=hour):
            return hour
        case Newest():
            return datetime.min.replace(tzinfo=UTC)
    return datetime.max.replace(tzinfo=UTC)


def is_late(name: str) -> bool:
    """Whether a file holds late rows, by its name."""
    file = parse(name)
    return file is not None and file.late


def hour_of(moment: datetime) -> datetime:
    """Where the UTC hour of a moment begins."""
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def removed(at: datetime, old: Iterable[str]) -> str:
    """The name for a list of files that rewriting is about to remove."""
    return f"{REMOVED}{_moment(at)}-{_digest(old)}.names"


def removed_at(name: str) -> datetime | None:
    """When a list of removed files was written; None for any other name."""
    found = _REMOVED.fullmatch(name)
    try:
        return _parse_moment(found[1]) if found else None
    except ValueError:
        return None


def expired(at: datetime, old: Iterable[str]) -> str:
    """The name for a list of files that retention is about to remove."""
    return f"{REMOVED}{_moment(at)}-{_digest(old)}.expired"


def expired_at(name: str) -> datetime | None:
    """When a list of files was written that retention removed; None for any other name."""
    found = _EXPIRED.fullmatch(name)
    try:
        return _parse_moment(found[1]) if found else None
    except ValueError:
        return None


def _digest(names: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()[:32]


def _moment(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y%m%dT%H%M%S.%fZ}"


def _parse_moment(text: str) -> datetime:
    return datetime.strptime(text, "%Y%m%dT%H%M%S.%fZ").replace(tzinfo=UTC)
