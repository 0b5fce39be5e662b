"""The data of the load benches: records of 20 tables with Zipf-like sizes, the same on every machine.

A record has about 11 fields and 390 bytes as a service sends it, 470 once stamped, 80 of them compressed in packs.

It is made once in five days, by two processes, and kept under `.catchment-bench/`: as stamped records in packs of
300 (two publishers' worth), as plain single records, and flat, one file a table, for the peers.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import random
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from bench.measure import CACHE
from catchment import pack, record
from catchment.warehouses.shape import ColumnType

SEED = 7
RECORDS = 1_000_000
PACK_RECORDS = 300
SHARDS = 2
SOURCE = "website"
DAYS = 5
START = datetime(1, 1, 1, 10, 10, tzinfo=UTC) + timedelta(days=(datetime.now(UTC).toordinal() - 2) // DAYS * DAYS)
"""Every received_at, not_before and client time lies within this hour: `repeated` moves them hour by hour. It is
one to six days ago: of what was received longer ago than `dedupe_window`, copies are looked for a window further
back, which no loader does day by day."""
EVERY = timedelta(microseconds=300)
ZIPF_EXPONENT = 0.7

Draw = Callable[[random.Random, datetime], Any]


def _hex(digits: int) -> Draw:
    return lambda rng, _: f"{rng.getrandbits(4 * digits):0{digits}x}"


def _one_of(*values: Any) -> Draw:
    return lambda rng, _: rng.choice(values)


def _client_time(rng: random.Random, received_at: datetime) -> str:
    own = received_at - timedelta(milliseconds=rng.randrange(1_000))
    return own.isoformat(timespec="milliseconds")[:-6] + "Z"


def _screen(rng: random.Random, _: datetime) -> dict[str, Any]:
    size = {"w": rng.choice((1280, 1440, 1920)), "h": rng.choice((720, 900, 1080))}
    system, browser = rng.choice(("mac", "win", "linux", "ios")), rng.choice(("chrome", "safari", "firefox"))
    return {"os": system, "browser": browser, "screen": size}


_COMMON: dict[str, tuple[ColumnType, Draw]] = {
    "ts": ("timestamptz", _client_time),
    "user_id": ("bigint", lambda rng, _: rng.getrandbits(20)),
    "session_id": ("varchar", _hex(16)),
    "url": ("varchar", lambda rng, _: f"/p/{rng.randrange(5_000)}/item?x={rng.randrange(100)}"),
    "props": ("json", _screen),
    "tags": ("json", lambda rng, _: [f"t{rng.randrange(20)}" for _ in range(rng.randrange(4))]),
}
_POOL: dict[str, tuple[ColumnType, Draw]] = {
    "amount": ("double", lambda rng, _: round(rng.random() * 500, 2)),
    "score": ("double", lambda rng, _: round(rng.random(), 4)),
    "quantity": ("bigint", lambda rng, _: rng.randrange(1, 10)),
    "duration_ms": ("bigint", lambda rng, _: rng.getrandbits(16)),
    "is_new": ("boolean", lambda rng, _: rng.random() < 0.3),
    "currency": ("varchar", _one_of("USD", "EUR", "GBP")),
    "country": ("varchar", _one_of("US", "FR", "DE", "GB", "BR", "IN", "JP")),
    "version": ("varchar", lambda rng, _: f"{rng.randrange(5)}.{rng.randrange(20)}.{rng.randrange(9)}"),
    "referrer": ("varchar", lambda rng, _: f"ref-{rng.randrange(300)}" if rng.random() < 0.5 else None),
    "campaign": ("varchar", lambda rng, _: f"spring-{rng.randrange(40)}" if rng.random() < 0.5 else None),
    "shown_at": ("timestamptz", _client_time),
    "device": ("json", lambda rng, _: {"type": rng.choice(("mobile", "desktop")), "model": rng.randrange(50)}),
}
_FROM_POOL = 5

# fmt: off
_NAMES = (
    "page_view", "click", "scroll", "add_to_cart", "remove_from_cart", "checkout", "purchase", "refund", "signup",
    "login", "logout", "search", "share", "video_play", "video_pause", "form_submit", "error", "api_call",
    "email_open", "push_open",
)
# fmt: on
TABLES = tuple(f"events.{name}" for name in _NAMES)
"""The largest first."""
_FIELDS: dict[str, dict[str, tuple[ColumnType, Draw]]] = {
    table: _COMMON | dict(random.Random(at).sample(sorted(_POOL.items()), _FROM_POOL))
    for at, table in enumerate(TABLES)
}
COLUMNS: dict[str, dict[str, ColumnType]] = {
    table: {name: column for name, (column, _) in fields.items()} for table, fields in _FIELDS.items()
}
"""Each table's fields with the type that its column has."""

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Dataset:
    """A folder of generated data, and how to read it."""

    folder: Path
    records: int

    def packs(self) -> Iterator[bytes]:
        """Messages of one pack each, those of the two publishers by turns."""
        return _by_turns([self._packs(shard) for shard in range(SHARDS)])

    def plain(self) -> Iterator[bytes]:
        """The same records, each a message by itself, as a foreign service sends them: not stamped."""
        return _by_turns([self._lines(shard) for shard in range(SHARDS)])

    def flat(self, table: str) -> Path:
        """The table's rows as its columns have them, NDJSON."""
        return self.folder / f"{table}.ndjson"

    def flat_zst(self, table: str) -> Path:
        """The same, compressed with zstd."""
        return self.folder / f"{table}.ndjson.zst"

    def _packs(self, shard: int) -> Iterator[bytes]:
        with (self.folder / f"packs{shard}").open("rb") as file:
            yield from (bytes(found.raw) for found in pack.read_file(file))

    def _lines(self, shard: int) -> Iterator[bytes]:
        with (self.folder / f"plain{shard}.ndjson").open("rb") as file:
            yield from (line.rstrip(b"\n") for line in file)


