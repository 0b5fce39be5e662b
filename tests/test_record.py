"""The record: what `decode` takes and refuses, what `Stamp` adds, and that the JSON Schema says the same."""

from __future__ import annotations

import json
import re
import uuid
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from catchment.errors import Malformed
from catchment.record import (
    CORRECTIONS,
    DEAD_LETTERS,
    DEFAULT_WINDOW,
    MAX_DEPTH,
    MAX_ID_CHARACTERS,
    MAX_RECORD_BYTES,
    OWN_TIME_MARGIN,
    REASONS,
    Record,
    Stamp,
    check_table,
    decode,
    json_schema,
    now,
    one_line,
    timestamp,
    uuid7,
    uuid7_time,
)

NOON = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)
SCHEMA = jsonschema.Draft202012Validator(json_schema())

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
values = st.recursive(
    scalars, lambda x: st.lists(x, max_size=4) | st.dictionaries(texts, x, max_size=4), max_leaves=12
)
objects = st.dictionaries(texts, values, max_size=6)
moments = st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-8)), timezone(timedelta(hours=5.5))]))


def malformed(line: bytes) -> Malformed:
    with pytest.raises(Malformed) as caught:
        decode(line)
    assert caught.value.reason in REASONS
    return caught.value


def line(**fields: Any) -> bytes:
    return json.dumps({"table": "web.signup", "data": {}, **fields}).encode()


# What decode takes.


def test_only_table_and_data_are_required() -> None:
    record = decode(b'{"table":"web.signup","data":{"plan":"pro"}}')
    assert (record.table, bytes(record.data)) == ("web.signup", b'{"plan":"pro"}')
    assert (record.id, record.received_at, record.source, record.op) == (None, None, None, "insert")


@given(objects, st.sampled_from([None, 2]))
def test_data_stays_as_it_was_sent(data: dict[str, Any], indent: int | None) -> None:
    sent = json.dumps(data, ensure_ascii=False, indent=indent)
    record = decode(b'{"table":"web.signup","data":%b}' % sent.encode())
    assert bytes(record.data).decode() == sent


def test_a_memoryview_will_do() -> None:
    assert decode(memoryview(line(id="1"))).id == "1"


@pytest.mark.parametrize("table", ["a.b", "_a._9", f"{'a' * 63}.{'b' * 63}", DEAD_LETTERS, CORRECTIONS])
def test_tables_that_records_may_be_filed_into(table: str) -> None:
    check_table(table)


BAD_TABLES = [
    *["", "signup", "web.", ".signup", "a.b.c", "Web.signup", "web.sign-up", "web signup.x", "wéb.x", "web.x\n"],
    *["1a.b", "a.1b", f"{'a' * 64}.b", f"a.{'b' * 64}", "a.b; drop table x", 'a."b"'],
    *["catchment.ledger", "information_schema.tables", "pg_catalog.pg_class", "pg_toast.x", "system.x", "temp.x"],
]


@pytest.mark.parametrize("table", BAD_TABLES)
def test_bad_tables(table: str) -> None:
    assert malformed(line(table=table)).reason == "bad-table"


# What it refuses.


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"", "not-json"),
        (b"hello", "not-json"),
        (b'{"table":"web.signup","data":{}', "not-json"),
        (b'{"table":"web.signup","data":{}} {}', "not-json"),
        (b'{"table":"web.signup","data":{"a":01}}', "not-json"),
        (b'{"table":"web.signup","data":{"a":NaN}}', "not-json"),
        (b'{"table":"web.signup","data":{"a":"x\ny"}}', "not-json"),
        (b'{"table":"web.signup","data":{"a":"x\x00y"}}', "not-json"),
        (b'\xef\xbb\xbf{"table":"web.signup","data":{}}', "not-json"),
        (b"[]", "not-a-record"),
        (b'"text"', "not-a-record"),
        (b'{"data":{}}', "not-a-record"),
        (b'{"table":"web.signup"}', "not-a-record"),
        (line(data=[]), "not-a-record"),
        (line(data=None), "not-a-record"),
        (line(data="{}"), "not-a-record"),
        (line(rescued=[]), "not-a-record"),
        (line(extra=1), "not-a-record"),
        (line(id=7), "not-a-record"),
        (line(id=""), "not-a-record"),
        (line(id="x" * (MAX_ID_CHARACTERS + 1)), "not-a-record"),
        (line(op="merge"), "not-a-record"),
        (line(op=None), "not-a-record"),
        (line(op="upsert"), "not-a-record"),
        (line(op="delete", key=[]), "not-a-record"),
        (line(op="upsert", key=["a", "a"]), "not-a-record"),
        (line(op="upsert", key=[1]), "not-a-record"),
        (line(key=["a"]), "not-a-record"),
        (line(key=[]), "not-a-record"),
        (line(version="7"), "not-a-record"),
        (line(received_at="2026-11-23T12:00:00"), "not-a-record"),
        (line(not_before="2026-11-23"), "not-a-record"),
        (line(received_at="yesterday"), "not-a-record"),
        (line(received_at="0001-01-01T00:00:00+01:00"), "not-a-record"),
        (line(received_at="9999-12-31T23:30:00-01:00"), "not-a-record"),
        (b'{"table":"web.signup","data":{"a":"\xff"}}', "invalid-utf8"),
        (b'{"table":"web.signup","data":{"a":"\xed\xa0\x80"}}', "invalid-utf8"),
        (b'{"table":"web.signup","data":{"a":"\xc0\x80"}}', "invalid-utf8"),
        ('{"table":"web.signup","data":{}}'.encode("utf-16"), "invalid-utf8"),
    ],
)
def test_what_is_no_record(bad: bytes, reason: str) -> None:
    assert malformed(bad).reason == reason


