"""What the guard sees, and that it agrees with the slow way: whatever it lets pass loads with the same values."""

from __future__ import annotations

import itertools
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catchment.errors import Malformed
from catchment.load.contracts import Contract
from catchment.load.guard import (
    MAX_NULL_FIELDS,
    Memory,
    Sight,
    TableMemory,
    distinct,
    has_nul,
    is_plainly_sound,
    look,
    strictly,
    trusted,
)
from catchment.load.prepare import prepare
from catchment.load.stamped import Origin
from catchment.load.stamped import read as read_line
from catchment.record import now
from catchment.testing.content import content
from catchment.warehouses import Batch, Rows
from catchment.warehouses.shape import AddColumn, Column, ColumnType, Shape
from tests.load.loading import T0, Rig, stamped

TYPES: dict[str, ColumnType] = {
    "b": "boolean", "n": "bigint", "d": "double", "t": "timestamptz", "s": "varchar", "j": "json",
}  # fmt: skip
SHAPE = Shape("web.event", 1, tuple(Column(name, name, kind) for name, kind in TYPES.items()))
NOTHING = TableMemory()
EVOLVE = Contract()


def seen(*data: bytes, shape: Shape = SHAPE, memory: TableMemory = NOTHING, source: str = "web") -> Sight | None:
    lines = [stamped(str(at), each, source=source).text for at, each in enumerate(data)]
    return look(b"".join(lines), shape, memory, EVOLVE)


# ---- what it sees -------------------------------------------------------------------------


def test_a_pack_that_fits_is_seen_with_its_ids_and_times() -> None:
    lines = [
        stamped("1", at_s=5, age_s=60),
        stamped("2", at_s=1, age_s=3600),
        stamped("3", at_s=9, age_s=-30),
    ]
    sight = look(b"".join(line.text for line in lines), SHAPE, NOTHING, EVOLVE)
    assert sight == Sight(
        shape_version=1,
        count=3,
        identities=("1", "2", "3"),
        source="web",
        first_received_at=T0 + timedelta(seconds=1),
        last_received_at=T0 + timedelta(seconds=9),
        search_from=T0 + timedelta(seconds=1 - 3600),
        early=True,
    )


def test_ids_of_several_sources_go_with_their_source() -> None:
    lines = [stamped("1", source="a"), stamped("1", source="b")]
    sight = look(b"".join(line.text for line in lines), SHAPE, NOTHING, EVOLVE)
    assert sight is not None
    assert (sight.source, sight.identities, sight.early) == (None, (("a", "1"), ("b", "1")), False)
    assert distinct([sight])


@pytest.mark.parametrize(
    "shape",
    [
        Shape("web.event"),
        Shape("web.event", 1, (Column("id", "id", "bigint"),), key=("id",)),
        Shape("web.event", 1, (Column("a", "a", "bigint"), Column("A", "a_1", "bigint"))),
        Shape("web.event", 1, (Column('q"', "q", "bigint"),)),
        Shape("web.other", 1),
    ],
    ids=["no table", "keyed", "folding", "not nameable", "another table"],
)
def test_some_tables_are_never_seen(shape: Shape) -> None:
    assert seen(b"{}", shape=shape) is None


@pytest.mark.parametrize(
    "data", [b'{"j":"\xff"}', b'{"j":["\\u0000"]}', b'{"d":9007199254740993}', b'{"j":' + b"[" * 5_000 + b"}"]
)
def test_what_it_does_not_let_pass_though_msgspec_would(data: bytes) -> None:
    assert seen(data) is None


def test_a_field_of_nulls_is_seen_once_it_is_known() -> None:
    memory = Memory()
    assert seen(b'{"new":null}', memory=memory.of("web.event")) is None
    memory.learn_null("web.event", frozenset({"new"}))
    assert seen(b'{"new":null}', memory=memory.of("web.event")) is not None
    assert seen(b'{"new":1}', memory=memory.of("web.event")) is None


def test_only_so_many_fields_of_nulls_are_remembered() -> None:
    """A producer of random names must not fill memory with types."""
    memory = Memory()
    for at in range(3 * MAX_NULL_FIELDS):
        memory.learn_null("web.event", frozenset({f"f{at}"}))
    assert len(memory.of("web.event").always_null) == MAX_NULL_FIELDS


def test_unwidenable_columns_and_fields_of_nulls_are_remembered_side_by_side() -> None:
    memory = Memory()
    memory.learn_null("a.b", frozenset({"x"}))
    memory.learn_unwidenable("a.b", "n")
    memory.learn_null("a.b", frozenset({"y", '"', ""}))
    assert memory.of("a.b") == TableMemory(frozenset({"x", "y"}), frozenset({"n"}))
    assert memory.of("a.c") == TableMemory()