def dataset(records: int = RECORDS, seed: int = SEED) -> Dataset:
    """The data, made now if this machine does not have it yet."""
    folder = CACHE / f"records-{records}-{seed}-{_fingerprint()}"
    if not folder.exists():
        for outdated in CACHE.glob(f"records-{records}-{seed}-*"):
            shutil.rmtree(outdated)
        unfinished = folder.with_suffix(".unfinished")
        unfinished.mkdir(parents=True)
        _make(unfinished, records, seed)
        unfinished.rename(folder)
    return Dataset(folder, records)


def repeated(messages: Iterator[bytes], hour: int) -> Iterator[bytes]:
    """The packs again as other records, received in another hour: ids and times differ, all else is the same.

    Cheap enough for tens of millions: two replacements a pack, and compressing it. `hour` is 0 to 23 and takes
    the place of 10; each hour's ids begin with its two digits and never meet another hour's.
    """
    shift = timedelta(hours=hour - START.hour)
    for message in messages:
        for found in pack.read(message):
            text = found.plain().replace(b'"id":"', b'"id":"%02d' % hour).replace(b"T10:", b"T%02d:" % hour)
            frame = pack.compress(text)
            yield pack.assemble(_shifted(found.header, len(frame), shift), frame)


def _shifted(header: pack.Header, frame_bytes: int, shift: timedelta) -> pack.Header:
    return msgspec.structs.replace(
        header,
        bytes=frame_bytes,
        first_received_at=header.first_received_at + shift,
        last_received_at=header.last_received_at + shift,
        not_before=header.not_before + shift,
    )


def _by_turns(streams: list[Iterator[bytes]]) -> Iterator[bytes]:
    return (message for message in chain.from_iterable(zip_longest(*streams)) if message is not None)


def _fingerprint() -> str:
    """Changes with whatever shapes the data, so that nobody measures with the data of an older format."""
    sources = (Path(__file__), Path(pack.__file__), Path(record.__file__))
    shapes = [START.isoformat().encode(), *(source.read_bytes() for source in sources)]
    return hashlib.sha256(b"".join(shapes)).hexdigest()[:8]


def _make(folder: Path, records: int, seed: int) -> None:
    context = multiprocessing.get_context("spawn")
    with context.Pool(SHARDS) as pool:
        pool.starmap(_make_shard, [(folder, shard, records, seed) for shard in range(SHARDS)])
    for table in TABLES:
        for suffix in ("ndjson", "ndjson.zst"):
            with (folder / f"{table}.{suffix}").open("wb") as whole:
                for shard in range(SHARDS):
                    part = folder / f"{table}.{shard}.{suffix}"
                    with part.open("rb") as file:
                        shutil.copyfileobj(file, whole)
                    part.unlink()


def _make_shard(folder: Path, shard: int, records: int, seed: int) -> None:
    """Every `SHARDS`th record, written in all its forms."""
    rng = random.Random(f"{seed}/{shard}")
    waiting: dict[str, list[record.Line]] = {table: [] for table in TABLES}
    flat: dict[str, list[bytes]] = {table: [] for table in TABLES}
    ordinals = range(shard, records, SHARDS)
    weights = [1 / rank**ZIPF_EXPONENT for rank in range(1, len(TABLES) + 1)]
    with (folder / f"packs{shard}").open("wb") as packs, (folder / f"plain{shard}.ndjson").open("wb") as plain:
        for ordinal, table in zip(ordinals, rng.choices(TABLES, weights, k=len(ordinals)), strict=True):
            message, line, row = _record(rng, table, START + ordinal * EVERY)
            plain.write(message + b"\n")
            flat[table].append(row)
            lines = waiting[table]
            lines.append(line)
            if len(lines) == PACK_RECORDS:
                _flush(packs, table, lines)
        for table, lines in waiting.items():
            if lines:
                _flush(packs, table, lines)
    for table, rows in flat.items():
        text = b"".join(rows)
        (folder / f"{table}.{shard}.ndjson").write_bytes(text)
        (folder / f"{table}.{shard}.ndjson.zst").write_bytes(pack.compress(text))


def _flush(file: BinaryIO, table: str, lines: list[record.Line]) -> None:
    file.write(pack.build(table, lines))
    lines.clear()


def _record(rng: random.Random, table: str, received_at: datetime) -> tuple[bytes, record.Line, bytes]:
    """One record as a foreign message, as a stamped line, and as a flat row."""
    data: dict[str, Any] = {}
    for name, (_, draw) in _FIELDS[table].items():
        value = draw(rng, received_at)
        if value is not None or rng.random() < 0.5:  # half of what is missing is absent, the other half null
            data[name] = value
    identity = str(uuid.UUID(int=rng.getrandbits(128), version=4))
    text = msgspec.Raw(_encode(data))
    sent = record.Record(table=table, data=text, id=identity, source=SOURCE)
    stamp = record.Stamp(received_at, SOURCE, own_time=received_at - timedelta(milliseconds=400))
    moment = record.timestamp(received_at).decode()
    row = {"_id": identity, "_received_at": moment, "_source": SOURCE, **data}
    return _encode(sent), stamp.line(sent), _encode(row) + b"\n"
