"""From a message that was heard to the records that are filed. A message is filed whole or not at all: where one of
its rows cannot be, all of it is a dead letter, which is retried whole."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from catchment.errors import CatchmentError, Malformed
from catchment.listen.cast import cast
from catchment.listen.condition import condition
from catchment.listen.config import ListenConfig, RegistryConfig
from catchment.listen.decode import values_of
from catchment.listen.functions import load_function
from catchment.listen.letters import letter_of
from catchment.listen.naming import DATA, Look, Template, look, text_of
from catchment.listen.row import Row
from catchment.listen.shape import shape
from catchment.log import get_log
from catchment.naming import identifier
from catchment.pack import plain_lines
from catchment.queues.foreign import identified, stamp_of
from catchment.record import MAX_DEPTH, OWN_SCHEMA, Line, Record, Stamp, decode
from catchment.sources import Heard
from catchment.sources.schemas import SchemaRegistry

_log = get_log("listen")

_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}\Z")
_MAX_TABLES = 10_000
_encode = msgspec.json.Encoder().encode
_raw = msgspec.json.Decoder(msgspec.Raw).decode


@dataclass(slots=True)
class Outcome:
    """What became of one message: lines to file, or one line of a dead letter, or nothing."""

    lines: Sequence[Line] = ()
    data: list[bytes] = field(default_factory=list)
    """Of the lines, each as JSON."""
    is_dead: bool = False


class Transformation:
    """What one listener does to messages. `root` is the project's folder, `window` the loader's dedupe window."""

    def __init__(self, name: str, config: ListenConfig, root: Path, window: timedelta) -> None:
        """Raises `UsageError` if the project's function cannot be had."""
        self._name = name
        self._source = config.source or name
        self._window = window
        table = Template(config.table)
        self._fill_table = table.filled_with(_table_part)
        self._table = None if table.names else config.table
        self._tables: dict[str, str] = {}
        self._id_name = config.id
        self._id: Look | None = look(config.id) if config.id else None
        self._said_unnamed = False
        self._time: Look | None = look(config.time) if config.time else None
        self._only = condition(config.only).holds if config.only else None
        self._function = load_function(config.function, root) if config.function else None
        is_shaped = bool(config.keep or config.drop or config.rename or config.cast or config.flatten or config.assign)
        self._shape = (
            shape(config.keep, config.drop, config.rename, config.cast, config.flatten, config.assign)
            if is_shaped
            else None
        )
        self._schemas = registry_of(config.registry, name, root) if config.registry else None
        named = [*table.names, *filter(None, [config.id, config.time])]
        is_data_named = any(each.partition(".")[0] == DATA for each in named)
        self._is_plain = not (self._only or self._function or self._shape or self._schemas or is_data_named)

    def outcome(self, heard: Heard, most_bytes: int | None = None) -> Outcome:
        """What becomes of the message, of which no more than so many bytes can be sent on as they are. Raises `Retry`
        or `StorageError` while its schema cannot be asked for."""
        stamp = stamp_of(heard, self._source, self._window)
        try:
            outcome = self.filed(heard, stamp)
            if most_bytes is not None and outcome.lines and len(heard.body) > most_bytes:
                raise Malformed("oversized", f"{len(heard.body):,} bytes; {most_bytes:,} can be sent on")
            return outcome
        except RecursionError:
            fault = Malformed("too-deep", f"more than {MAX_DEPTH} levels of objects and arrays")
        except Malformed as error:
            fault = error
        return Outcome([letter_of(heard, fault, stamp, self._name, self._table or "")], is_dead=True)

    def filed(self, heard: Heard, stamp: Stamp | None = None) -> Outcome:
        """The lines of the message. Raises `Malformed` where it can't be filed, else as `outcome`."""
        stamp = stamp or stamp_of(heard, self._source, self._window)
        outcome = Outcome()
        lines: list[Line] = []
        ids: dict[str, int] = {}
        for ordinal, (record, own_stamp) in enumerate(self._records(heard, stamp, ids)):
            known, its_stamp = identified(record, heard, own_stamp, ordinal, "listen")
            lines.append(its_stamp.line(known, ordinal))
            outcome.data.append(bytes(record.data))
        outcome.lines = lines
        return outcome

    def _records(self, heard: Heard, stamp: Stamp, ids: dict[str, int]) -> Iterator[tuple[Record, Stamp]]:
        if self._is_plain and (texts := _objects(heard.body)) is not None:
            for text in texts:
                yield self._record(Row({}), {}, text, None, heard, stamp, ids)
            return
        for value in values_of(heard.body, self._schemas):
            if self._only is not None and not self._only(value, heard):
                continue
            if self._function is None:
                yield self._shaped(Row(value), heard, stamp, ids)
                continue
            for row in self._function(value, heard):
                yield self._of_function(row, heard, stamp, ids)

    def _of_function(self, row: Row, heard: Heard, stamp: Stamp, ids: dict[str, int]) -> tuple[Record, Stamp]:
        """A row that may hold anything at all."""
        for said in (row.table, row.id):
            if said is not None and not isinstance(said, str):
                raise Malformed("function-failed", f"table and id of a Row are texts, not {type(said).__name__}")
        try:
            return self._shaped(row, heard, stamp, ids)
        except (CatchmentError, RecursionError):
            raise
        except Exception as error:  # such as of what cannot be copied
            raise Malformed("function-failed", f"a row holds what is no JSON: {error}") from error

    def _shaped(self, row: Row, heard: Heard, stamp: Stamp, ids: dict[str, int]) -> tuple[Record, Stamp]:
        if not isinstance(row.data, Mapping):
            raise Malformed("not-a-record", f"a row is an object, not {type(row.data).__name__}")
        data: dict[str, Any] = dict(row.data)
        if self._shape is None:
            return self._record(row, data, _json(data), None, heard, stamp, ids)
        if self._function is not None:
            data = copy.deepcopy(data)  # rows of one message may share what lies in them
        named = copy.deepcopy(data) if self._names_below() else data
        shaped, rescued = self._shape(dict(data), heard)
        return self._record(row, named, _json(shaped), _json(rescued) if rescued else None, heard, stamp, ids)

    def _names_below(self) -> bool:
        """Whether table, id or time may name what shaping changes."""
        return self._table is None or self._id is not None

    def _record(
        self,
        row: Row,
        data: Any,
        text: bytes,
        rescued: bytes | None,
        heard: Heard,
        stamp: Stamp,
        ids: dict[str, int],
    ) -> tuple[Record, Stamp]:
        """`data` is what names lead into, `text` what is filed."""
        table = row.table or self._table or self._named_table(data, heard)
        if table.startswith(f"{OWN_SCHEMA}."):
            raise Malformed("bad-table", f"{table[:200]} is Catchment's own")
        identity = row.id if row.id is not None else self._named_id(data, heard)
        fields = [b'"table":%b' % _encode(table), b'"data":%b' % text]
        if identity is not None:
            times = ids[identity] = ids.get(identity, -1) + 1
            fields.append(b'"id":%b' % _json(f"{identity}/{times}" if times else identity))
            if self._time is not None and (moment := _moment(self._time(data, heard))) is not None:
                stamp = replace(stamp, own_time=moment)
        if rescued is not None:
            fields.append(b'"rescued":%b' % rescued)
        return decode(b"{%b}" % b",".join(fields)), stamp

    def _named_table(self, data: Any, heard: Heard) -> str:
        filled = self._fill_table(data, heard)
        known = self._tables.get(filled)
        if known is None:
            known = ".".join(part if _NAME.match(part) else identifier(part) for part in filled.split("."))
            if len(self._tables) < _MAX_TABLES:
                self._tables[filled] = known
        return known

    def _named_id(self, data: Any, heard: Heard) -> str | None:
        if self._id is None:
            return None
        value = self._id(data, heard)
        if isinstance(value, bool | list | dict):
            raise Malformed("not-a-record", f"what `id` names is no text and no number: {text_of(value)[:100]}")
        found = text_of(value) or None
        if found is None and not self._said_unnamed:
            self._said_unnamed = True
            _log.warning(
                "a message has nothing where `id` looks for its own: the broker's identity of it counts",
                listener=self._name,
                id=self._id_name,
                hint=f"see catchment listen preview {self._name}; after a function it looks in what that returned",
            )
        return found


