"""The dialect follows from the whole file, or the user is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from catchment.errors import UsageError
from catchment.send import lines
from catchment.send.source import opened
from catchment.send.survey import Options, Survey, survey


def look(tmp_path: Path, content: str, options: Options | None = None) -> Survey:
    path = tmp_path / "t.csv"
    path.write_bytes(content.encode())
    with opened(str(path)) as source:
        return survey(source, options or Options())


@pytest.mark.parametrize(
    ("content", "delimiter", "width"),
    [
        ("a,b\n1,2\n", ",", 2),
        ("a;b\n1,5;2,5\n", ";", 2),
        ("a\tb\tc\n1\t2\t3\n", "\t", 3),
        ("a|b\n1|2\n", "|", 2),
        ("a,b;c\n1,2\n3,4\n", ",", 2),  # `;` splits only the header
        ('a,b;c\n1,"2;3"\n3,4\n', ",", 2),
        ('"a,b";c\n"1,2";3\n', ";", 2),
        ("a\n1\n", None, 1),
        ("a b\n1 2\n", None, 1),
        ("a^b\n1^2\n", None, 1),
        ('a\n"x,y"\n', None, 1),
        ("a,b", ",", 2),
    ],
)
def test_what_the_whole_file_says(tmp_path: Path, content: str, delimiter: str | None, width: int) -> None:
    found = look(tmp_path, content)
    assert found.dialect.delimiter == delimiter
    assert len(found.columns) == width


def test_two_that_fit(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        look(tmp_path, "price, eur;qty\n1,5;2\n3,5;4\n")
    assert str(caught.value) == (
        "t.csv can be read in 2 ways: on every line ',' gives 2 fields, ';' gives 2 fields\n"
        "  Try: say which: --delimiter ',' or --delimiter ';'"
    )
    assert look(tmp_path, "price, eur;qty\n1,5;2\n", Options(delimiter=";")).columns == ("price, eur", "qty")


def test_none_that_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "BLOCK_BYTES", 64)  # the line that says no may lie anywhere
    with pytest.raises(UsageError) as caught:
        look(tmp_path, "a,b\n" + "1,2\n" * 100 + "1,2,3\n")
    assert "no delimiter splits all of its lines alike: ',', line 102: 3 fields instead of 2" in str(caught.value)
    assert "--delimiter ','" in caught.value.hint
    found = look(tmp_path, "a,b\n" + "1,2\n" * 100 + "1,2,3\n", Options(delimiter=","))
    assert (found.rows, found.bad) == (100, 1)


def test_one_column_or_a_delimiter_that_the_header_lacks(tmp_path: Path) -> None:
    content = "name\nSmith\nSmith, John\n"
    with pytest.raises(UsageError) as caught:
        look(tmp_path, content)
    assert "one column, yet ',' in line 3" in caught.value.message
    assert "--delimiter ',' or --delimiter none" in caught.value.hint
    assert look(tmp_path, content, Options(one_column=True)).rows == 2


def test_given_a_delimiter_that_nothing_fits(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="none of its 2 records has 2 fields"):
        look(tmp_path, "a;b\n1,2\n3,4\n", Options(delimiter=";"))


@pytest.mark.parametrize(
    ("content", "problem", "names"),
    [
        ("a,b,a\n1,2,3\n", "2 columns are named 'a'", "a,b,a_2"),
        ("a,,c\n1,2,3\n", "column 2 has no name", "a,column_2,c"),
        ('a,"",c\n1,2,3\n', "column 2 has no name", "a,column_2,c"),
        ("a,b,\n1,2,\n", "column 3 has no name", "a,b,column_3"),
    ],
)
def test_headers_that_do_not_name_columns(tmp_path: Path, content: str, problem: str, names: str) -> None:
    with pytest.raises(UsageError) as caught:
        look(tmp_path, content)
    assert caught.value.message == f"t.csv: {problem}"
    assert caught.value.hint.endswith(f"--skip 1 --columns {names}")
    assert look(tmp_path, content, Options(skip=1, columns=tuple(names.split(",")))).rows == 1


@pytest.mark.parametrize("content", ["", "\n\n", "\ufeff"])
def test_an_empty_file(tmp_path: Path, content: str) -> None:
    with pytest.raises(UsageError, match="empty"):
        look(tmp_path, content)


def test_lines_that_end_with_cr_alone(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="end with CR alone"):
        look(tmp_path, "a,b\r1,2\r3,4\r")


def test_more_names_than_fields(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no delimiter"):
        look(tmp_path, "1,2\n", Options(columns=("a", "b", "c")))
    with pytest.raises(UsageError, match="3 fields that --columns names"):
        look(tmp_path, "1 2\n", Options(columns=("a", "b", "c")))


def test_text_behind_quotes_in_the_header(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="line 1: text behind the closing quote of field 1"):
        look(tmp_path, '"a"x,b\n1,2\n', Options(delimiter=","))


def test_types_of_the_flights_data(tmp_path: Path) -> None:
    found = look(
        tmp_path,
        "year,dep_time,delay,carrier,lat,time_hour\n"
        "2013,517,2,UA,41.1304722,2013-01-01T10:00:00Z\n"
        "2013,,-4,9E,-85.6,2013-01-01T11:00:00Z\n",
    )
    assert found.types == ("bigint", "bigint", "bigint", "varchar", "double", "timestamptz")
