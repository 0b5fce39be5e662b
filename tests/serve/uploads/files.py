"""Files to be uploaded, and their way into a warehouse without a page."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import openpyxl

from catchment.record import now
from catchment.send.apart import Reading, Request
from catchment.send.look import Choices, Format, Found
from catchment.send.source import Source
from catchment.serve.uploads.fitting import Fitted, fit
from catchment.serve.uploads.upload import Going, Upload
from tests.load.loading import Rig
from tests.serve.uploads.through import drain, filing_of

MAX_ROWS = 1_000_000


def source(path: Path) -> Source:
    content = path.read_bytes()
    return Source(path, path.name, len(content), hashlib.sha256(content).hexdigest()[:32], path.stat().st_mtime_ns)


def csv(folder: Path, text: str | bytes, name: str = "file.csv") -> Source:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return source(path)


def workbook(folder: Path, sheets: Mapping[str, Sequence[Sequence[Any]]], name: str = "file.xlsx") -> Source:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(list(row))
    book.save(folder / name)
    return source(folder / name)


def look(
    file: Source, kind: Format = "csv", folder: Path | None = None, max_rows: int = MAX_ROWS, **said: Any
) -> Found:
    """In a process of its own, as pages do."""
    work = (folder or file.path.parent) / "work"
    return Reading(Request(file, kind, Choices(**said), max_rows), work).look()


def filed(rig: Rig, file: Source, kind: Format, found: Found, table: str, key: Sequence[str] = ()) -> Fitted:
    """Queued and loaded, as pages do; the file stays."""
    fitted = fit(found, rig.warehouse.shape(table))
    upload = Upload("id", "user", file, rig.folder / "upload", kind, found=found)
    upload.folder.mkdir(exist_ok=True)
    going = Going(table, fitted.key or fitted.key_of(key), fitted.written)
    upload.file(going, filing_of(rig, rig.folder), lambda: rig.warehouse, now(), MAX_ROWS)
    assert upload.error is None, upload.error
    assert upload.state == "loaded"
    drain(rig, rig.folder)
    assert upload.sent.rows + upload.sent.dead_letters == found.rows + found.bad
    return fitted