def registry_of(config: RegistryConfig, name: str, root: Path) -> SchemaRegistry:
    """The registry of a listener's settings. Raises `UsageError` where its certificates cannot be read."""
    return SchemaRegistry(
        config.url,
        f"[listen.{name}]",
        username=config.username,
        password=config.password,
        ca_file=root / config.ca_file if config.ca_file else None,
        timeout_s=config.timeout_s,
    )


def _table_part(name: str, value: Any) -> str:
    text = text_of(value).replace(".", "_")
    if not text:
        raise Malformed("bad-table", f"{name}, which `table` names, is empty or missing")
    return text


def _moment(value: Any) -> datetime | None:
    """A time as `cast` reads it."""
    text = cast(value, "time")
    try:
        moment = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return moment if moment is not None and moment.tzinfo is not None else None


def _json(value: Any) -> bytes:
    """Raises `Malformed` for what a function made, and JSON cannot say."""
    try:
        return _encode(value)
    except UnicodeEncodeError as error:
        raise Malformed("lone-surrogate", str(error)) from None
    except (TypeError, ValueError, OverflowError) as error:
        raise Malformed("function-failed", f"a row holds what is no JSON: {error}") from None


def _objects(body: bytes) -> list[bytes] | None:
    """The lines of a body, where each is an object as it stands; None where a closer look is needed."""
    texts = [text.strip(b" \t\r\n") for text in plain_lines(body)] if body else []
    for text in texts:
        if text[:1] != b"{":
            return None
        try:
            _raw(text)
        except (msgspec.DecodeError, RecursionError):
            return None
    return texts or None
