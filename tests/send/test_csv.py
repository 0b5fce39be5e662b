"""CSV as files have it: what each becomes, and that both readings of a block agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from catchment.errors import UsageError
from catchment.send import csv, lines
from catchment.send.survey import Options
from tests.send.harness import letter_bytes, send_csv


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write(content: str | bytes, name: str = "t.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ("a,b\n1,x\n2,y\n", [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]),
        ("a,b\n1,x\n2,y", [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]),  # no last line end
        ("a,b\r\n1,x\r\n2,y\r\n", [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]),
        ("a,b\r\n1,x\r\n2,y\r", [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]),
        ("\ufeffa,b\n1,x\n", [{"a": 1, "b": "x"}]),
        ('a,b\n,""\n', [{"a": None, "b": ""}]),
        ('a,b\n"",\n', [{"a": "", "b": None}]),
        ('a,b\n1,"x,y"\n', [{"a": 1, "b": "x,y"}]),
        ('a,b\n1,"x\ny"\n2,z\n', [{"a": 1, "b": "x\ny"}, {"a": 2, "b": "z"}]),
        ('a,b\r\n1,"x\r\ny"\r\n', [{"a": 1, "b": "x\r\ny"}]),
        ('a,b\n1,"say ""hi"""\n', [{"a": 1, "b": 'say "hi"'}]),
        ('a,b\n1,""""\n', [{"a": 1, "b": '"'}]),
        ('a,b\n"1","x"\n', [{"a": 1, "b": "x"}]),  # quotes say nothing of a type
        ('a,b\n1,5" pipe\n', [{"a": 1, "b": '5" pipe'}]),
        ('a,b\n1, "x"\n', [{"a": 1, "b": ' "x"'}]),
        ("a,b\n1,x\ry\n", [{"a": 1, "b": "x\ry"}]),
        ("a,b\n1,x\\u0000y\n", [{"a": 1, "b": "x\\u0000y"}]),  # no NUL, only its escape
        ("a,b\n1,x\u2028y\x0b\x0c\x1c\x85z\n", [{"a": 1, "b": "x\u2028y\x0b\x0c\x1c\x85z"}]),
        ("a,b\n\n1,x\n\n\n2,y\n\n", [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]),  # empty lines hold nothing
        ("\n\na,b\n1,x\n", [{"a": 1, "b": "x"}]),
        ('a\n1\n\n""\n', [{"a": "1"}, {"a": None}, {"a": ""}]),  # but in one column a null
        ("a\n", []),
        ("a,b", []),
        ("a;b\n1,5;2\n", [{"a": "1,5", "b": 2}]),
        ("a\tb\n1\t2\n", [{"a": 1, "b": 2}]),
        ("a|b\n1|2\n", [{"a": 1, "b": 2}]),
        ('"a;b",c\n1,2\n', [{"a;b": 1, "c": 2}]),
        ('a\n"x,y"\n', [{"a": "x,y"}]),
        ('"a\nb",c\n1,2\n', [{"a\nb": 1, "c": 2}]),
        ('a"b,c\\d\n1,2\n', [{'a"b': 1, "c\\d": 2}]),
        ("a,b\ntrue,1.5\nfalse,0.1\n", [{"a": True, "b": 1.5}, {"a": False, "b": 0.1}]),
        ("a,b\n0412,7.50\n", [{"a": "0412", "b": "7.50"}]),
        ("a,b\n1_000,2013-01-01T10:00:00Z\n", [{"a": "1_000", "b": "2013-01-01T10:00:00Z"}]),
        ("a,b\n\\N,\\\n", [{"a": "\\N", "b": "\\"}]),
    ],
)
def test_content(write: Any, content: str, rows: list[dict[str, Any]]) -> None:
    outcome = send_csv(write(content))
    assert outcome.rows == rows
    assert outcome.letters == []


