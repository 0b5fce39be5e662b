"""Plain messages that fit their table are stamped as each alone would be, and seen as the guard sees their lines."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import permutations
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catchment.archives.disk import DiskArchive
from catchment.load import fitting as fitting_module
from catchment.load import plain
from catchment.load.contracts import Contract
from catchment.load.fitting import Fits, SeenLine, fitting
from catchment.load.guard import NOTHING, look, trusted
from catchment.load.plain import _Careful, stamped
from catchment.load.round import Round
from catchment.queues import Delivery, Message, foreign
from catchment.record import DEFAULT_WINDOW, uuid7
from catchment.warehouses.shape import Column, ColumnType, Shape
from tests.load.loading import Rig
from tests.load.test_plain import read

T0 = datetime(2026, 11, 23, 10, tzinfo=UTC)
TYPES: dict[str, ColumnType] = {"a": "bigint", "b": "varchar", "c": "json", "id": "varchar"}
SHAPE = Shape("a.b", 3, tuple(Column(name, name, kind) for name, kind in TYPES.items()))


def fits_of(table: str) -> Fits | None:
    return Fits(trusted(SHAPE, NOTHING, Contract(), is_sent=True), SHAPE.version) if table == SHAPE.table else None


def seen(messages: list[Message]) -> tuple[list[SeenLine], list[Message]]:
    lines, others = fitting(messages, "queue", DEFAULT_WINDOW, fits_of)
    return lines, list(others)


# ---- any messages at all --------------------------------------------------------------

values = st.one_of(
    st.integers(-5, 5),
    st.sampled_from(["", "x", "é", "}", '},"id":"1"}', '"data"', "\\", "a\nb", None, 1.5, True]),
    st.sampled_from([[], {}, [[]], {"data": {}}, {"id": "2"}, {"x": {"y": [1, {}]}}]),
)
data = st.dictionaries(st.sampled_from(["a", "b", "c", "id", "d", "data"]), values, max_size=4)
ids = st.one_of(st.integers(0, 9).map(str), st.builds(uuid7), st.sampled_from(["", "é", "}", "data", 'q"', "\\u0041"]))
orders = st.sampled_from([list(order) for order in permutations(["table", "id", "data", "source"])])


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """A record as somebody's encoder writes it, now and then with a field twice, or with an end cut off."""
    fields = {
        "table": msgspec.json.encode("a.b"),
        "id": msgspec.json.encode(draw(ids)),
        "data": msgspec.json.encode(draw(data)),
        "source": msgspec.json.encode(draw(st.sampled_from(["web", "x"]))),
    }
    names = draw(st.one_of(st.just(["table", "id", "data"]), st.just(["table", "data", "id", "source"]), orders))
    if draw(st.integers(0, 9)) == 0:
        names = [*names, draw(st.sampled_from(list(fields)))]
    if draw(st.integers(0, 9)) == 0:
        names = names[1:]
    comma, colon = draw(st.sampled_from([(b",", b":"), (b", ", b": ")]))
    text = b"{%b}" % comma.join(b'"%b"%b%b' % (name.encode(), colon, fields[name]) for name in names)
    cut = draw(st.integers(0, 30))
    return text[:-cut] if 0 < cut < 4 else text


moments = st.sampled_from([None, T0, T0 + timedelta(seconds=1)])
messages = st.lists(st.builds(Message, bodies(), st.just("q/1"), moments), max_size=12)


@given(messages, st.integers(1, 5))
def test_whatever_comes_is_stamped_as_each_alone(some: list[Message], at_once: int) -> None:
    careful = _Careful("queue", DEFAULT_WINDOW)
    with pytest.MonkeyPatch.context() as patch:
        for module in (plain, foreign, fitting_module):
            patch.setattr(module, "now", lambda: T0)
        patch.setattr(fitting_module, "MANY", 1)
        patch.setattr(fitting_module, "AT_ONCE", at_once)
        alone = [line for message in some for line in careful.lines(message)]
        lines = list(stamped(some, "queue", DEFAULT_WINDOW, fits_of))
    assert read(lines) == read(alone)
    for line in lines:
        if isinstance(line, SeenLine):
            assert line.sight == look(line.text, SHAPE, NOTHING, Contract())
            assert line.sight is not None


# ---- what is to go this way, and what not ---------------------------------------------


def many(body: bytes, count: int = 200) -> list[Message]:
    """Messages of this form, `%d` a number in each."""
    return [Message(body % at, f"q/{at}", T0) for at in range(count)]


