"""What must not slip through the guard: it would kill a load or change a value in silence. Each is tried in a pack
of its own, whose rows go in as parameters, and among a hundred that load from a file."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from catchment.queues import Message
from tests.load.loading import Rig, columns, event, packed, stamped

BASE = b'{"n":1,"d":0.5,"s":"x","t":"2026-01-01T00:00:00Z","b":true,"j":{"a":1}}'

DEAD = {
    "invalid UTF-8 in a text": (b'{"s":"\xff"}', "invalid-utf8"),
    "invalid UTF-8 in a long text": (b'{"s":"\xff0123456789012345678901234567"}', "invalid-utf8"),
    "invalid UTF-8 in a new field": (b'{"new":"\xff0123456789012345678901234"}', "invalid-utf8"),
    "invalid UTF-8 in nested JSON": (b'{"j":{"a":"\xff"}}', "invalid-utf8"),
    "invalid UTF-8 in a name": (b'{"\xff":1}', "invalid-utf8"),
    "a doubled key": (b'{"n":1,"n":2}', "duplicate-key"),
    "a doubled key that fits nowhere": (b'{"n":1,"n":"x"}', "duplicate-key"),
    "a doubled key, escaped": (b'{"n":1,"\\u006e":2}', "duplicate-key"),
    "a doubled key of nulls and more": (b'{"new":null,"new":1}', "duplicate-key"),
    "a lone surrogate in a text": (b'{"s":"\\ud800"}', "lone-surrogate"),
    "a lone surrogate in nested JSON": (b'{"j":{"a":"\\ud800x"}}', "lone-surrogate"),
    "a lone surrogate in a new field": (b'{"new":"\\ud800012345678901234567890"}', "lone-surrogate"),
    "a lone surrogate in a nested name": (b'{"j":{"\\udc00":1}}', "lone-surrogate"),
    "NUL in a text": (b'{"s":"\\u0000"}', "nul"),
    "NUL in nested JSON": (b'{"j":["\\u0000"]}', "nul"),
    "NUL in a name": (b'{"\\u0000":1}', "nul"),
    "a control character in a text": (b'{"s":"a\x01b"}', "not-json"),
    "a raw tab in nested JSON": (b'{"j":{"a":"x\ty"}}', "not-json"),
    "a raw NUL in nested JSON": (b'{"j":{"a":"x\x00y"}}', "not-json"),
    "NaN": (b'{"d":NaN}', "not-json"),
    "nested NaN": (b'{"j":[NaN]}', "not-json"),
    "a trailing comma": (b'{"j":[1,]}', "not-json"),
    "a comment": (b'{"j":[1/*x*/]}', "not-json"),
    "a bad escape": (b'{"s":"\\q"}', "not-json"),
    "two objects": (b'{"n":1}}{"n":2}', "not-json"),
    "bottomless nesting": (b'{"j":' + b"[" * 5000 + b"]" * 5000 + b"}", "too-deep"),
}

MIDNIGHT = datetime(2026, 1, 1, tzinfo=UTC)

LOADED: dict[str, tuple[bytes, dict[str, Any]]] = {
    "an integer beyond 64 bits": (b'{"n":9223372036854775808}', {"_rescued": {"n": 2**63}}),
    "a negative one": (b'{"n":-9223372036854775809}', {"_rescued": {"n": -(2**63) - 1}}),
    "the last integer of 64 bits": (b'{"n":9223372036854775807}', {"n": 2**63 - 1}),
    "2^53 into DOUBLE": (b'{"d":9007199254740992}', {"d": float(2**53)}),
    "2^53+1 into DOUBLE": (b'{"d":9007199254740993}', {"_rescued": {"d": 2**53 + 1}}),
    "-2^53-1 into DOUBLE": (b'{"d":-9007199254740993}', {"_rescued": {"d": -(2**53) - 1}}),
    "a seventh fractional digit": (
        b'{"t":"2026-01-01T00:00:00.1234567Z"}', {"_rescued": {"t": "2026-01-01T00:00:00.1234567Z"}}
    ),
    "a seventh fractional digit that is 0": (
        b'{"t":"2026-01-01T00:00:00.1234560Z"}', {"_rescued": {"t": "2026-01-01T00:00:00.1234560Z"}}
    ),
    "a time without a zone": (b'{"t":"2026-01-01T00:00:00"}', {"_rescued": {"t": "2026-01-01T00:00:00"}}),
    "a lower-case t": (b'{"t":"2026-01-01t00:00:00Z"}', {"_rescued": {"t": "2026-01-01t00:00:00Z"}}),
    "a lower-case z": (b'{"t":"2026-01-01T00:00:00z"}', {"_rescued": {"t": "2026-01-01T00:00:00z"}}),
    "a space for T": (b'{"t":"2026-01-01 00:00:00Z"}', {"_rescued": {"t": "2026-01-01 00:00:00Z"}}),
    "24:00:00": (b'{"t":"2026-01-01T24:00:00Z"}', {"_rescued": {"t": "2026-01-01T24:00:00Z"}}),
    "a leap second": (b'{"t":"2016-12-31T23:59:60Z"}', {"_rescued": {"t": "2016-12-31T23:59:60Z"}}),
    "February 30": (b'{"t":"2026-02-30T00:00:00Z"}', {"_rescued": {"t": "2026-02-30T00:00:00Z"}}),
    "the year 0": (b'{"t":"0000-01-01T00:00:00Z"}', {"_rescued": {"t": "0000-01-01T00:00:00Z"}}),
    "the year 10000": (b'{"t":"10000-01-01T00:00:00Z"}', {"_rescued": {"t": "10000-01-01T00:00:00Z"}}),
    "before the year 1 in UTC": (
        b'{"t":"0001-01-01T00:00:00+05:00"}', {"_rescued": {"t": "0001-01-01T00:00:00+05:00"}}
    ),
    "after the year 9999 in UTC": (
        b'{"t":"9999-12-31T23:00:00-05:00"}', {"_rescued": {"t": "9999-12-31T23:00:00-05:00"}}
    ),
    "an offset of +0530": (b'{"t":"2026-01-01T05:30:00+0530"}', {"_rescued": {"t": "2026-01-01T05:30:00+0530"}}),
    "an offset of +05:30": (b'{"t":"2026-01-01T05:30:00+05:30"}', {"t": MIDNIGHT}),
    "an offset of -00:00": (b'{"t":"2026-01-01T00:00:00-00:00"}', {"t": MIDNIGHT}),
    "an empty time": (b'{"t":""}', {"_rescued": {"t": ""}}),
    "true into BIGINT": (b'{"n":true}', {"_rescued": {"n": True}}),
    "1 into BOOLEAN": (b'{"b":1}', {"_rescued": {"b": 1}}),
    "a number into VARCHAR": (b'{"s":5}', {"_rescued": {"s": 5}}),
    "text into BIGINT": (b'{"n":"5"}', {"_rescued": {"n": "5"}}),
    "an object into VARCHAR": (b'{"s":{"a":1}}', {"_rescued": {"s": {"a": 1}}}),
    "3.0 into BIGINT": (b'{"n":3.0}', {"n": 3}),
    "1e2 into BIGINT": (b'{"n":1e2}', {"n": 100}),
    "-0 into BIGINT": (b'{"n":-0}', {"n": 0}),
    "-0 into DOUBLE": (b'{"d":-0}', {"d": 0.0}),
    "an empty text": (b'{"s":""}', {"s": ""}),
    "nothing": (b"{}", {}),
    "a text into JSON": (b'{"j":"x"}', {"j": "x"}),
    "the text null into JSON": (b'{"j":"null"}', {"j": "null"}),
    "null into JSON": (b'{"j":null}', {}),
    "an escaped backslash before u0000": (b'{"s":"\\\\u0000"}', {"s": "\\u0000"}),
    "a surrogate pair": (b'{"s":"\\ud83d\\ude00"}', {"s": "😀"}),
    "a doubled key in nested JSON": (b'{"j":{"a":1,"a":1}}', {"j": {"a": 1}}),
    "a carriage return between tokens": (b'{"n":\r7}', {"n": 7}),
    "names that differ by case, one of them null": (b'{"n":7,"N":null}', {"n": 7}),
    "an emoji and a right-to-left mark": ('{"s":"😀\u200f"}'.encode(), {"s": "😀\u200f"}),
}  # fmt: skip


_serial = itertools.count()


def load_odd(shared_rig: Rig, data: bytes, neighbours: int, extra: bytes = b"") -> tuple[str, list[dict[str, Any]]]:
    """A new table with BASE in it; then `data` with so many neighbours. The table, and its row of the odd one."""
    table = f"hazard.t{next(_serial)}"
    shared_rig.loader.load(shared_rig.put(packed(stamped("first", BASE, table=table))))
    lines = [stamped(f"n{at}", BASE, table=table) for at in range(neighbours)]
    odd = stamped("odd", data, table=table, extra=extra)
    shared_rig.loader.load(shared_rig.put(packed(*lines[: neighbours // 2], odd, *lines[neighbours // 2 :])))
    rows = shared_rig.ask(f"SELECT n, d, s, t, b, j, _rescued FROM {table} WHERE _id = 'odd'")
    found = [dict(zip(["n", "d", "s", "t", "b", "j", "_rescued"], row, strict=True)) for row in rows]
    for row in found:
        row |= {name: msgspec.json.decode(row[name]) for name in ("j", "_rescued") if row[name]}
    assert shared_rig.ask(f"SELECT count(*) FROM {table}") == [(neighbours + 1 + len(rows),)]
    return table, [{name: value for name, value in row.items() if value is not None} for row in found]


@pytest.mark.parametrize("neighbours", [0, 100])
@pytest.mark.parametrize("what", DEAD)
def test_what_is_no_record_is_a_dead_letter_and_its_neighbours_load(
    shared_rig: Rig, what: str, neighbours: int
) -> None:
    data, reason = DEAD[what]
    table, rows = load_odd(shared_rig, data, neighbours)
    assert rows == []
    found = shared_rig.ask(
        f"SELECT reason, from_base64(bytes) FROM catchment.dead_letters WHERE table_name = '{table}'"
    )
    assert found == [(reason, stamped("odd", data, table=table).text.rstrip(b"\n"))]


@pytest.mark.parametrize("neighbours", [0, 100])
@pytest.mark.parametrize("what", LOADED)
def test_what_does_not_fit_is_rescued_with_its_row_loaded(shared_rig: Rig, what: str, neighbours: int) -> None:
    data, expected = LOADED[what]
    table, [row] = load_odd(shared_rig, data, neighbours)
    assert row == expected
    assert shared_rig.ask(f"SELECT count(*) FROM catchment.dead_letters WHERE table_name = '{table}'") == [(0,)]


@pytest.mark.parametrize("neighbours", [0, 100])
@pytest.mark.parametrize("data", [b'{"d":1e400}', b'{"new":1e400}', b'{"n":' + b"1" * 5_000 + b"}", b'{"j":[1e400]}'])
def test_numbers_that_nothing_here_could_hold_are_kept_as_text(shared_rig: Rig, data: bytes, neighbours: int) -> None:
    table = f"hazard.t{next(_serial)}"
    shared_rig.loader.load(shared_rig.put(packed(stamped("first", BASE, table=table))))
    lines = [stamped(f"n{at}", BASE, table=table) for at in range(neighbours)]
    shared_rig.loader.load(shared_rig.put(packed(*lines, stamped("odd", data, table=table))))
    assert shared_rig.ask(f"SELECT coalesce(_rescued, '{{\"j\":' || j || '}}') FROM {table} WHERE _id = 'odd'") == [
        (data.decode(),)
    ]


@pytest.mark.parametrize("neighbours", [0, 100])
@pytest.mark.parametrize("number", [3.7, 1e22])
def test_what_only_a_double_holds_widens_bigint(shared_rig: Rig, number: float, neighbours: int) -> None:
    table, [row] = load_odd(shared_rig, b'{"n":%b}' % repr(number).encode(), neighbours)
    assert row == {"n": number}
    assert columns(shared_rig, table)["n"] == "double"
    assert shared_rig.ask(f"SELECT DISTINCT n FROM {table} WHERE _id <> 'odd'") == [(1.0,)]


@pytest.mark.parametrize("neighbours", [0, 100])
def test_a_doubled_key_of_the_record_itself(shared_rig: Rig, neighbours: int) -> None:
    table, rows = load_odd(shared_rig, b"{}", neighbours, extra=b',"id":"other"')
    assert rows == []
    assert shared_rig.ask(f"SELECT reason FROM catchment.dead_letters WHERE table_name = '{table}'") == [
        ("duplicate-key",)
    ]


@pytest.mark.parametrize("neighbours", [0, 100])
def test_a_name_that_folds_to_another_is_a_column_of_its_own(shared_rig: Rig, neighbours: int) -> None:
    table, [row] = load_odd(shared_rig, b'{"n":1,"N":2}', neighbours)
    assert row == {"n": 1}
    [other] = [c.name for c in shared_rig.warehouse.shape(table).columns if c.field == "N"]
    assert shared_rig.ask(f"SELECT {other} FROM {table} WHERE _id = 'odd'") == [(2,)]


@pytest.mark.parametrize("neighbours", [0, 100])
def test_nothing_rescued_by_the_edge_is_lost(shared_rig: Rig, neighbours: int) -> None:
    extra = b',"rescued":{"edge":"kept"}'
    _, [row] = load_odd(shared_rig, b'{"n":1}', neighbours, extra)
    assert row == {"n": 1, "_rescued": {"edge": "kept"}}
    _, [row] = load_odd(shared_rig, b'{"n":"x"}', neighbours, extra)
    assert row == {"_rescued": {"edge": "kept", "n": "x"}}


def test_a_pretty_printed_message_is_one_record(shared_rig: Rig) -> None:
    record = event("1", "hazard.pretty", j={"text": "a\nb", "list": [1, {}]})
    shared_rig.loader.load(
        shared_rig.put(shared_rig.message(msgspec.json.format(msgspec.json.encode(record), indent=4)))
    )
    [(text,)] = shared_rig.ask("SELECT j FROM hazard.pretty")
    assert msgspec.json.decode(text) == {"text": "a\nb", "list": [1, {}]}


def test_a_raw_newline_inside_a_text_is_a_dead_letter(shared_rig: Rig) -> None:
    body = b'{"table":"hazard.raw","id":"1","data":{"j":{"s":"x\ny"}}}'
    shared_rig.loader.load(shared_rig.put(Message(body, "queue/raw-newline", None)))
    assert shared_rig.ask("SELECT reason FROM catchment.dead_letters WHERE origin LIKE '%raw-newline%'") == [
        ("not-json",)
    ]


@pytest.mark.parametrize("count", [64, 65])
def test_on_either_side_of_few_rows(shared_rig: Rig, count: int) -> None:
    table = f"hazard.rows_{count}"
    for start in (0, 1000):
        lines = [stamped(f"{start + at}", BASE, table=table) for at in range(count)]
        [loaded] = shared_rig.loader.load(shared_rig.put(packed(*lines)))
        assert (loaded.inserted, loaded.duplicates, loaded.dead) == (count, 0, 0)
    assert shared_rig.ask(f"SELECT count(DISTINCT _id), min(s), min(n) FROM {table}") == [(2 * count, "x", 1)]


@pytest.mark.parametrize("count", [1, 64, 65])
def test_a_thousand_columns(shared_rig: Rig, count: int) -> None:
    table = f"hazard.wide_{count}"
    data = {f"c{at}": at for at in range(1_000)}
    shared_rig.file(*[event(f"{at}", table, **data) for at in range(count)])
    shared_rig.file(*[event(f"again-{at}", table, **data) for at in range(count)])
    assert shared_rig.ask(f"SELECT count(*), min(c999) FROM {table}") == [(2 * count, 999)]


@pytest.mark.parametrize("count", [1, 70])
def test_records_of_a_megabyte(shared_rig: Rig, count: int) -> None:
    table = f"hazard.huge_{count}"
    text = "x" * 990_000 if count == 1 else "x" * 200_000
    shared_rig.loader.load(shared_rig.put(*[shared_rig.message(event(f"{at}", table, s=text)) for at in range(count)]))
    assert shared_rig.ask(f"SELECT count(*), min(length(s)) FROM {table}") == [(count, len(text))]


@pytest.mark.parametrize("count", [1, 100])
def test_a_table_of_nothing_but_nulls_has_no_columns_until_a_value_comes(shared_rig: Rig, count: int) -> None:
    table = f"hazard.nulls_{count}"
    shared_rig.file(*[event(f"a{at}", table, x=None) for at in range(count)])
    shared_rig.file(*[event(f"b{at}", table, x=None) for at in range(count)], event("empty", table))
    assert columns(shared_rig, table) == {}
    shared_rig.file(*[event(f"c{at}", table, x=None) for at in range(count)], event("value", table, x=7))
    assert columns(shared_rig, table) == {"x": "bigint"}
    assert shared_rig.ask(f"SELECT count(*), count(x) FROM {table}") == [(3 * count + 2, 1)]


@pytest.mark.parametrize("schema", ["warehouse", "main", "select", "pg_temp", "_"])
def test_schemas_of_any_name(shared_rig: Rig, schema: str) -> None:
    """DuckDB calls the file's own catalogue by its name, and must not mix it up with the schema."""
    shared_rig.file(event("1", f"{schema}.event", a=1))
    shared_rig.file(*[event(f"{at}", f"{schema}.event", a=1) for at in range(1, 100)])
    assert shared_rig.ask(f'SELECT sum(a)::BIGINT FROM "{schema}".event') == [(99,)]