def test_the_place_is_named() -> None:
    assert "$.not_before" in malformed(line(not_before="2026-11-23T12:00:00")).detail
    assert "$.key" in malformed(line(op="upsert")).detail
    assert "byte 31" in malformed(b'{"table":"web.signup","data":{"\xff":1}}').detail


def test_a_record_has_a_megabyte() -> None:
    sent = line(data={"a": "x" * (MAX_RECORD_BYTES - len(line(data={"a": ""})))})
    assert len(sent) == MAX_RECORD_BYTES
    decode(sent)
    assert malformed(sent + b" ").reason == "oversized"


def test_nesting_ends_at_the_same_level_for_everybody() -> None:
    def nested(levels: int) -> bytes:
        return b'{"table":"web.signup","data":{"a":%b%b}}' % (b"[" * levels, b"]" * levels)

    decode(nested(MAX_DEPTH - 2))  # the record is one level, data another
    assert malformed(nested(MAX_DEPTH - 1)).reason == "too-deep"
    assert malformed(nested(400_000)).reason == "too-deep"


def test_many_brackets_are_not_deep() -> None:
    decode(line(data={"a": [{} for _ in range(1_000)], "b": "[{" * 1_000, "c": '\\"[' * 500}))


ESCAPES = [
    (rb"\ud800", "lone-surrogate"),
    (rb"\udc00", "lone-surrogate"),
    (rb"\ud800 and more than six", "lone-surrogate"),
    (rb"\ud800xxdc00", "lone-surrogate"),
    (rb"\ud800\ud800\udc00", "lone-surrogate"),
    (rb"\ud83d\ude00\ude00", "lone-surrogate"),
    (rb"\ud83d\n\ude00", "lone-surrogate"),
    (rb"\uD83D", "lone-surrogate"),
    (rb"\u0000", "nul"),
    (rb"\\\u0000", "nul"),
    (rb"a\u0000", "nul"),
    (rb"\ud83d\ude00", None),
    (rb"\ud83d\ude00\uD83D\uDE00", None),
    (rb"\\ud800", None),
    (rb"\\\\u0000", None),
    (rb"\u00e9\"\\", None),
    (rb"\u0001", None),
    (rb"\ud7ff\ue000", None),
]


@pytest.mark.parametrize(("escape", "reason"), ESCAPES)
@pytest.mark.parametrize("place", ['"data":{"a":"%"}', '"data":{"%":1}', '"data":{"a":[["%"]]}', '"data":{},"id":"%"'])
def test_escapes_that_are_no_text(escape: bytes, reason: str | None, place: str) -> None:
    sent = b'{"table":"web.signup",%b}' % place.encode().replace(b"%", escape)
    if reason is None:
        decode(sent)
    else:
        assert malformed(sent).reason == reason


@given(st.text(st.sampled_from('\\u0dD8cC9aF"/n\ud83d\ude00\x00'), max_size=12))
@example("\\\ud83d")
def test_what_is_taken_is_text_for_other_parsers(text: str) -> None:
    """Whatever is written with escapes: taken if Python's own parser finds text without NUL, else refused."""
    sent = b'{"table":"web.signup","data":{"a":%b}}' % json.dumps(text).encode()
    whole = json.loads(sent)["data"]["a"]
    try:
        whole.encode()
        good = "\0" not in whole
    except UnicodeEncodeError:
        good = False
    if good:
        assert json.loads(bytes(decode(sent).data)) == {"a": whole}
    else:
        assert malformed(sent).reason in {"lone-surrogate", "nul"}


