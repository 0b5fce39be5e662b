"""What the publishers of the crash tests publish: the same for the same seed, so that one that starts again after a
kill sends the very same records under the same ids, and so that the tests know what must be there."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec

from catchment.pack import packs
from catchment.record import Record, Stamp

TABLES = tuple(f"crash.t{number:02}" for number in range(20))
KEYED = TABLES[:3]
KEYS = 60

_PACKED_RECORDS = 40
_encode = msgspec.json.encode


@dataclass(frozen=True, slots=True)
class Sent:
    """One record as its publisher knows it. `own_time` is the client's clock, as far from `Traffic.began` as this:
    hours back for a late one, hours ahead for a fast clock. `raw_data` replaces `data` where that is malformed."""

    table: str
    id: str
    data: dict[str, Any]
    own_time: timedelta = timedelta()
    op: Literal["insert", "upsert", "delete"] = "insert"
    key: tuple[str, ...] | None = None
    version: str | None = None
    dead: bool = False
    raw_data: bytes = b""

    def record(self, source: str) -> Record:
        """As it travels."""
        data = msgspec.Raw(self.raw_data or _encode(self.data))
        return Record(self.table, data, self.id, source=source, op=self.op, key=self.key, version=self.version)


@dataclass(frozen=True, slots=True)
class Shipment:
    """What one `publish` sends: packs, plain records a message each, or a message that is no record at all."""

    number: int
    records: tuple[Sent, ...] = ()
    plain: bool = False
    garbage: bytes = b""
    twice: bool = False
    """Its client never gets the answer, and sends it once more."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """Everything that one publisher has to send."""

    seed: int
    publisher: int
    records: int
    began: datetime
    """The clients' clocks go by it; the same in every life of the publisher."""
    other_keys: bool = True
    """Some records have another key than their table: not those of which the first tells what its key is."""

    @property
    def source(self) -> str:
        return f"publisher-{self.publisher}"

    def shipments(self) -> list[Shipment]:
        """In order; a few of the later ones hold what cannot be loaded."""
        made: list[Shipment] = []
        rng = random.Random(f"{self.seed}/{self.publisher}")
        left = list(self._sent(rng))
        while left:
            plain = rng.random() < 0.7
            size = rng.randint(1, 3) if plain else rng.randint(1, 2 * _PACKED_RECORDS)
            some, left = left[:size], left[size:]
            # Plain records have no time of their own, so far as their ids are none: a pack carries it.
            plain = plain and not any(sent.own_time or sent.dead for sent in some)
            made.append(Shipment(len(made), tuple(some), plain, twice=rng.random() < 0.05))
            if rng.random() < 0.01 or not left:
                made.append(Shipment(len(made), garbage=f"no record {self.publisher}/{len(made)}".encode()))
        return made

    def _sent(self, rng: random.Random) -> Iterator[Sent]:
        for number in range(self.records):
            identity = f"{self.publisher}-{number}" if number % 2 else self._uuid7(number)
            table = rng.choice(TABLES)
            if table in KEYED:
                yield self._keyed(rng, table, identity, bad=self._may_be_bad(number) and rng.random() < 0.02)
                continue
            data: dict[str, Any] = {"number": number, "text": rng.choice(["ü", "x" * 300, 'a "b" \\ c', ""])}
            if number % 7 == 0:  # columns that come late, and values that fit no column
                data[f"extra_{rng.randint(0, 3)}"] = rng.choice([1, 2.5, "text", True, [1, {"a": None}]])
            if rng.random() < 0.002:
                yield _dead(table, identity)
            else:
                yield Sent(table, identity, data, _clock(rng))
        yield _dead(TABLES[-1], f"{self.publisher}-last")  # one at least, however few there are

    def _may_be_bad(self, number: int) -> bool:
        return self.other_keys and number > self.records // 2

    def _uuid7(self, number: int) -> str:
        """A UUIDv7 whose time is that of `began`."""
        milliseconds = f"{int(self.began.timestamp() * 1000):012x}"
        return f"{milliseconds[:8]}-{milliseconds[8:]}-7000-8{self.publisher:03x}-{number:012x}"

    def _keyed(self, rng: random.Random, table: str, identity: str, *, bad: bool) -> Sent:
        key = "other" if bad else "k"
        data = {key: rng.randint(1, KEYS), "number": rng.randint(0, 10**6), "text": identity}
        op: Literal["upsert", "delete"] = "delete" if rng.random() < 0.2 else "upsert"
        return Sent(table, identity, data, op=op, key=(key,), version=f"{rng.randint(0, 10**5):08}", dead=bad)

    def messages(self, shipment: Shipment, now: datetime) -> list[bytes]:
        """The bodies to publish at this moment. Sent again they get another `received_at`, as a client's retry
        does."""
        if shipment.garbage:
            return [shipment.garbage]
        if shipment.plain:
            return [_encode(sent.record(self.source)) for sent in shipment.records]
        tables: dict[str, list[Sent]] = {}
        for sent in shipment.records:
            tables.setdefault(sent.table, []).append(sent)
        return [b"".join(self._packs(table, some, now)) for table, some in tables.items()]

    def _packs(self, table: str, some: Sequence[Sent], now: datetime) -> Iterator[bytes]:
        lines = [
            Stamp(now, self.source, own_time=self.began + sent.own_time).line(sent.record(self.source))
            for sent in some
        ]
        return packs(table, lines)


def _dead(table: str, identity: str) -> Sent:
    return Sent(table, identity, {}, dead=True, raw_data=b'{"number":1,"number":2}')


def _clock(rng: random.Random) -> timedelta:
    match rng.random():
        case chance if chance < 0.02:
            return -timedelta(hours=rng.randint(2, 100))
        case chance if chance > 0.98:
            return timedelta(hours=rng.randint(1, 3))
    return timedelta()
