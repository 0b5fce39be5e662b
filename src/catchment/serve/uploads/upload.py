"""One file of one person, from its first byte to the table."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

from catchment.errors import CatchmentError, UsageError
from catchment.log import get_log
from catchment.naming import identifier
from catchment.queues import Queue
from catchment.record import timestamp
from catchment.send.apart import Ended, Reading, Request
from catchment.send.look import Choices, Format, Found, Unclear, Written
from catchment.send.publish import Publisher, Sent, Target
from catchment.send.source import Source
from catchment.serve.uploads.arrived import Arrived, arrived, has_any
from catchment.serve.uploads.filing import Filing
from catchment.serve.uploads.spool import remove
from catchment.warehouses import Warehouse

State = Literal["received", "looking", "looked at", "unclear", "filing", "filed", "loaded", "failed", "ended"]

SOURCE = "upload"
"""What rows say in `_source`, and ids are unique within."""
MAX_NAME = 200
_POLL_S = 0.4
_ASKED_ROWS = 200
"""So many of the first rows tell whether a file is in a table already."""
_LOADING_PATIENCE_S = 3_600.0
_PLACES: dict[Format, str] = {"csv": "line", "excel": "row", "parquet": "row"}
_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bzip2",
    b"7z\xbc\xaf": "7z",
    b"\xfd7zXZ": "xz",
}
_log = get_log("serve")
_OTHER = {".json": "JSON", ".ndjson": "NDJSON", ".jsonl": "NDJSON"}


def shown_name(name: str) -> str:
    """A file's name as it may be shown and kept: without folders, and without what cannot be seen."""
    last = re.split(r"[/\\]", name)[-1]
    return _UNFIT.sub("", last).strip()[:MAX_NAME] or "file"


def proposed_table(name: str, schema: str) -> str:
    """A table's name after the file's."""
    stem = name.rpartition(".")[0] or name
    return f"{schema}.{identifier(stem)}"


def format_of(source: Source) -> Format:
    """By its first bytes; what is nothing else is CSV. Raises `UsageError` for what is not taken."""
    with source.open() as file:
        start = file.read(8)
    if start.startswith(b"PAR1"):
        return "parquet"
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")):
        return "excel"
    for magic, kind in _COMPRESSED.items():
        if start.startswith(magic):
            raise UsageError(f"{source.name} is compressed ({kind})", "unpack it first")
    for suffix, kind in _OTHER.items():
        if source.name.lower().endswith(suffix):
            raise UsageError(
                f"{source.name} is {kind}, by its name", "use the command `catchment send`, which takes it"
            )
    return "csv"


@dataclass(frozen=True, slots=True)
class Going:
    """What a file is filed as."""

    table: str
    key: tuple[str, ...]
    written: Written


