"""Dead letters of requests, filed once more: calls, plain records and webhooks, as they were or mended.

The loader knows records alone; what a request means, only `collect` can tell.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from catchment.collect.bodies import values_of
from catchment.collect.calls import Calls, read_any, read_batch, read_call
from catchment.collect.config import CollectConfig, MirrorConfig, SourceConfig
from catchment.collect.flatten import Limits
from catchment.collect.paths import KINDS_BY_PATH
from catchment.collect.privacy import Privacy
from catchment.collect.rows import Arrival, lines, record
from catchment.errors import Malformed, UsageError
from catchment.record import Line, earlier

_ORIGIN = "HTTP "
_RECORDS = "/v1/records/"
_WEBHOOK = "webhook."

Value = TypeVar("Value")


def is_request(origin: str) -> bool:
    """Whether a dead letter of this origin is a request's, or a part of one."""
    return origin.startswith(_ORIGIN)


def refiled(
    body: bytes, origin: str, source: str, received_at: datetime, letter: str, config: CollectConfig, window: timedelta
) -> list[Line]:
    """The lines of a request of this source, had it come as `body`: what the dead letter has, or what it should have
    been. Whatever names no id of its own gets one made of the letter's, the same each time.

    Raises `Malformed` if it is still wrong, `UsageError` for a source that the project no longer has.
    """
    path = origin.removeprefix(_ORIGIN)
    arrival = Arrival(
        source=source,
        received_at=received_at,
        floor=earlier(received_at, window),
        limits=Limits(config.max_depth, config.max_properties, config.max_string_chars),
        max_id_chars=config.max_id_chars,
        path=path,
    )
    if source.startswith(_WEBHOOK):
        webhook = config.webhooks.get(source.removeprefix(_WEBHOOK))
        return _records([read_any(body)], webhook.table if webhook and webhook.table else source, letter, arrival)
    if path.startswith(_RECORDS):
        table = path.removeprefix(_RECORDS)
        mirrors = config.sources[source].mirrors if source in config.sources else {}
        return _records(values_of(body), table, letter, arrival, mirrors.get(table))
    if source not in config.sources:
        raise UsageError(
            f"the dead letter is of the source {source}, which is not in [collect.sources]",
            f"add [collect.sources.{source}], or: catchment dead-letters discard",
        )
    return _calls(body, KINDS_BY_PATH.get(path), letter, config, config.sources[source], arrival)


def _records(
    values: Sequence[object], table: str, letter: str, arrival: Arrival, mirror: MirrorConfig | None = None
) -> list[Line]:
    filed = []
    for value, identity in _named(values, letter):
        if not isinstance(value, dict):
            raise Malformed("not-a-record", "a record is an object")
        filed.append(record(value, table, identity, arrival, mirror))
    return filed


def _calls(
    body: bytes, kind: str | None, letter: str, config: CollectConfig, source: SourceConfig, arrival: Arrival
) -> list[Line]:
    """A batch's dead letter is the whole of it where that could not be read, else one of its calls."""
    calls = _read(body, config)
    if calls.bad:
        raise calls.bad[0].error
    Privacy(arrival.source, source).apply(calls, {}, None)
    filed: list[Line] = []
    for call, identity in _named(calls.good, letter):
        call.message_id = call.message_id or identity
        call.sent_at = call.sent_at or calls.sent_at
        call.context = {**(calls.context or {}), **(call.context or {})}
        # The pixel's calls say what they are, or are `track`, and so do those of batches.
        filed += lines(call, call.type or ("track" if kind in {None, "batch"} else kind), arrival)
    return filed


def _read(body: bytes, config: CollectConfig) -> Calls:
    said = read_any(body)
    if isinstance(said, list) or (isinstance(said, dict) and "batch" in said):
        return read_batch(body, config.max_batch_events, config.max_event_bytes, config.max_plain_bytes)
    if len(body) > config.max_event_bytes:
        raise Malformed("oversized", f"an event of {len(body):,} bytes; it may have {config.max_event_bytes:,}")
    return read_call(body)


def _named(values: Sequence[Value], letter: str) -> Iterator[tuple[Value, str]]:
    """Each with an id, should it need one."""
    for number, value in enumerate(values):
        yield value, letter if len(values) == 1 else f"{letter}-{number}"