def sight_of(*identities: object, source: str | None = "web") -> Sight:
    return Sight(1, len(identities), list(identities), source, T0, T0, T0, False)


@pytest.mark.parametrize(
    ("sights", "expected"),
    [
        ([sight_of("1", "2")], True),
        ([sight_of("1", "2"), sight_of("3")], True),
        ([sight_of("1", "2"), sight_of("2")], False),
        ([Sight(1, 3, ["1", "2", "1"], "web", T0, T0, T0, False)], False),
        ([sight_of("1"), sight_of("2", source="app")], False),
        ([sight_of(("a", "1"), source=None), sight_of(("a", "2"), source=None)], False),
        ([sight_of(("a", "1"), ("b", "1"), source=None)], True),
    ],
)
def test_distinct(sights: list[Sight], expected: bool) -> None:
    """False also where nobody can tell from ids alone."""
    assert distinct(sights) is expected


# ---- strictly ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        b'{"data":{"a":{"x":1,"x":2}}}',
        b'{"data":{"data":1,"id":1},"id":2}',
        b'{"data":[{"a":1,"a":2}]}',
        b'{"data":{"s":"\\ud83d\\ude00"}}',
        b'{"data":{"n":' + b"9" * 10_000 + b"}}",
    ],
)
def test_strictly_leaves_alone_what_loads_well(line: bytes) -> None:
    strictly(line)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"a":1,"a":2}', "duplicate-key"),
        (b'{"data":{"a":1,"a":2}}', "duplicate-key"),
        (b'{"rescued":{"a":1,"a":2}}', "duplicate-key"),
        (b'{"data":{"a":["\\u0000"]}}', "nul"),
        (b'{"data":{"\\u0000":1}}', "nul"),
        (b'{"data":{"a":"\\ud800"}}', "lone-surrogate"),
        (b'{"data":{"a":"\xff"}}', "invalid-utf8"),
        (b'{"data":Infinity}', "not-json"),
        (b"", "not-json"),
        (b"[" * 100_000, "too-deep"),
    ],
)
def test_strictly(line: bytes, reason: str) -> None:
    with pytest.raises(Malformed) as error:
        strictly(line)
    assert error.value.reason == reason


RAW = st.recursive(
    st.sampled_from(
        [b"1", b"1e400", b'"x"', b'""', b"null", b'"\\"q"', b'"\\u0000"', b'"\\ud800"', b'"\xff"', b'"\xc3\xbc"']
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2).map(lambda items: b"[" + b",".join(items) + b"]"),
        st.lists(st.tuples(st.sampled_from([b"a", b"b", b"\\u0061"]), inner), max_size=3).map(
            lambda pairs: b"{" + b",".join(b'"%b":%b' % pair for pair in pairs) + b"}"
        ),
    ),
    max_leaves=5,
)
OBJECTS = st.lists(st.tuples(st.sampled_from([b"a", b"b", b"A", b"\\u0061"]), RAW), max_size=4).map(
    lambda pairs: b"{" + b", ".join(b'"%b":%b' % pair for pair in pairs) + b"}"
)
EXTRAS = st.sampled_from(
    [b"", b',"id":"twice"', b',"op":"insert"', b',"op":"upsert","key":["a"],"version":"1"', b',"rescued":{"x":1}',
     b',"rescued":{"x":1,"x":1}', b',"rescued":null', b',"rescued":{}']
)  # fmt: skip


@given(OBJECTS, EXTRAS)
@settings(max_examples=400, deadline=None)
def test_what_is_plainly_sound_is_so_strictly(data: bytes, extra: bytes) -> None:
    line = stamped("1", data, extra=extra).text.rstrip(b"\n")
    try:
        record = read_line(line)
    except Malformed:
        return
    if is_plainly_sound(line, record):
        strictly(line)


@pytest.mark.parametrize(
    "extra", [b"", b',"op":"upsert","key":["a","b"],"version":"1"', b',"rescued":{"x":{"y":"z"}}', b',"rescued":{}']
)
def test_ordinary_lines_are_plainly_sound(extra: bytes) -> None:
    line = stamped("1", '{"s":"ü","n":1,"j":{"a":["x"]}}'.encode(), extra=extra).text.rstrip(b"\n")
    assert is_plainly_sound(line, read_line(line))


# ---- agreement -----------------------------------------------------------------------------

