"""Many plain messages at once become what each of them becomes by itself."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catchment import metrics, pack
from catchment.load import plain
from catchment.load.plain import _Careful, stamped
from catchment.queues import Message, foreign
from catchment.record import DEAD_LETTERS, DEFAULT_WINDOW, Line, Stamp, decode, uuid7

T0 = datetime(2026, 11, 23, 10, tzinfo=UTC)

ids = st.one_of(
    st.none(),
    st.just(""),
    st.text(max_size=5),
    st.builds(uuid7),
    st.sampled_from(["x" * 36, "x" * 512, "x" * 513]),
)
values = st.recursive(
    st.none() | st.integers() | st.text(max_size=4) | st.just('"\\'),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
envelopes = st.fixed_dictionaries(
    {"table": st.sampled_from(["a.b", "c.d", "A.b", "catchment.ledger"]), "data": st.dictionaries(st.text(), values)},
    optional={
        "id": ids,
        "source": st.sampled_from(["web", "", 'a"b']),
        "received_at": st.just("2026-11-01T00:00:00Z"),
        "not_before": st.just("2026-11-01T00:00:00Z"),
        "op": st.sampled_from(["insert", "upsert"]),
        "key": st.just(["k"]),
        "version": st.just("1"),
        "rescued": st.dictionaries(st.text(max_size=3), values, max_size=1),
        "other": st.just(1),
    },
)
doubled = st.sampled_from(
    [
        b'{"table":"a.b","id":"1","id":"2","data":{}}',
        b'{"table":"a.b","id":"1","data":{},"data":{"x":1}}',
        b'{"table":"a.b","id":"1","source":"x","source":null,"data":{}}',
        b'{"table":"a.b","id":null,"data":{}}',
    ]
)
odd = st.sampled_from([b"", b" ", b"{}", b"[1]", b"\xff", b'{"table":"a.b","id":"1","data":[]}', b"not json"])
bodies = st.one_of(
    envelopes.map(msgspec.json.encode),
    envelopes.map(lambda record: msgspec.json.format(msgspec.json.encode(record))),
    st.lists(envelopes.map(msgspec.json.encode), max_size=3).map(b"\n".join),
    doubled,
    odd,
)
moments = st.sampled_from([None, T0, T0 + timedelta(seconds=1)])
sent = st.sampled_from([None, T0, T0 - timedelta(days=300), T0 + timedelta(days=9, microseconds=3)])
messages = st.lists(st.builds(Message, bodies, st.sampled_from([None, "q/1", "q/2"]), moments, sent), max_size=8)


@given(messages)
def test_many_are_stamped_as_each_alone(some: list[Message]) -> None:
    known = [message for message in some if message.identity is not None]
    careful = _Careful("queue", DEFAULT_WINDOW)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain, "now", lambda: T0)
        patch.setattr(foreign, "now", lambda: T0)
        alone = [line for message in known for line in careful.lines(message)]
        assert read(stamped(known, "queue", DEFAULT_WINDOW)) == read(alone)


def test_the_senders_time_bounds_the_search_for_an_id_made_of_the_message() -> None:
    """But not for one that its producer may have sent before in another message."""
    sent_at = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=30)
    bodies = [b'{"table":"a.b","data":{}}', b'{"table":"a.b","id":"own","data":{}}']
    for some in (bodies, [body + b"\n" for body in bodies]):  # many at a time, and with care
        of_message, own = stamped([Message(body, "q/1", sent_at=sent_at) for body in some], "queue", DEFAULT_WINDOW)
        assert of_message.received_at > sent_at
        assert of_message.not_before == sent_at - timedelta(minutes=5)
        assert own.not_before == own.received_at - DEFAULT_WINDOW


def test_a_clock_that_is_ahead_makes_no_copy_of_a_message_invisible() -> None:
    (line,) = stamped(
        [Message(b'{"table":"a.b","data":{}}', "q/1", sent_at=T0 + timedelta(days=9999))], "queue", DEFAULT_WINDOW
    )
    assert line.received_at < line.not_before, "such rows are remembered as early"


def read(lines: Iterable[Line]) -> list[tuple[str, datetime, datetime, list[tuple[str, object]]]]:
    """What each line says, whatever the order and spaces of its fields, with what a header would be told of it."""
    found = []
    for line in lines:
        texts = line.text.removesuffix(b"\n").split(b"\n")
        assert len(texts) == line.count
        for text in texts:
            fields = json.loads(text, object_pairs_hook=list)
            assert {"id", "received_at", "not_before", "source"} <= {name for name, _ in fields}
            found.append((line.table, line.received_at, line.not_before, sorted(fields, key=repr)))
    return sorted(found, key=repr)


def test_simple_ones_are_stamped_as_stamp_does() -> None:
    bodies = [
        b'{"table":"a.b","id":"%d","data":{"x":"y"}}' % number if number % 2
        else b'{"table":"a.b","id":"%d","source":"web","data":{"x":"\xc3\xa9"}}' % number
        for number in range(10)
    ]  # fmt: skip
    sent = [Message(body, f"q/{at}", T0 + timedelta(seconds=at // 3)) for at, body in enumerate(bodies)]
    alone = [Stamp(m.enqueued_at or T0, "queue", m.identity).line(decode(m.body)) for m in sent]
    lines = list(stamped(sent, "queue", DEFAULT_WINDOW))
    assert read(lines) == read(alone)
    assert len(lines) < len(alone)


def test_a_field_named_twice_is_a_dead_letter_among_many() -> None:
    good = [Message(b'{"table":"a.b","id":"%d","data":{}}' % at, f"q/{at}", T0) for at in range(50)]
    bad = Message(b'{"table":"a.b","id":"1","id":"2","data":{}}', "q/bad", T0)
    lines = list(stamped([*good, bad], "queue", DEFAULT_WINDOW))
    assert [line.table for line in lines].count(DEAD_LETTERS) == 1
    assert sum(line.count for line in lines) == 51


@pytest.mark.parametrize(("count", "size_bytes"), [(5_000, 10), (400, 20_000), (10, 900_000)])
def test_packs_of_them_keep_their_bounds(count: int, size_bytes: int) -> None:
    text = b"x" * size_bytes
    sent = [Message(b'{"table":"a.b","id":"%d","data":{"x":"%b"}}' % (at, text), f"q/{at}", T0) for at in range(count)]
    lines = list(stamped(sent, "queue", DEFAULT_WINDOW))
    packed = [next(pack.read(each)) for each in pack.packs("a.b", lines)]
    assert sum(each.header.count for each in packed) == count
    assert max(each.header.count for each in packed) <= pack.MAX_RECORDS
    assert max(len(each.plain()) for each in packed) <= pack.MAX_PLAIN_BYTES


@pytest.mark.parametrize("inner", [b'{"":%b}', b"[%b]", b'{"a":%b}', b'[{"":%b}]'])
@pytest.mark.parametrize("depth", [190, 197, 198, 199, 203, 230])
def test_one_nested_too_deep_is_a_dead_letter_among_many(inner: bytes, depth: int) -> None:
    deep = b"{}"
    for _ in range(depth // (2 if inner.startswith(b"[{") else 1)):
        deep = inner % deep
    some = [Message(b'{"table":"a.b","id":"%d","data":{"c":%b}}' % (at, deep), f"q/{at}", T0) for at in range(3)]
    careful = _Careful("queue", DEFAULT_WINDOW)
    alone = [line for message in some for line in careful.lines(message)]
    assert read(stamped(some, "queue", DEFAULT_WINDOW)) == read(alone)


def test_a_message_cannot_reach_into_the_next() -> None:
    """Joined they would be as many records as there are messages, and one of them another's."""
    victim = Message(b'{"table":"a.b","id":"mine","data":{"x":1}}', "q/2", T0)
    around = [
        Message(b'{"table":"c.d","id":"1","data":                                             ', "q/1", T0),
        victim,
        Message(b"}", "q/3", T0),
        Message(b'{"table":"c.d","id":"2","data":{}}{"table":"c.d","id":"3","data":{}}', "q/4", T0),
    ] * 5
    careful = _Careful("queue", DEFAULT_WINDOW)
    lines = list(stamped(around, "queue", DEFAULT_WINDOW))
    assert read(lines) == read(line for message in around for line in careful.lines(message))
    assert sum(line.count for line in lines if line.table == "a.b") == 5


def test_what_has_neither_id_nor_identity_is_counted_and_warned_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("catchment.queues.foreign._warned", threading.Event())
    monkeypatch.setattr("catchment.metrics._tables", set())  # a process of many tables counts further ones together
    monkeypatch.setattr("catchment.log.Log.warning", lambda log, event, **more: said.append(event))
    body = b'{"table":"plain.nameless","data":{}}'
    messages = [
        Message(body),
        Message(b"%b\n%b" % (body, body), enqueued_at=T0),
        Message(body, identity="m", enqueued_at=T0),
        Message(body, identity="n"),
        Message(b'{"table":"plain.nameless","id":"x","data":{}}'),
    ]
    lines = list(stamped(messages, "queue", DEFAULT_WINDOW))
    assert sum(line.count for line in lines) == 6
    assert b'catchment_records_without_id_total{table="plain.nameless"} 3.0' in metrics.exposition()
    assert [event.partition(",")[0] for event in said] == ["records come without an id"]