FIELDS = {
    "table": '"web.signup"',
    "data": '{"id":"x","note":"a \\"b\\""}',
    "id": '"7"',
    "received_at": '"2026-11-23T12:00:00Z"',
    "not_before": '"2026-11-23T12:00:00Z"',
    "source": '"web"',
    "rescued": '{"b":"c"}',
    "op": '"upsert"',
    "key": '["id"]',
    "version": '"7"',
}


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("twin", ["same", "null", "escaped"])
def test_a_field_that_is_there_twice(name: str, twin: str) -> None:
    fields = [f'"{key}":{value}' for key, value in FIELDS.items()]
    decode(f"{{{','.join(fields)}}}".encode())
    first = f'"{name}":null' if twin == "null" else f'"{name}":{FIELDS[name]}'
    if twin == "escaped":
        first = first.replace(name, f"\\u{ord(name[0]):04x}{name[1:]}", 1)
    bad = malformed(f"{{{','.join([first, *fields])}}}".encode())
    takes_null = name not in {"table", "op"} or twin != "null"
    assert bad.reason == ("duplicate-key" if takes_null else "not-a-record")


@given(
    st.fixed_dictionaries(
        {"data": objects},
        optional={
            "id": texts.filter(bool),
            "source": texts,
            "rescued": objects | st.none(),
            "op": st.just("insert"),
        },
    ),
    st.booleans(),
)
def test_a_field_that_is_there_once_is_never_taken_for_two(fields: dict[str, Any], ascii_only: bool) -> None:
    decode(json.dumps({"table": "web.signup", **fields}, ensure_ascii=ascii_only).encode())


# The schema.

maybe_moments = st.sampled_from(
    [
        *[None, 5, "", "2026-11-23", "2026-11-23T12:00:00", "2026-11-23T12:00:00Z", "2026-11-23 12:00:00.5+05:30"],
        *["2026-11-23T12:00:00.123456789-0800", "2026-11-23t12:00:00z", "2026-11-23T12:00Z", "Monday"],
    ]
)
maybe_records = st.fixed_dictionaries(
    {},
    optional={
        "table": st.sampled_from(["web.signup", "Web.signup", "signup", "pg_catalog.x", "catchment.x", 7]),
        "data": objects | st.sampled_from([None, [], "x"]),
        "id": st.sampled_from([None, "", "x", "x" * 512, "é" * 512, "x" * 513, 7]),
        "received_at": maybe_moments,
        "not_before": maybe_moments,
        "source": st.sampled_from([None, "", "web", 7]),
        "rescued": st.sampled_from([None, {}, {"a": 1}, [], 7]),
        "op": st.sampled_from(["insert", "upsert", "delete", "merge", None]),
        "key": st.sampled_from([None, [], ["a"], ["a", "b"], ["a", "a"], [1], "a"]),
        "version": st.sampled_from([None, "7", 7]),
        "more": st.just(1),
    },
)
good_records = st.fixed_dictionaries(
    {"table": st.just("web.signup"), "data": st.just({})},
    optional={
        "op": st.sampled_from(["insert", "upsert", "delete"]),
        "key": st.sampled_from([None, ["a"]]),
        "version": st.sampled_from([None, "7"]),
        "received_at": maybe_moments,
    },
)


@given(maybe_records | good_records)
def test_the_schema_agrees_with_decode(sent: dict[str, Any]) -> None:
    try:
        decode(json.dumps(sent).encode())
        taken = True
    except Malformed:
        taken = False
    assert SCHEMA.is_valid(sent) == taken


def test_the_schema_is_one_and_names_every_field() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())
    assert list(json_schema()["properties"]) == sorted(
        msgspec.json.schema(Record)["$defs"]["Record"]["properties"], key=list(json_schema()["properties"]).index
    )


@pytest.mark.parametrize("table", [DEAD_LETTERS, CORRECTIONS])
def test_the_schema_keeps_our_own_tables_to_ourselves(table: str) -> None:
    assert not SCHEMA.is_valid({"table": table, "data": {}})


# The stamp.


def stamped(record: bytes, stamp: Stamp, ordinal: int = 0) -> dict[str, Any]:
    text = stamp.line(decode(record), ordinal).text
    assert text.endswith(b"\n")
    assert text.count(b"\n") == 1
    parsed: dict[str, Any] = json.loads(text)
    return parsed