@dataclass(slots=True)
class Upload:
    """What is known of one. Threads of its own change it, one at a time; whoever looks sees one state or the next.

    `folder` is gone once it is filed, discarded or has waited for an hour.
    """

    id: str
    user_id: str
    source: Source
    folder: Path
    format: Format
    state: State = "received"
    done: float = 0.0
    """How much of what it does at the moment, from 0 to 1."""
    found: Found | None = None
    error: CatchmentError | None = None
    waits_for: str = ""
    """What filing waits for."""
    going: Going | None = None
    sent: Sent = field(default_factory=Sent)
    became: Arrived | None = None
    """What the warehouse has of what was sent; None also where it could not be asked."""
    touched_s: float = field(default_factory=time.monotonic)
    _reading: Reading | None = None
    _known_in: dict[tuple[str, str], bool] = field(default_factory=dict)
    _ended: threading.Event = field(default_factory=threading.Event)

    @property
    def is_busy(self) -> bool:
        """Whether a thread works on it."""
        return self.state == "looking" or self.is_going

    @property
    def is_going(self) -> bool:
        """Whether it is on its way into its table."""
        return self.state in {"filing", "filed"}

    @property
    def is_over(self) -> bool:
        """Whether nothing more becomes of it."""
        return self.state in {"loaded", "ended"} or (self.state == "failed" and self.going is not None)

    def begin(self, state: Literal["looking", "filing"]) -> None:
        """Before a thread begins. Raises `UsageError` where one works on it, or it is over."""
        if self.is_busy or self.is_over:
            raise UsageError(f"{self.source.name} is being read or filed already", "wait until that is done")
        self.state, self.done, self.error = state, 0.0, None

    def look(self, choices: Choices, max_rows: int) -> None:
        """Look at all of it; for a thread."""
        self.found = None
        reading = self._read(Request(self.source, self.format, choices, max_rows))
        try:
            self.found = reading.look(self._progress)
            self.state = "looked at"
        except Ended:
            self.state = "ended"
        except Unclear as error:
            self.error, self.state = error, "unclear"
        except CatchmentError as error:
            self.error, self.state = error, "failed"
        finally:
            self.touched_s = time.monotonic()

    def is_in(self, table: str, warehouse: Warehouse) -> bool:
        """Whether the table has rows of this file, as it was sent before, be it read in another way. Raises as
        `Warehouse.query`."""
        assert self.found is not None
        asked = (table, digest_of(self.source, self.found))
        if asked not in self._known_in:
            first = self.found.choices.header_row + 1 if self.format == "excel" else 1
            ids = [f"{asked[1]}:{number}" for number in range(first, first + _ASKED_ROWS)]
            self._known_in[asked] = has_any(warehouse, table, SOURCE, ids)
        return self._known_in[asked]

    def file(
        self, going: Going, filing: Filing, warehouse: Callable[[], Warehouse], now: datetime, max_rows: int
    ) -> None:
        """File all of it, and wait until it is loaded; for a thread. What is queued stays queued, whatever comes."""
        assert self.found is not None
        self.going = going
        try:
            queued_s = self._publish(going, filing, now, max_rows)
            remove(self.folder)
            self.state = "filed"
            if self._await(going.table, filing, queued_s):
                self._count_in(going.table, warehouse, now)
                self.state = "loaded"
        except Ended:
            self.state = "ended"
        except CatchmentError as error:
            self.error, self.state = error, "failed"
        finally:
            remove(self.folder)
            self.touched_s = time.monotonic()

    def _publish(self, going: Going, filing: Filing, now: datetime, max_rows: int) -> float:
        found = self.found
        assert found is not None
        request = Request(self.source, self.format, found.choices, max_rows, found, going.written)
        target = Target(
            going.table,
            SOURCE,
            digest_of(self.source, found),
            self.source.name,
            _PLACES[self.format],
            going.key,
            timestamp(now).decode() if going.key else "",
        )
        with closing(filing.open_queue()) as queue:
            publisher = Publisher(queue, target, self._wait, lambda _: self._count(publisher.sent, found), self._sleep)
            self.sent = publisher.sent
            publisher.send(self._read(request).batches())
            self._note_outbox(queue)
        return time.monotonic()

    def _count(self, sent: Sent, found: Found) -> None:
        self.done = (sent.rows + sent.dead_letters) / max(found.rows + found.bad, 1)
        self.waits_for = ""

    def _wait(self, words: str) -> None:
        self.waits_for = words

    def _sleep(self, wait_s: float) -> None:
        if self._ended.wait(wait_s):
            raise Ended("ended")

    def _note_outbox(self, queue: Queue) -> None:
        trouble = getattr(queue, "trouble", "")
        if trouble:
            self.waits_for = f"the queue, while the outbox keeps it: {trouble}"

    def _await(self, table: str, filing: Filing, queued_s: float) -> bool:
        """Until it is loaded; it is safe in the queue by now, whether somebody waits or not."""
        give_up_s = time.monotonic() + _LOADING_PATIENCE_S
        while time.monotonic() < give_up_s:
            if filing.is_loaded(table, queued_s):
                return True
            if not self.waits_for and not filing.is_loading():
                self.waits_for = "a process that loads: none runs on this machine"
            if self._ended.wait(_POLL_S):
                break
        return False

    def _count_in(self, table: str, warehouse: Callable[[], Warehouse], since: datetime) -> None:
        assert self.found is not None
        try:
            self.became = arrived(warehouse(), table, SOURCE, digest_of(self.source, self.found), since)
        except CatchmentError as error:
            _log.warning("the rows of an upload could not be counted", table=table, exc=error)

    def _progress(self, done: float) -> None:
        self.done = done

    def _read(self, request: Request) -> Reading:
        self._reading = Reading(request, self.folder / "work")
        if self._ended.is_set():
            self._reading.end()
        return self._reading

    def end(self) -> None:
        """End what runs, and remove the file."""
        self._ended.set()
        if self._reading is not None:
            self._reading.end()
        if not self.is_busy:
            self.state = "ended"
        remove(self.folder)


def digest_of(source: Source, found: Found) -> str:
    """What ids are made of: the file's hash, and of a workbook the sheet, since each has rows of the same numbers."""
    import hashlib

    sheet = found.choices.sheet
    if sheet is None:
        return source.digest
    return hashlib.sha256(f"{source.digest}:{sheet}".encode()).hexdigest()[: len(source.digest)]
