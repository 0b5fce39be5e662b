"""Files that are made to break who reads them: the process that does may end, and nothing else does."""

from __future__ import annotations

import os
import threading
import zipfile
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb
import openpyxl
import pytest

from catchment.errors import UsageError
from catchment.send import apart
from catchment.send.apart import Ended, Reading, Request
from catchment.send.look import Choices, Format, Found, Unclear, Written
from tests.serve.uploads.files import csv, look, source, workbook

MAX_ROWS = 1_000_000


def refused(path: Path, kind: Format, **said: Any) -> str:
    with pytest.raises(UsageError) as raised:
        look(source(path), kind, **said)
    return str(raised.value)


def test_parquet_of_a_billion_rows_in_a_few_hundred_bytes(tmp_path: Path) -> None:
    path = tmp_path / "many.parquet"
    duckdb.connect().execute(f"COPY (SELECT 1 AS a FROM range(20000000)) TO '{path}' (ROW_GROUP_SIZE 20000000)")
    assert path.stat().st_size < 2_000
    assert "says that it has 20,000,000 rows; an upload may have 1,000,000" in refused(path, "parquet")


def test_parquet_that_is_cut_short_or_changed(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    duckdb.connect().execute(f"COPY (SELECT i, 'text' || i AS t FROM range(1000) AS r(i)) TO '{path}'")
    whole = path.read_bytes()
    for at in range(0, len(whole), len(whole) // 3):
        path.write_bytes(whole[:at])
        assert "a.parquet" in refused(path, "parquet")
        path.write_bytes(whole[:at] + b"\xff" * 8 + whole[at + 8 :])
        with suppress(UsageError):  # the change may lie where it alters values alone
            assert look(source(path), "parquet").rows <= 1_000


def test_a_cell_far_away_ends_its_reader_alone(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.active["A1"], book.active["XFD1048576"] = "a", "z"
    book.save(tmp_path / "far.xlsx")
    assert "1,500 MB of memory" in refused(tmp_path / "far.xlsx", "excel")


def test_a_workbook_that_unpacks_to_very_much(tmp_path: Path) -> None:
    good = workbook(tmp_path, {"S": [["a"], [1]]}).path
    bomb = tmp_path / "bomb.xlsx"
    with zipfile.ZipFile(good) as packed, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as out:
        for entry in packed.infolist():
            content = packed.read(entry)
            if entry.filename.endswith("sheet1.xml"):
                row = b'<row><c t="inlineStr"><is><t>' + b"x" * 30_000 + b"</t></is></c></row>"
                with out.open(entry.filename, "w") as sheet:
                    head, _, tail = content.partition(b"</sheetData>")
                    sheet.write(head)
                    for _ in range(12_000):  # 360 MB of cells in a few megabytes
                        sheet.write(row)
                    sheet.write(b"</sheetData>" + tail)
            else:
                out.writestr(entry, content)
    assert bomb.stat().st_size < 10_000_000
    reading = Reading(Request(source(bomb), "excel", Choices(), MAX_ROWS, memory_bytes=300 << 20), tmp_path / "work")
    with pytest.raises(UsageError, match="300 MB of memory"):
        reading.look()


def test_what_says_that_it_unpacks_to_too_much_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "liar.xlsx"
    with zipfile.ZipFile(path, "w") as packed:
        for name in "ab":
            packed.writestr(name, b"x")
    raw = bytearray(path.read_bytes())
    at = raw.index(b"PK\x01\x02")
    for start in (at, raw.index(b"PK\x01\x02", at + 4)):
        raw[start + 24 : start + 28] = (0xFFFFFFF0).to_bytes(4, "little")
    path.write_bytes(raw)
    assert "unpacks to 8.6 GB; a workbook may have 4 GB" in refused(path, "excel")


def test_what_is_no_workbook(tmp_path: Path) -> None:
    for content in (b"", b"PK\x03\x04", b"PK\x05\x06" + bytes(18), b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)):
        path = tmp_path / "a.xlsx"
        path.write_bytes(content)
        assert "a.xlsx" in refused(path, "excel")


def test_csv_of_one_line_without_end(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    with path.open("wb") as file:
        file.write(b"a,b\n")
        file.truncate(1 << 26)  # a hole: 64 MB of NUL on one line
    assert "is NUL" in refused(path, "csv")
    with path.open("wb") as file:
        file.write(b"a,b\n")
        for _ in range(20):
            file.write(b"x" * (1 << 20))
    assert "a line of more than 16 MB" in refused(path, "csv")


def test_a_quote_that_never_closes(tmp_path: Path) -> None:
    file = csv(tmp_path, 'a,b\n1,"2\n' + "3,4\n" * 100)
    with pytest.raises(Unclear) as raised:
        look(file)
    assert raised.value.asks in {"quote", "delimiter"}
    assert look(file, quote=None, delimiter=",").rows == 101


def test_encodings_are_offered_as_they_read(tmp_path: Path) -> None:
    with pytest.raises(Unclear) as raised:
        look(csv(tmp_path, "name\nŽluťoučký\n".encode("cp1250")))
    assert raised.value.asks == "encoding"
    assert ("cp1250", "Žluťoučký") in raised.value.trials
    with pytest.raises(Unclear) as raised:
        look(csv(tmp_path, "name\nŽluťoučký\n".encode("utf-16")))
    assert raised.value.trials == (("utf-16", "name"),)
    assert look(csv(tmp_path, "name\nŽluťoučký\n".encode("utf-16")), encoding="utf-16").first == (("Žluťoučký",),)
    late = "a\n" + "x\n" * 100_000 + "é\n"
    with pytest.raises(Unclear) as raised:
        look(csv(tmp_path, late.encode("cp1252")))
    assert ("cp1252", "é") in raised.value.trials


def test_delimiters_are_offered_with_what_they_make(tmp_path: Path) -> None:
    with pytest.raises(Unclear) as raised:
        look(csv(tmp_path, "a;b,c\n1;2,3\n"))
    assert raised.value.asks == "delimiter"
    assert raised.value.trials == ((",", "a;b · c"), (";", "a · b,c"))


def test_names_without_a_header_and_twice(tmp_path: Path) -> None:
    file = csv(tmp_path, "a,a,,a_2\n1,2,3,4\n")
    assert look(file).columns == ("a", "a_3", "column_3", "a_2")
    found = look(file, header_row=0)
    assert found.columns == ("column_1", "column_2", "column_3", "column_4")
    assert found.rows == 2
    assert look(csv(tmp_path, "title\n\nx,y\n1,2\n"), header_row=3, delimiter=",").columns == ("x", "y")


def test_it_ends_when_it_is_told_to_and_when_nobody_listens(tmp_path: Path) -> None:
    file = csv(tmp_path, "a,b\n" + "1,2\n" * 900_000)
    found = look(file)
    reading = Reading(Request(file, "csv", Choices(), MAX_ROWS, found, Written(found.columns)), tmp_path / "work")
    batches = reading.batches()
    next(batches)
    pid = reading._process.pid if reading._process else 0
    threading.Timer(0.02, reading.end).start()
    with pytest.raises(Ended):
        deque(batches, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(Ended):
        reading.look()
    dropped = Reading(Request(file, "csv", Choices(), MAX_ROWS, found, Written(found.columns)), tmp_path / "work")
    kept = dropped.batches()
    next(kept)
    pid = dropped._process.pid if dropped._process else 0
    kept.close()  # type: ignore[attr-defined]  # it is a generator
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_it_is_told_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_PASSWORD", "hunter2")
    assert "hunter2" not in str(apart._environment(tmp_path))


def test_a_file_that_changes_meanwhile_is_not_filed_in_two_versions(tmp_path: Path) -> None:
    file = csv(tmp_path, "a\n1\n")
    found: Found = look(file)
    file.path.write_bytes(b"a\n2\n3\n")
    reading = Reading(Request(file, "csv", Choices(), MAX_ROWS, found, Written(found.columns)), tmp_path / "work")
    with pytest.raises(UsageError, match="changed"):
        list(reading.batches())


def test_the_lines_that_are_shown_tell_the_encodings_apart(tmp_path: Path) -> None:
    """The line with the most letters reads alike in several; what differs is further down, and far into its line."""
    same, apart = "é" * 20, "x" * 400 + ",Š"
    with pytest.raises(Unclear) as raised:
        look(csv(tmp_path, f"{same},1\n{apart}\n".encode("cp1252")))
    trials = dict(raised.value.trials)
    assert trials["cp1252"].endswith("Š")
    assert len(set(trials.values())) == len(trials)