@pytest.mark.parametrize(
    "body",
    [
        b'{"table":"a.b","id":"i%d","data":{"a":1}}',
        b'{"table":"a.b","id":"i%d","data":{}}',
        b'{"table": "a.b", "id": "i%d", "data": {"a": 1, "c": {"x": []}}}',
        b'{"table":"a.b","data":{"b":"\xc3\xa9 \\" \\\\"},"id":"i%d","source":"web"}',
        b'{"table":"a.b","source":"web","data":{"a":null},"id":"i%d"}',
        b'{"table":"a.b","id":"i%d","source":"web","data":{"id":"another"}}',
    ],
)
def test_those_of_one_form_go_together(body: bytes) -> None:
    lines, others = seen(many(body))
    assert others == []
    assert sum(line.count for line in lines) == 200
    assert len(lines) <= 4
    found = [identity for line in lines if line.sight is not None for identity in line.sight.identities]
    assert found == [f"i{at}" for at in range(200)]
    assert {line.sight.source for line in lines if line.sight is not None} == {"web" if b"web" in body else "queue"}


ODD = [
    b'{"table":"a.b","id":"1","id":"2","data":{}}',
    b'{"table":"a.b","id":"2","data":{},"id":"2"}',
    b'{"table":"a.b","id":"2","data":{},"data":{}}',
    b'{"table":"a.b","id":"2","data":{}}{"table":"a.b","id":"3","data":{}}',
    b'{"table":"a.b","id":"2","data":{}}\n{"table":"a.b","id":"3","data":{}}',
    b'{"table":"a.b","id":"2","data":{}',
    b'{"table":"a.b","id":"2","data":{"a":\n1}}',
    b'{"table":"a.b","id":"2","data":{"a":\r1}}',
    b'{"table":"a.b","id":"2","data":{"a":1.5}}',
    b'{"table":"a.b","id":"2","data":{"b":"\\u0000"}}',
    b'{"table":"a.b","id":"2","data":{"b":"\\ud800"}}',
    b'{"table":"a.b","id":"2","data":{"b":"\xff"}}',
    b'{"table":"a.b","id":"2","data":{"new":1}}',
    b'{"table":"a.b","id":"2","data":[]}',
    b'{"table":"a.b","id":"2","data":{"c":%b}}' % (b"[" * 250 + b"]" * 250),
    b'{"table":"a.b","id":"2","data":{},"source":"other"}',
    b'{"table":"a.b","id":"","data":{}}',
    b'{"table":"a.b","id":"01a22e63-1c2b-7fb6-ace3-d503bc68e9ac","data":{}}',
    b'{"table":"a.b","id":null,"data":{}}',
    b'{"table":"a.b","data":{}}',
    b'{"table":"a.b","id":"2","data":{},"op":"upsert","key":["a"]}',
]


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("at", [0, 100, 200])
def test_one_that_is_otherwise_leaves_those_beside_it_to_the_other_way(odd: bytes, at: int) -> None:
    some = many(b'{"table":"a.b","id":"i%d","data":{}}')
    some.insert(at, Message(odd, "q/odd", T0))
    lines, others = seen(some)
    assert lines == []
    assert sorted(each.body for each in others) == sorted(each.body for each in some)


def test_few_a_table_that_is_not_there_and_our_own_are_left_alone() -> None:
    assert seen(many(b'{"table":"a.b","id":"i%d","data":{}}', 63))[0] == []
    assert seen(many(b'{"table":"c.d","id":"i%d","data":{}}'))[0] == []
    assert seen(many(b'{"table":"catchment.ledger","id":"i%d","data":{}}'))[0] == []


def test_tables_that_come_by_turns_are_told_apart() -> None:
    one, other = many(b'{"table":"a.b","id":"i%d","data":{}}'), many(b'{"table":"c.d","id":"i%d","data":{}}')
    lines, others = seen([each for pair in zip(one, other, strict=True) for each in pair])
    assert sum(line.count for line in lines) == 200
    assert others == other


# ---- from the message into the warehouse ----------------------------------------------


def test_packs_of_them_need_no_other_look_and_are_loaded(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.file({"table": "web.event", "id": "first", "source": "web", "data": {"n": 1}})
    looked: list[str] = []

    def looking(table: str, text: bytes) -> None:
        looked.append(table)

    taken = Round(looking, "test", fits_of=rig.loader.fits_of)
    some = many(b'{"table":"web.event","id":"i%d","source":"web","data":{"n":7}}', 1_000)
    taken.add(Delivery([*some, *some[:10]], None))
    assert taken.rows == 1_010
    parts = taken.close(DiskArchive(DiskArchive.Config(), tmp_path), T0)
    (loaded,) = rig.loader.load(parts)
    assert (loaded.inserted, loaded.duplicates) == (1_000, 10)
    assert looked == []
    assert rig.ask("SELECT count(*), sum(n), count(DISTINCT _id) FROM web.event") == [(1_001, 7_001, 1_001)]
    rig.close()