@pytest.mark.parametrize(
    ("options", "content", "rows"),
    [
        (Options(columns=("a", "b")), "1,2\n3,4\n", [{"a": 1, "b": 2}, {"a": 3, "b": 4}]),
        (Options(columns=("a",)), "1\n2\n", [{"a": 1}, {"a": 2}]),
        (Options(columns=("a", "b"), skip=1), "x,x\n3,4\n", [{"a": 3, "b": 4}]),
        (Options(skip=2), "made by\r\na tool\r\na,b\r\n1,2\r\n", [{"a": 1, "b": 2}]),
        (Options(quote="'"), "a,b\n'x,y',\"\n", [{"a": "x,y", "b": '"'}]),
        (Options(quote=None), 'a,b\n"x,y"\n', [{"a": '"x', "b": 'y"'}]),
        (Options(escape="\\"), 'a,b\n"x\\"y\\\\z\\n",\\\n', [{"a": 'x"y\\z\\n', "b": "\\"}]),
        (Options(escape="\\"), 'a,b\n"x\\\\",""\n', [{"a": "x\\", "b": ""}]),
        (Options(escape='"'), 'a,b\n"x""y",1\n', [{"a": 'x"y', "b": 1}]),
        (Options(nulls=frozenset({"NA"})), 'a,b\nNA,"NA"\n1,\n', [{"a": None, "b": "NA"}, {"a": 1, "b": None}]),
        (Options(nulls=frozenset({"NA"})), "a,b\nNA,NAN\n1,\n", [{"a": None, "b": "NAN"}, {"a": 1, "b": None}]),
        (Options(delimiter="^"), "a^b\n1^2\n", [{"a": 1, "b": 2}]),
        (Options(delimiter=" "), "a b\n1 2\n", [{"a": 1, "b": 2}]),
        (Options(one_column=True), "a\nx,y\n", [{"a": "x,y"}]),
        (Options(one_column=True), 'a\n"x"\n', [{"a": "x"}]),
    ],
)
def test_dialects_as_given(write: Any, options: Options, content: str, rows: list[dict[str, Any]]) -> None:
    outcome = send_csv(write(content), options)
    assert outcome.rows == rows
    assert outcome.letters == []


def test_numbers_keep_their_text(write: Any) -> None:
    outcome = send_csv(write("a,b,c\n9223372036854775807,0.1,-1\n1,1e+16,2.5\n"))
    assert outcome.raw == [b'{"a":9223372036854775807,"b":0.1,"c":-1}', b'{"a":1,"b":1e+16,"c":2.5}']


def test_one_odd_value_at_the_end_makes_a_column_text(write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "BLOCK_BYTES", 1_000)
    outcome = send_csv(write("a,b\n" + "1,2\n" * 2_000 + "0412,3\n"))
    assert outcome.raw[0] == b'{"a":"1","b":2}'
    assert outcome.raw[-1] == b'{"a":"0412","b":3}'
    assert len(outcome.raw) == 2_001


@pytest.mark.parametrize(
    ("content", "kept", "line", "detail", "raw"),
    [
        ("a,b\n1,2\n3\n5,6\n", 2, 3, "1 field instead of 2", "3"),
        ("a,b\n1,2\n3,4,5\n5,6\n", 2, 3, "3 fields instead of 2", "3,4,5"),
        ("a,b\n1,2\n \n", 1, 3, "1 field instead of 2", " "),
        ('a,b\n"1\n2",2\n\n3\r\n5,6\n', 2, 5, "1 field instead of 2", "3"),
        ('a,b\n1,2\n"x"y,2\n', 1, 3, "text behind the closing quote of field 1", '"x"y,2'),
        ('a,b\n1,2\n"x" ,2\n', 1, 3, "text behind the closing quote of field 1", '"x" ,2'),
        ('a,b\n1,2\n"x"y\nz,2\n', 2, 3, "text behind the closing quote of field 1", '"x"y'),
        ("a,b\n1,2\n3,é,\n", 1, 3, "3 fields instead of 2", "3,é,"),
    ],
)
def test_lines_that_do_not_fit(write: Any, content: str, kept: int, line: int, detail: str, raw: str) -> None:
    outcome = send_csv(write(content), Options(delimiter=","))
    assert len(outcome.rows) == kept
    [letter] = outcome.letters
    assert letter == {
        "table_name": "test.rows",
        "reason": "wrong-fields",
        "detail": detail,
        "origin": f"file t.csv line {line}",
        "bytes": letter["bytes"],
    }
    assert letter_bytes(letter) == raw.encode()