INTEGERS = [0, 1, -1, 2**53 - 1, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 10**30]
NUMBERS = st.one_of(
    st.sampled_from(INTEGERS).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.sampled_from(
        ["-0", "-0.0", "0.0", "3.0", "3.7", "1e2", "1E+2", "1e400", "9007199254740993.0", "1e22", "5e-324"]
    ),
)
TIMES = st.builds(
    "{}-{}-{}{}{}:{}:{}{}{}".format,
    st.sampled_from(["2026", "2024", "0001", "9999", "0000"]),
    st.sampled_from(["01", "02", "12", "13"]),
    st.sampled_from(["01", "29", "31", "32", "1"]),
    st.sampled_from(["T", "T", "T", "t", " ", "_"]),
    st.sampled_from(["00", "23", "24"]),
    st.sampled_from(["00", "59", "60"]),
    st.sampled_from(["00", "59", "60"]),
    st.sampled_from(["", ".5", ".123456", ".1234567", ".000000000", ".", ",5"]),
    st.sampled_from(["Z", "Z", "z", "+00:00", "-00:00", "+05:30", "+0530", "+05", "-23:59", "+24:00", "", " Z"]),
)
SCALARS = st.one_of(
    NUMBERS,
    TIMES.map(lambda text: f'"{text}"'),
    st.sampled_from(["null", "true", "false", '""', '"x"', '"\\u00fc\\ud83d\\ude00"', '"null"', '"1"', "{}", "[]"]),
)
VALUES = st.one_of(SCALARS, SCALARS.map(lambda text: f'{{"k":{text}}}'), SCALARS.map(lambda text: f"[{text},{text}]"))
ROWS = st.dictionaries(st.sampled_from(list(TYPES)), VALUES, max_size=4)


_serial = itertools.count()


@given(st.lists(ROWS, min_size=1, max_size=12))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_the_guard_lets_pass_loads_as_if_prepared(shared_rig: Rig, rows: list[dict[str, str]]) -> None:
    """Or the warehouse refuses it aloud, and it is prepared."""
    serial = next(_serial)
    fast, slow = (shape_of(shared_rig, f"guard.{name}{serial}") for name in ("fast", "slow"))
    texts = ["{" + ",".join(f'"{name}":{value}' for name, value in row.items()) + "}" for row in rows]
    plain = [stamped(str(at), each.encode(), table=fast.table).text for at, each in enumerate(texts)]
    fits = [line for line in plain if look(line, fast, NOTHING, EVOLVE)]
    for line in fits:  # one by one: a pack fits if each of its lines does
        if not loads_as_it_lies(shared_rig, fast, line):
            continue
        origin = Origin(line.replace(fast.table.encode(), slow.table.encode(), 1).rstrip(b"\n"), "f", 1)
        done = prepare([origin], slow, NOTHING, refused={}, contract=EVOLVE, every_row=True, now=now())
        assert (done.dead, done.changes) == ((), ())
        load(shared_rig, slow, *done.rows)
    assert content(shared_rig.warehouse, fast.table) == content(shared_rig.warehouse, slow.table)
    together = [line for line in fits if look(line, fast, NOTHING, EVOLVE)]
    assert not together or look(b"".join(together), fast, NOTHING, EVOLVE) is not None


def loads_as_it_lies(shared_rig: Rig, shape: Shape, line: bytes) -> bool:
    try:
        load(shared_rig, shape, Rows(line, 1))
    except Malformed as error:
        if "RFC 3339" in error.detail or "timestamp" in error.detail:
            return False
        raise
    return True


def shape_of(shared_rig: Rig, table: str) -> Shape:
    shape = Shape(table)
    load(shared_rig, shape, changes=tuple(AddColumn(column) for column in SHAPE.columns))
    return shared_rig.warehouse.shape(table)


def load(shared_rig: Rig, shape: Shape, *rows: Rows, changes: tuple[AddColumn, ...] = ()) -> None:
    shared_rig.warehouse.load(
        [
            Batch(
                names=(),
                table=shape.table,
                rows=rows,
                record_count=sum(each.count for each in rows),
                first_received_at=T0,
                last_received_at=T0,
                search_from=T0 - timedelta(days=1),
                shape_version=shape.version,
                changes=changes,
            )
        ]
    )


def test_a_backslash_is_needed_for_nul() -> None:
    assert has_nul(b'"\\u0000"')
    assert not has_nul(b'"u0000"')
    assert trusted(SHAPE, NOTHING, EVOLVE).__self__ is trusted(SHAPE, NOTHING, EVOLVE).__self__
