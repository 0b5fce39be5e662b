"""NDJSON and JSON keep every byte of a value; what is no object is kept as a dead letter."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catchment.errors import UsageError
from catchment.send import formats, lines
from tests.send.harness import letter_bytes, send_as


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write(content: str | bytes) -> Path:
        path = tmp_path / "t.ndjson"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_numbers_keep_all_their_digits(write: Any) -> None:
    line = '{"a":123456789012345678901234567890.123456789,"b": 7.50,"c":1e999,"d":-0}'
    assert send_as("ndjson", write(line)).raw == [line.encode()]
    assert send_as("json", write(f"[{line}]")).raw == [line.encode()]


def test_lines(write: Any) -> None:
    outcome = send_as("ndjson", write('\ufeff{"a":1}\r\n\n  {"a":2}  \n{"a":\r3}\n{"a":"\u2028"}'))
    assert [row["a"] for row in outcome.rows] == [1, 2, 3, "\u2028"]
    assert [str(each).split(":")[1] for each in outcome.ids] == ["1", "2", "3", "4"]
    assert outcome.letters == []


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"x", "not-json"),
        (b'{"a":1', "not-json"),
        (b'{"a":1}{"a":2}', "not-json"),
        (b'{"a":NaN}', "not-json"),
        (b'{"a":01}', "not-json"),
        (b"{'a':1}", "not-json"),
        (b'{"a":"\x00"}', "not-json"),
        (b'{"a":' + b"[" * 100_000, "too-deep"),
        (b'{"a":' + b"[" * 199 + b"]" * 199 + b"}", "too-deep"),  # with the record around it
        (b'{"a":"\\u0000"}', "nul"),
        (b'{"\\u0000":1}', "nul"),
        (b"[1]", "not-a-record"),
        (b"1", "not-a-record"),
        (b"null", "not-a-record"),
        (b'"x"', "not-a-record"),
        (b'{"a":"\xff"}', "invalid-utf8"),
        (b"\xff", "invalid-utf8"),
        (b'{"a":"\\ud800"}', "lone-surrogate"),
        (b'{"a":"\\uD800\\u0041"}', "lone-surrogate"),
        (b'{"a":"\\udc00"}', "lone-surrogate"),
        (b'{"a":"\\uDC00"}', "lone-surrogate"),
        (b'{"a":"' + b"x" * 1_000_000 + b'"}', "oversized"),
        (b'{"a":"' + b"x" * 999_950 + b'"}', "oversized"),  # fits alone, but not with its envelope
    ],
)
def test_bad_lines(write: Any, line: bytes, reason: str) -> None:
    outcome = send_as("ndjson", write(b'{"a":1}\n\n' + line + b'\n{"a":2}\n'))
    assert [row["a"] for row in outcome.rows] == [1, 2]
    [letter] = outcome.letters
    assert (letter["reason"], letter["origin"]) == (reason, "file t.ndjson line 3")
    assert letter_bytes(letter) == line[:600_000]
    assert [str(each).split(":")[1] for each in outcome.ids] == ["1", "3"]


def test_ids(write: Any) -> None:
    content = (
        '{"id":"x","a":1}\n{"id":12345678901234567890,"a":2}\n{"a":3}\n{"id":"","a":4}\n{"id":null,"a":5}\n'
        '{"id":{"b":1},"a":6}\n{"id":true,"a":7}\n{"id":"é\\"\\n","a":8}\n{"b":{"id":1},"a":9}\n{"id":-1.50,"a":10}\n'
        '{"id":"' + "x" * 513 + '","a":11}\n'
    )
    outcome = send_as("ndjson", write(content), "id")
    assert outcome.ids == ["x", "12345678901234567890", 'é"\n', "-1.50"]
    assert [row["a"] for row in outcome.rows] == [1, 2, 8, 10]
    assert [letter["origin"] for letter in outcome.letters] == [
        f"file t.ndjson line {line}" for line in (3, 4, 5, 6, 7, 9, 11)
    ]
    assert {letter["reason"] for letter in outcome.letters} == {"not-a-record"}
    assert "'id', which --id names, is missing or empty" in outcome.letters[0]["detail"]


def test_an_array(write: Any) -> None:
    outcome = send_as("json", write('[\n {"a": 1,\n  "b": "x\\ny"},\n 7,\n {"a":2}\n]\n'))
    assert outcome.rows == [{"a": 1, "b": "x\ny"}, {"a": 2}]
    [letter] = outcome.letters
    assert (letter["reason"], letter_bytes(letter)) == ("not-a-record", b"7")
    assert [str(each).split(":")[1] for each in outcome.ids] == ["1", "3"]


def test_one_object(write: Any) -> None:
    assert send_as("json", write('\ufeff {"a":\n [1]}\n')).rows == [{"a": [1]}]
    assert send_as("json", write("[]")).rows == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('[{"a":1},\n{"a":}]', "t.ndjson line 2: JSON is malformed"),
        ('{"a":1}\n{"a":2}\n', "--format ndjson"),
        ("7", "neither an array of objects nor an object"),
        ("", "neither an array of objects nor an object"),
        (b'[\n{"a":"\xff"}]', "line 2, byte 9: not UTF-8"),
        ("[" * 100_000, "nested too deep"),
    ],
)
def test_json_that_is_none(write: Any, content: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        send_as("json", write(content))
    assert words in str(caught.value)


def test_a_json_file_too_large_for_the_memory(write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "MAX_JSON_BYTES", 10)
    with pytest.raises(UsageError, match="make it NDJSON"):
        send_as("json", write('[{"a":1},{"a":2}]'))


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=4)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.dictionaries(texts, json_values, max_size=3), max_size=5),
    st.sampled_from([3, 1 << 18]),
)
def test_any_objects_come_back_byte_for_byte(objects: list[dict[str, Any]], block_bytes: int) -> None:
    texts = [msgspec.json.encode(each) for each in objects if _is_encodable(each)]
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(lines, "BLOCK_BYTES", block_bytes):
        path = Path(folder) / "t.ndjson"
        path.write_bytes(b"\n".join(texts))
        assert send_as("ndjson", path).raw == texts
        path.write_bytes(b"[" + b" , ".join(texts) + b"]")
        assert send_as("json", path).raw == texts


def _is_encodable(value: object) -> bool:
    try:
        msgspec.json.encode(value)
    except (OverflowError, UnicodeEncodeError):  # beyond 64 bits, or a lone surrogate: not for this encoder
        return False
    return True