def test_a_bad_line_keeps_its_number_so_that_others_keep_their_ids(write: Any) -> None:
    outcome = send_csv(write("a,b\n1,2\n3\n5,6\n"), Options(delimiter=","))
    assert [str(each).split(":")[1] for each in outcome.ids] == ["1", "3"]
    [letter] = [each for each in outcome.queue.records() if each.table != "test.rows"]
    assert len(str(letter.id)) == 32


def test_line_numbers_count_the_skipped_ones(write: Any) -> None:
    outcome = send_csv(write("made by\na tool\na,b\n1,2\n3\n"), Options(delimiter=",", skip=2))
    assert outcome.letters[0]["origin"] == "file t.csv line 5"


def test_records_across_blocks(write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    content = 'a,b\r\n"x\r\n""y""",1\r\n\r\né,2\r\n"","z\n\n"\r\n1,2,3\r\n'
    whole = send_csv(write(content), Options(delimiter=","))
    assert [row["a"] for row in whole.rows] == ['x\r\n"y"', "é", ""]
    for size in range(1, 30):
        monkeypatch.setattr(lines, "BLOCK_BYTES", size)
        cut = send_csv(write(content), Options(delimiter=","))
        assert (cut.rows, cut.letters, cut.ids) == (whole.rows, whole.letters, whole.ids)


@pytest.mark.parametrize("quote", ['"x', '"x""', '"', '"x\n1,2\n3,4\n'])
def test_a_quote_never_closed_is_refused_before_anything_is_sent(write: Any, quote: str) -> None:
    with pytest.raises(UsageError, match="line 3: a quote") as caught:
        send_csv(write(f"a,b\n1,2\n{quote},2\n"), Options(delimiter=","))
    assert "--quote none" in str(caught.value)


def test_a_quote_never_closed_does_not_fill_the_memory(write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv, "MAX_LENGTH", 1_000)
    monkeypatch.setattr(lines, "BLOCK_BYTES", 100)
    with pytest.raises(UsageError, match="line 2: a quote"):
        send_csv(write('a,b\n"' + "1,2\n" * 1_000 + '",2\n'), Options(delimiter=","))


def test_a_file_of_doubled_quotes_takes_no_more_time_than_its_length(write: Any) -> None:
    outcome = send_csv(write("a,b\n" + '"' + '""' * 200_000 + '",1\n'))
    assert outcome.rows == [{"a": '"' * 200_000, "b": 1}]


def test_an_oversized_record_is_a_dead_letter(write: Any) -> None:
    outcome = send_csv(write("a,b\n1,2\n" + "x" * 1_500_000 + ",3\n4,5\n"))
    assert [row["b"] for row in outcome.rows] == [2, 5]
    [letter] = outcome.letters
    assert (letter["reason"], letter["origin"]) == ("oversized", "file t.csv line 3")
    assert "first 600,000 of its 1,500,002 bytes" in letter["detail"]
    assert letter_bytes(letter) == b"x" * 600_000


def test_nul_is_no_text(write: Any) -> None:
    outcome = send_csv(write("a,b\n1,x\n2,x\0y\n3,\\u0000\n"))
    assert [row["a"] for row in outcome.rows] == [1, 3]
    [letter] = outcome.letters
    assert (letter["reason"], letter["origin"], letter_bytes(letter)) == ("nul", "file t.csv line 3", b"2,x\0y")


def test_large_records_stand_in_packs_within_bounds(write: Any) -> None:
    outcome = send_csv(write("a,b\n" + "".join(f"{at},{'x' * 40_000}\n" for at in range(100))))
    assert [row["a"] for row in outcome.rows] == list(range(100))
    for each in outcome.queue.packs():
        assert len(each.plain()) <= 1024 * 1024