def test_a_stamped_record_has_all_of_it() -> None:
    got = stamped(line(id="7", data={"a": 1}), Stamp(NOON, "web"))
    assert got == {
        "table": "web.signup",
        "id": "7",
        "received_at": "2026-11-23T12:00:00.123456Z",
        "not_before": "2026-11-16T12:00:00.123456Z",
        "source": "web",
        "data": {"a": 1},
    }


def test_what_is_given_is_kept() -> None:
    given_fields = {
        "id": "7",
        "received_at": "2026-01-02T03:04:05.000000Z",
        "not_before": "2026-01-01T00:00:00.000000Z",
        "source": "till",
        "op": "delete",
        "key": ["a", "b"],
        "version": "9",
        "rescued": {"c": "d"},
        "data": {"a": 1, "b": 2},
    }
    got = stamped(line(**given_fields), Stamp(NOON, "web", "queue/1", NOON))
    assert got == {"table": "web.signup", **given_fields}


def test_a_keyed_record_without_a_version_gets_its_time() -> None:
    got = stamped(line(op="upsert", key=["a"]), Stamp(NOON, "web"))
    assert got["version"] == got["received_at"] == "2026-11-23T12:00:00.123456Z"


def test_nulls_count_as_left_out() -> None:
    nulls = dict.fromkeys(["id", "received_at", "not_before", "source", "rescued", "key", "version"])
    stamp = Stamp(NOON, "web", "queue/1")
    assert stamped(line(**nulls), stamp) == stamped(line(), stamp)


@given(objects, st.none() | texts.filter(bool), st.none() | objects, st.booleans())
def test_a_stamped_record_is_a_record_and_stamping_it_again_changes_nothing(
    data: dict[str, Any], given_id: str | None, rescued: dict[str, Any] | None, keyed: bool
) -> None:
    fields: dict[str, Any] = {"data": data, "id": given_id, "rescued": rescued}
    if keyed:
        fields |= {"op": "upsert", "key": ["a"]}
    once = Stamp(NOON, "web").line(decode(line(**fields)))
    again = Stamp(NOON + timedelta(days=1), "other", "queue/1", NOON).line(decode(once.text))
    assert again == once
    assert json.loads(once.text)["data"] == data


def test_white_space_between_tokens_goes_and_nothing_else() -> None:
    pretty = b'{\r\n\t"a" : 1.0e5,\n "b\\n\\u0041": "x  \\/ y",\r "c": [ 1 , 2 ]\n}'
    assert one_line(msgspec.Raw(pretty)) == b'{"a":1.0e5,"b\\n\\u0041":"x  \\/ y","c":[1,2]}'
    assert one_line(msgspec.Raw(b'{"a":1,\r"b":2}')) == b'{"a":1,"b":2}'
    assert one_line(msgspec.Raw(b'{ "a" : 1 }')) == b'{ "a" : 1 }'


@given(objects)
def test_one_line_keeps_values(data: dict[str, Any]) -> None:
    text = one_line(msgspec.Raw(json.dumps(data, indent=1).encode()))
    assert b"\n" not in text
    assert json.loads(text) == data


# Ids.


def test_an_id_of_the_messages_identity_is_the_same_in_every_redelivery() -> None:
    first, again = Stamp(NOON, "queue", "topic/3/17"), Stamp(NOON, "queue", "topic/3/17")
    assert stamped(line(), first, 2)["id"] == "topic/3/17/2"
    assert first.line(decode(line()), 2) == again.line(decode(line()), 2)
    assert stamped(line(), first, 1)["id"] != stamped(line(), first, 2)["id"]


def test_without_identity_the_id_is_a_new_uuid7() -> None:
    before = now() - timedelta(milliseconds=1)
    ids = [stamped(line(), Stamp(NOON, "web"))["id"] for _ in range(50)]
    assert len(set(ids)) == 50
    for text in ids:
        parsed = uuid.UUID(text)
        assert (parsed.version, parsed.variant, str(parsed)) == (7, uuid.RFC_4122, text)
        moment = uuid7_time(text)
        assert moment
        assert before <= moment <= now()


@given(st.integers(0, 253402300799999), st.integers(0, 2**74 - 1))
def test_the_time_in_a_uuid7(milliseconds: int, rest: int) -> None:
    value = milliseconds << 80 | 7 << 76 | rest >> 62 << 64 | 2 << 62 | rest & 2**62 - 1
    expected = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
    assert uuid7_time(str(uuid.UUID(int=value))) == expected
    assert uuid7_time(str(uuid.UUID(int=value)).upper()) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "7",
        str(uuid.UUID(int=0)),
        "5f0f3f3e-9d1c-4b1a-8f59-0d3e2d7f8a11",
        "0193a5c8-7b1a-7c3e-0a5f-123456789abc",
        "0193a5c8x7b1a-7c3e-8a5f-123456789abc",
        "zzzzzzzz-7b1a-7c3e-8a5f-123456789abc",
        "+193a5c8-7b1a-7c3e-8a5f-123456789abc",
        "ffffffff-ffff-7fff-bfff-ffffffffffff",
        "0193a5c87b1a7c3e8a5f123456789abc",
        "{193a5c8-7b1a-7c3e-8a5f-123456789ab}",
    ],
)
def test_no_other_text_has_a_time(text: str) -> None:
    assert uuid7_time(text) is None


