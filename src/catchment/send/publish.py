"""Batches of rows into the queue: stamped, packed, published, and only then counted."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from json.encoder import encode_basestring

import msgspec

from catchment import pack
from catchment.errors import Malformed, QueueFull
from catchment.queues import Queue
from catchment.record import DEAD_LETTERS, MAX_RECORD_BYTES, REASONS, Line, Record, Stamp, decode, now
from catchment.send.rows import Bad, Batch

EARLY = datetime(1970, 1, 1, tzinfo=UTC)
"""The `not_before` of all that is sent. An id made of the content may have been received at any time before,
and only a search without bound finds that copy."""
PUBLISH_BYTES = 4 << 20
"""Packed; several messages, which one group commit of the queue makes durable."""
MAX_KEPT_BYTES = 600_000
"""Of a bad record in its dead letter, which is a record itself and grows by a third as base64."""
_FIRST_WAIT_S = 0.05
_LONGEST_WAIT_S = 2.0


@dataclass(frozen=True, slots=True)
class Target:
    """Where a file's rows go and what they are called."""

    table: str
    source: str
    digest: str
    """Of the file: with a row's number its id."""
    file: str
    """As a dead letter's origin names it."""
    place: str = "line"
    """What the file is made of: line, item or row."""
    key: tuple[str, ...] = ()
    """The fields that identify a row: a later one takes an earlier one's place. Empty: rows are added."""
    version: str = ""
    """With a key: of two files the one of the higher version is later, within a file the higher row."""


@dataclass(slots=True)
class Sent:
    """What is durably queued."""

    rows: int = 0
    dead_letters: int = 0
    at_bytes: int = 0
    """How much of the file that is."""


class Publisher:
    """Publishes batches in order. `sent` counts what is durable, and never more.

    While the queue is full it waits and goes on. Other errors of the queue come out of `add` and `flush`; then,
    as after Ctrl-C, sending the file again adds nothing twice.
    """

    def __init__(
        self,
        queue: Queue,
        target: Target,
        say: Callable[[str], None],
        progress: Callable[[int], None] = lambda _: None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.sent = Sent()
        self._queue = queue
        self._target = target
        self._say = say
        self._progress = progress
        self._sleep = sleep
        self._packs: list[bytes] = []
        self._pending = Sent()

    def send(self, batches: Iterable[Batch]) -> Sent:
        """All of them; returns when the last is durable."""
        for batch in batches:
            self.add(batch)
        self.flush()
        return self.sent

    def add(self, batch: Batch) -> None:
        """Take in one batch; publish once enough has come together."""
        stamp = Stamp(now(), self._target.source)
        bad = list(batch.bad)
        for start in range(0, len(batch.data), pack.MAX_RECORDS):
            bad += self._add_rows(stamp, batch, slice(start, start + pack.MAX_RECORDS))
        if bad:
            letters = [self._dead_letter(stamp, each) for each in bad]
            self._packs += pack.packs(DEAD_LETTERS, letters)
        self._pending.rows += len(batch.numbers) + len(batch.bad) - len(bad)
        self._pending.dead_letters += len(bad)
        self._pending.at_bytes = batch.at_bytes
        if sum(map(len, self._packs)) >= PUBLISH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Publish what came together; when this returns, it is durable and counted."""
        if self._packs:
            self._publish(list(pack.messages(self._packs)))
        self._packs = []
        self.sent.rows += self._pending.rows
        self.sent.dead_letters += self._pending.dead_letters
        self.sent.at_bytes = self._pending.at_bytes
        self._pending = Sent(at_bytes=self._pending.at_bytes)
        self._progress(self.sent.at_bytes)

    def _publish(self, messages: list[bytes]) -> None:
        wait_s = _FIRST_WAIT_S
        while True:
            try:
                self._queue.publish(messages)
                return
            except QueueFull as error:
                if wait_s == _FIRST_WAIT_S:
                    self._say(f"waiting: {error.message}; going on as soon as the loader has made room")
                self._sleep(wait_s)
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    def _add_rows(self, stamp: Stamp, batch: Batch, part: slice) -> list[Bad]:
        """Pack these rows, at most a pack's. Returns those that no record may be instead: too large, or with NUL."""
        table = self._target.table
        lines = self._lines(stamp, batch, part)
        plain = "".join(lines).encode()
        if len(plain) <= MAX_RECORD_BYTES and b"\\u0000" not in plain:
            packed = _one_pack(stamp, table, plain, len(lines))
            if packed is not None:
                self._packs.append(packed)
                return []
        fitting, bad = [], []
        for at, text in enumerate(lines, part.start):
            line = text.encode()
            try:
                decode(line[:-1])
            except Malformed as error:
                raw = batch.raw[at].encode()
                bad.append(Bad(batch.numbers[at], batch.lines[at], error.reason, _detail(error), raw))
            else:
                fitting.append(Line(table, line, stamp.received_at, EARLY))
        self._packs += pack.packs(table, fitting)
        return bad

    def _lines(self, stamp: Stamp, batch: Batch, part: slice) -> list[str]:
        """These rows as stamped lines."""
        target, data = self._target, batch.data[part]
        if target.key:
            before, middle, behind, end = _keyed_envelope(stamp, target)
            return [
                f'{before}"{target.digest}:{number}"{middle}"{target.version}.{number:012}"{behind}{text}{end}'
                for number, text in zip(batch.numbers[part], data, strict=True)
            ]
        before, middle, end = _envelope(stamp, target.table)
        if batch.ids is None:
            return [
                f'{before}"{target.digest}:{number}"{middle}{text}{end}'
                for number, text in zip(batch.numbers[part], data, strict=True)
            ]
        return [
            f"{before}{encode_basestring(identity)}{middle}{text}{end}"
            for identity, text in zip(batch.ids[part], data, strict=True)
        ]

    def _dead_letter(self, stamp: Stamp, bad: Bad) -> Line:
        target = self._target
        detail = bad.detail
        if len(bad.raw) > MAX_KEPT_BYTES:
            detail += f"; kept here are the first {MAX_KEPT_BYTES:,} of its {len(bad.raw):,} bytes"
        data = {
            "table_name": target.table,
            "reason": bad.reason,
            "detail": detail,
            "origin": f"file {target.file} {target.place} {bad.line}",
            "bytes": base64.b64encode(bad.raw[:MAX_KEPT_BYTES]).decode(),
        }
        # The table is part of the id: the same line sent to another table is another dead letter. A hash, since
        # people name letters by the beginning of their ids.
        identity = hashlib.sha256(f"{target.digest}:{bad.number}:{target.table}".encode()).hexdigest()[:32]
        return stamp.line(Record(DEAD_LETTERS, msgspec.Raw(msgspec.json.encode(data)), id=identity, not_before=EARLY))


def _detail(error: Malformed) -> str:
    """Without the byte, which is counted in the record and not in the file."""
    return error.detail if error.reason == "oversized" else REASONS[error.reason]


def _one_pack(stamp: Stamp, table: str, plain: bytes, count: int) -> bytes | None:
    """These lines as one pack, without an object for each; None if they compress too badly for one."""
    frame = pack.compress(plain)
    header = pack.Header(
        pack.FORMAT_VERSION, table, count, len(frame), stamp.received_at, stamp.received_at, not_before=EARLY
    )
    packed = pack.assemble(header, frame)
    return packed if len(packed) <= pack.MAX_COMPRESSED_BYTES else None


_PLACEHOLDER = "0"


def _envelope(stamp: Stamp, table: str) -> tuple[str, str, str]:
    """A stamped line of this table without its id and data: what goes before, between and behind them.

    Made of a line as the record's own module writes it, once for thousands of rows.
    """
    line = stamp.line(Record(table, msgspec.Raw(b"{}"), id=_PLACEHOLDER, not_before=EARLY)).text.decode()
    before, _, rest = line.partition(f'"id":"{_PLACEHOLDER}"')
    middle, _, end = rest.rpartition("{}")
    return f'{before}"id":', middle, end


def _keyed_envelope(stamp: Stamp, target: Target) -> tuple[str, str, str, str]:
    """The same of a row that replaces another: what goes before, between and behind id, version and data."""
    record = Record(
        target.table,
        msgspec.Raw(b"{}"),
        id=_PLACEHOLDER,
        not_before=EARLY,
        op="upsert",
        key=target.key,
        version=_PLACEHOLDER,
    )
    line = stamp.line(record).text.decode()
    before, _, rest = line.partition(f'"id":"{_PLACEHOLDER}"')
    middle, _, rest = rest.rpartition(f'"version":"{_PLACEHOLDER}"')
    behind, _, end = rest.rpartition("{}")
    return f'{before}"id":', f'{middle}"version":', behind, end