def test_a_new_uuid7_has_this_moment() -> None:
    moment = uuid7_time(uuid7())
    assert moment
    assert abs(moment - now()) < timedelta(seconds=30)


# not_before.


def not_before(stamp: Stamp, **fields: Any) -> datetime:
    stamped_line = stamp.line(decode(line(**fields)))
    assert json.loads(stamped_line.text)["not_before"].encode() == timestamp(stamped_line.not_before)
    return stamped_line.not_before


def test_own_time_less_a_margin() -> None:
    own = NOON - timedelta(hours=3)
    assert not_before(Stamp(NOON, "web", own_time=own), id="7") == own - OWN_TIME_MARGIN


def test_own_time_may_lie_ahead() -> None:
    own = NOON + timedelta(days=400)
    assert not_before(Stamp(NOON, "web", own_time=own), id="7") == own - OWN_TIME_MARGIN


def test_never_earlier_than_the_window() -> None:
    long_ago = Stamp(NOON, "web", own_time=NOON - timedelta(days=30))
    assert not_before(long_ago, id="7") == NOON - DEFAULT_WINDOW
    assert not_before(Stamp(NOON, "web", window=timedelta(days=1)), id="7") == NOON - timedelta(days=1)


def test_the_time_in_the_id_is_its_own() -> None:
    own = NOON.replace(microsecond=123000) - timedelta(hours=2)
    milliseconds = int((own - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(milliseconds=1))
    text = str(uuid.UUID(int=milliseconds << 80 | 7 << 76 | 2 << 62))
    assert not_before(Stamp(NOON, "web"), id=text) == own - OWN_TIME_MARGIN


def test_no_own_time_is_the_windows_start() -> None:
    assert not_before(Stamp(NOON, "web"), id="7") == NOON - DEFAULT_WINDOW


@pytest.mark.parametrize("own", [None, NOON - timedelta(days=2), NOON + timedelta(days=2)])
def test_without_an_id_copies_keep_the_time_they_were_received(own: datetime | None) -> None:
    assert not_before(Stamp(NOON, "queue", "topic/3/17", own)) == NOON - OWN_TIME_MARGIN


def test_received_at_as_given_counts() -> None:
    earlier = NOON - timedelta(days=3)
    assert not_before(Stamp(NOON, "web"), id="7", received_at=earlier.isoformat()) == earlier - DEFAULT_WINDOW


@given(moments, st.none() | moments, st.none() | texts.filter(bool))
@example(datetime.min.replace(tzinfo=UTC), None, "7")
@example(datetime.min.replace(tzinfo=UTC), None, None)
@example(NOON, datetime.min.replace(tzinfo=timezone(timedelta(hours=-8))), "7")
@example(NOON, datetime.max.replace(tzinfo=UTC), None)
def test_any_time_can_be_stamped(received_at: datetime, own: datetime | None, given_id: str | None) -> None:
    try:
        received_at.astimezone(UTC)
    except OverflowError:
        return
    got = Stamp(received_at, "web", own_time=own).line(decode(line(id=given_id)))
    for field in ("received_at", "not_before"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", json.loads(got.text)[field])
    if given_id is None or own is None or own - received_at < timedelta(0):
        assert got.not_before <= received_at


@given(moments.filter(lambda x: 2 < x.year < 9998), moments.filter(lambda x: 2 < x.year < 9998))
def test_a_timestamps_text_sorts_as_its_time_does(one: datetime, other: datetime) -> None:
    assert (timestamp(one) < timestamp(other)) == (one < other)
    assert datetime.fromisoformat(timestamp(one).decode()) == one


def test_years_have_four_digits_and_fractions_six() -> None:
    assert timestamp(datetime(7, 1, 2, tzinfo=UTC)) == b"0007-01-02T00:00:00.000000Z"
    assert timestamp(NOON.replace(microsecond=100_000)) == b"2026-11-23T12:00:00.100000Z"
    assert timestamp(NOON.astimezone(timezone(timedelta(hours=5.5)))) == b"2026-11-23T12:00:00.123456Z"
