"""Filling columns: what the archive or `_rescued` has for rows that are there, and nothing else."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from catchment.errors import SchemaChanged, UsageError
from catchment.load.config import ColumnConfig
from catchment.load.extent import extent
from catchment.load.fill import FillDone, fill
from catchment.load.replay import replay
from catchment.load.rewrite import rewrite
from catchment.load.values import kind_of
from catchment.testing.content import content
from catchment.warehouses import Filled
from catchment.warehouses.postgres import PostgresWarehouse
from tests.load.loading import T0, columns, event, packed, stamped
from tests.load.test_contracts import MANY, TABLE, Contracted, contracted, many
from tests.servers.postgres import PostgresServer


@pytest.fixture
def frozen(tmp_path: Path) -> Iterator[Contracted]:
    """A frozen table with the column `a`."""
    with contracted(tmp_path, contract="freeze") as rig:
        rig.file(event("first", a=1))
        yield rig


def run(rig: Contracted, *names: str, **span: Any) -> FillDone:
    return fill(rig.loader, rig.archive, TABLE, names, **span)


def sides(rig: Contracted) -> int:
    """How many tables `catchment` has for gathering, with the files they remember."""
    tables = rig.ask(
        "SELECT count(*)::INT FROM information_schema.tables WHERE table_name LIKE 'fill\\_%' ESCAPE '\\'"
    )
    return int(tables[0][0]) + int(rig.ask("SELECT count(*)::INT FROM catchment.staged")[0][0])


def age(rig: Contracted) -> None:
    """Rewrite all files, as is done after an hour."""
    assert list(rewrite(rig.archive, rig.warehouse, now=rig.now + timedelta(days=2), age=timedelta(hours=1)))


# ---- the values ---------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, MANY])
@pytest.mark.parametrize("is_rewritten", [False, True])
def test_what_was_frozen_out_is_filled_and_leaves_rescued(frozen: Contracted, count: int, is_rewritten: bool) -> None:
    frozen.file(*many(a=1, b="x", c=[1])[:count])
    if is_rewritten:
        age(frozen)
    before = frozen.warehouse.versions([TABLE])
    done = run(frozen, "b")
    assert (done.rows, done.left, done.damaged, done.columns) == (count, 0, 0, ("b",))
    assert columns(frozen) == {"a": "bigint", "b": "varchar"}
    found = frozen.ask(f"SELECT DISTINCT a, b, _rescued::VARCHAR FROM {TABLE} WHERE _id <> 'first'")
    assert found == [(1, "x", '{"c":[1]}')]
    assert frozen.warehouse.versions([TABLE]) != before
    assert run(frozen, "c", "b").rows == count
    assert frozen.ask(f"SELECT DISTINCT c::VARCHAR, _rescued FROM {TABLE} WHERE _id <> 'first'") == [("[1]", None)]
    assert run(frozen, "c", "b").rows == 0
    assert sides(frozen) == 0


def test_the_added_column_is_told_of(frozen: Contracted) -> None:
    frozen.file(*many(b=True))
    run(frozen, "b")
    assert ("column added", "b", "", "boolean") in frozen.changes()
    assert [each.kind for each in frozen.told][-1] == "column added"
    frozen.file(event("after", b=False))
    assert frozen.ask(f"SELECT b, _rescued FROM {TABLE} WHERE _id = 'after'") == [(False, None)]


@pytest.mark.parametrize("count", [1, MANY])
def test_what_the_project_dropped_comes_from_the_archive_alone(tmp_path: Path, count: int) -> None:
    with contracted(tmp_path, drop=["b"]) as rig:
        rig.file(*many(a=1, b=1.5)[:count])
        assert columns(rig) == {"a": "bigint"}
        with pytest.raises(UsageError, match="drops 'b'"):
            run(rig, "b")
        rig.agree()
        assert run(rig, "b").rows == count
        assert rig.ask(f"SELECT DISTINCT a, b, _rescued FROM {TABLE}") == [(1, 1.5, None)]


def test_what_the_archive_has_lost_comes_from_rescued(frozen: Contracted) -> None:
    frozen.file(*many(b="lost", c={"k": 1.10}))
    for entry in list(frozen.archive.list("incoming/")):
        frozen.archive.delete(entry.name)
    frozen.file(*many(1_000, b="kept"))
    assert run(frozen, "b").rows == 2 * MANY
    assert frozen.ask(
        f"SELECT b, _rescued::VARCHAR, count(*) FROM {TABLE} WHERE a IS NULL GROUP BY ALL ORDER BY b"
    ) == [
        ("kept", None, MANY),
        ("lost", '{"c":{"k":1.1}}', MANY),
    ]


def test_a_value_is_never_overwritten(frozen: Contracted) -> None:
    frozen.file(*many(b="archived"))
    run(frozen, "b")
    frozen.warehouse._new_cursor().execute(f"UPDATE {TABLE} SET b = 'mine' WHERE _id = '0'")
    frozen.warehouse._new_cursor().execute(f"UPDATE {TABLE} SET b = NULL WHERE _id IN ('1', '2')")
    assert run(frozen, "b").rows == 2
    assert frozen.ask(f"SELECT b FROM {TABLE} WHERE _id IN ('0', '1', '2') ORDER BY _id") == [
        ("mine",),
        ("archived",),
        ("archived",),
    ]


def test_rows_that_are_not_there_stay_so(frozen: Contracted) -> None:
    frozen.file(*many(b=1))
    frozen.warehouse._new_cursor().execute(f"DELETE FROM {TABLE} WHERE _id = '1'")
    assert run(frozen, "b").rows == MANY - 1
    assert frozen.ask(f"SELECT count(*) FROM {TABLE} WHERE _id = '1'") == [(0,)]


def test_a_keyed_table_gets_the_values_of_its_winners(tmp_path: Path) -> None:
    with contracted(tmp_path, drop=["b"]) as rig:
        keyed = {"table": TABLE, "source": "crm", "key": ["k"]}
        rig.file({**keyed, "id": "1", "op": "upsert", "version": "1", "data": {"k": 1, "b": "old"}})
        rig.file({**keyed, "id": "2", "op": "upsert", "version": "2", "data": {"k": 1, "b": "new"}})
        rig.file({**keyed, "id": "3", "op": "upsert", "version": "1", "data": {"k": 2, "b": "gone"}})
        rig.file({**keyed, "id": "4", "op": "delete", "version": "2", "data": {"k": 2}})
        rig.agree()
        assert run(rig, "b").rows == 1
        assert rig.ask(f"SELECT k, b FROM {TABLE}") == [(1, "new")]


@pytest.mark.parametrize("count", [1, MANY])
def test_of_several_copies_the_earliest_counts_as_in_the_table(frozen: Contracted, count: int) -> None:
    """The later copy comes with another value, as of a producer that sends an id again."""
    for at_s, value in ((0, b"first"), (7, b"second")):
        lines = [stamped(str(at), b'{"b":"%b"}' % value, at_s=at_s) for at in range(count)]
        frozen.loader.load(frozen.put(packed(*lines)))
    assert run(frozen, "b").rows == count
    assert frozen.ask(f"SELECT DISTINCT b FROM {TABLE} WHERE _id <> 'first'") == [("first",)]


def test_of_two_values_for_one_row_none_is_taken(frozen: Contracted) -> None:
    """One message, one id, one moment: which of them the table has can't be told. What it keeps is not lost."""
    frozen.file(*(event(str(at), b=value) for at in range(MANY) for value in (1, 2)), event("x", b=3))
    done = run(frozen, "b")
    assert (done.rows, done.left) == (1, MANY)
    assert frozen.ask(f"SELECT count(*) FROM {TABLE} WHERE b IS NULL AND _rescued::VARCHAR LIKE '%\"b\"%'") == [
        (MANY,)
    ]


@pytest.mark.parametrize("count", [2, MANY])
def test_what_the_column_does_not_take_stays_and_is_counted(frozen: Contracted, count: int) -> None:
    frozen.file(*many(b=1.5, c="x")[:count])
    frozen.file(*(event(f"odd {at}", b=value) for at, value in enumerate(["text", {"k": 1}, None, 2])))
    done = run(frozen, "b")
    assert columns(frozen)["b"] == "double"
    assert (done.rows, done.left) == (count + 1, 2)
    assert frozen.ask(f"SELECT b, _rescued::VARCHAR FROM {TABLE} WHERE _id LIKE 'odd%' ORDER BY _id") == [
        (None, '{"b":"text"}'),
        (None, '{"b":{"k":1}}'),
        (None, None),
        (2.0, None),
    ]


def test_what_stays_in_rescued_keeps_its_text(frozen: Contracted) -> None:
    big = b'{"b":1,"number":1.10,"long":0.12345678901234567890123,"wide":123456789012345678901234567890,"t":"\\u00e9"}'
    frozen.loader.load(frozen.put(packed(stamped("1", big))))
    before = frozen.ask(f"SELECT _rescued::VARCHAR FROM {TABLE} WHERE _id = '1'")[0][0]
    run(frozen, "b")
    assert frozen.ask(f"SELECT _rescued::VARCHAR FROM {TABLE} WHERE _id = '1'") == [(before.replace('"b":1,', ""),)]


@pytest.mark.parametrize("field", ["it's", 'quo"te', "a.b", "Ünï code", "new\nline", "$", "%_"])
def test_any_field_can_be_filled(frozen: Contracted, field: str) -> None:
    both: dict[str, Any] = {field: "x", "other": 1}
    frozen.file(*many(**both))
    frozen.file(*many(1_000, **{field: "y"}))
    done = run(frozen, field)
    assert (done.rows, done.left) == (2 * MANY, 0)
    assert frozen.ask(f"SELECT DISTINCT _rescued::VARCHAR FROM {TABLE} WHERE a IS NULL ORDER BY 1") == [
        ('{"other":1}',),
        (None,),
    ]


def test_a_field_of_another_case_is_another_field(frozen: Contracted) -> None:
    frozen.file(*many(userId="mine", USERID="other"))
    frozen.file(*many(1_000, USERID="other"))
    assert run(frozen, "userId").rows == MANY
    assert frozen.ask(f"SELECT user_id, _rescued::VARCHAR FROM {TABLE} WHERE a IS NULL GROUP BY ALL ORDER BY 1") == [
        ("mine", '{"USERID":"other"}'),
        (None, '{"USERID":"other"}'),
    ]


def test_a_seventh_digit_is_seen_and_stays_rescued(frozen: Contracted) -> None:
    """The guard's type takes it, the warehouse refuses it: then the file is gone through row by row."""
    frozen.agree(contract="freeze", columns={"t": ColumnConfig(type="timestamptz")})
    frozen.agree(contract="freeze")
    frozen.file(*many(t="2026-01-01T00:00:00.123456Z"), event("odd", t="2026-01-01T00:00:00.1234567Z"))
    frozen.agree(contract="freeze", columns={"t": ColumnConfig(type="timestamptz")})
    done = run(frozen, "t")
    assert (done.rows, done.left, done.files) == (MANY, 1, 2)
    assert columns(frozen)["t"] == "timestamptz"


# ---- the columns --------------------------------------------------------------------------


def test_a_declared_type_and_name_are_those_of_the_project(frozen: Contracted) -> None:
    frozen.file(*many(b=1))
    frozen.agree(contract="freeze", columns={"b": ColumnConfig(type="varchar", rename="bee")})
    done = run(frozen, "bee")
    assert (done.rows, done.columns) == (MANY, ("bee",))
    assert frozen.ask(f"SELECT DISTINCT bee FROM {TABLE} WHERE bee IS NOT NULL") == [("1",)]


def test_a_column_is_widened_where_the_project_says_so(frozen: Contracted) -> None:
    frozen.file(*many(a=1.5))
    assert run(frozen, "a").left == MANY
    frozen.agree(contract="freeze", columns={"a": ColumnConfig(type="double")})
    assert (done := run(frozen, "a")).rows == MANY
    assert done.left == 0
    assert columns(frozen) == {"a": "double"}
    assert ("widened", "a", "bigint", "double") in frozen.changes()


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, 2, 2.5], "double"),
        ([2**63, 1], "bigint"),
        (["2026-01-01T00:00:00Z"], "timestamptz"),
        (["2026-01-01T00:00:00Z", "x"], "varchar"),
        ([[1], {"a": 1}, "x"], "json"),
        ([True, None], "boolean"),
    ],
)
def test_the_type_is_what_most_values_of_the_archive_want(frozen: Contracted, values: list[Any], kind: str) -> None:
    for at, value in enumerate(values):
        frozen.file(event(str(at), b=value))
    run(frozen, "b")
    assert columns(frozen)["b"] == kind


def test_a_number_beyond_a_double_has_no_vote_and_stays(frozen: Contracted) -> None:
    frozen.loader.load(frozen.put(packed(stamped("1", b'{"b":1e400}'), stamped("2", b'{"b":7}'))))
    assert (done := run(frozen, "b")).rows == 1
    assert done.left == 1
    assert columns(frozen)["b"] == "bigint"


def test_what_cannot_be_filled_is_refused_before_anything_is_done(frozen: Contracted) -> None:
    frozen.file(*many(b="x", wide=2**64))
    for name, words in [("nowhere", "no value of 'nowhere'"), ("wide", "no value"), ("_id", "Catchment's own")]:
        with pytest.raises(UsageError, match=words):
            run(frozen, "b", name)
    with pytest.raises(UsageError, match="there is no table"):
        fill(frozen.loader, frozen.archive, "web.nowhere", ["b"])
    frozen.warehouse.halt(TABLE, "test")
    with pytest.raises(UsageError, match="has halted"):
        run(frozen, "b")
    assert columns(frozen) == {"a": "bigint"}
    assert sides(frozen) == 0


# ---- files and spans ----------------------------------------------------------------------


def test_files_of_other_times_are_left_alone(frozen: Contracted) -> None:
    for at in range(4):
        frozen.loader.load(frozen.put(packed(stamped(str(at), b'{"b":1}', at_s=100 * at))))
    span = {"since": T0 + timedelta(seconds=100), "until": T0 + timedelta(seconds=300)}
    found = extent(frozen.archive, TABLE, span["since"], span["until"])
    assert (found.files, found.records) == (2, 2)
    assert run(frozen, "b", **span).rows == 2
    assert frozen.ask(f"SELECT _id FROM {TABLE} WHERE b IS NOT NULL ORDER BY 1") == [("1",), ("2",)]


def test_a_damaged_file_is_counted_and_its_rows_are_filled_from_rescued(frozen: Contracted) -> None:
    (part,) = frozen.put(packed(stamped("1", b'{"b":1}')))
    frozen.loader.load([part])
    path = Path(frozen.archive.url(part.name))
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-4])
    frozen.file(event("2", b=2))
    done = run(frozen, "b")
    assert (done.rows, done.damaged) == (2, 1)


def test_a_large_file_is_gathered_in_pieces(frozen: Contracted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catchment.load.gathering.PIECE_BYTES", 1_000)
    monkeypatch.setattr("catchment.load.fill.TOGETHER_ROWS", 10)
    monkeypatch.setattr("catchment.load.fill.RESCUED_ROWS", 10)
    frozen.file(*many(b=1), event("odd", b="x"), event("other", "web.other", a=1))
    frozen.file(*many(1_000, b=1), event("other 2", "web.other", a=1))
    done = run(frozen, "b")
    assert (done.rows, done.left, done.records) == (2 * MANY, 1, 2 * MANY + 2)


def test_a_file_rewritten_meanwhile_is_met_under_its_new_name(frozen: Contracted) -> None:
    frozen.file(*many(b=1))
    stage, calls = frozen.warehouse.stage, iter([True])

    def rewriting(*arguments: Any) -> None:
        stage(*arguments)
        if next(calls, False):
            age(frozen)

    frozen.warehouse.stage = rewriting  # type: ignore[method-assign, assignment]
    assert run(frozen, "b").rows == MANY
    assert frozen.ask(f"SELECT count(*) FROM {TABLE} WHERE b = 1") == [(MANY,)]


# ---- stopped and begun again --------------------------------------------------------------


def test_what_was_gathered_is_not_gathered_again(frozen: Contracted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catchment.load.fill.TOGETHER_ROWS", 1)
    for at in range(3):
        frozen.file(*many(1_000 * at, b=at))

    class Died(BaseException):
        pass

    def die(done: FillDone) -> None:
        if done.files == 3:
            raise Died

    with pytest.raises(Died):
        run(frozen, "b", progress=die)
    assert frozen.ask(f"SELECT count(b) FROM {TABLE}") == [(0,)]
    done = run(frozen, "b")
    assert (done.rows, done.files, done.records) == (3 * MANY, 4, MANY)
    assert sides(frozen) == 0


def test_a_column_that_is_widened_meanwhile_is_gathered_anew(frozen: Contracted) -> None:
    frozen.file(*many(b=1))
    frozen.agree()
    real, calls = frozen.warehouse.fill, iter([True])

    def widening(fill: Any) -> Filled:
        if next(calls, False):
            frozen.file(event("wide", b=0.5))
        return real(fill)

    frozen.warehouse.fill = widening  # type: ignore[method-assign]
    assert run(frozen, "b").rows == MANY
    assert columns(frozen)["b"] == "double"
    assert sides(frozen) == 0


def test_a_schema_that_never_rests_is_given_up(frozen: Contracted, monkeypatch: pytest.MonkeyPatch) -> None:
    def changed(fill: Any) -> Filled:
        raise SchemaChanged(TABLE)

    monkeypatch.setattr(frozen.warehouse, "fill", changed)
    frozen.file(event("1", b=1))
    with pytest.raises(SchemaChanged):
        run(frozen, "b")


def test_loading_goes_on_meanwhile(frozen: Contracted, monkeypatch: pytest.MonkeyPatch) -> None:
    """No reader sees a column half filled, and no row is without its value in the end."""
    monkeypatch.setattr("catchment.load.fill.TOGETHER_ROWS", 1)
    old = 6 * MANY
    for at in range(6):
        frozen.file(*many(1_000 * at, b=at))
    stop = threading.Event()
    seen: set[int] = set()
    failed: list[BaseException] = []

    def loading() -> None:
        try:
            at = 10
            while not stop.is_set() or at < 15:
                frozen.file(*many(1_000 * at, b=at))
                at += 1
        except BaseException as error:
            failed.append(error)

    def reading() -> None:
        while not stop.is_set():
            column = "b" if "b" in columns(frozen) else "NULL"
            seen.update(n for (n,) in frozen.ask(f"SELECT count({column}) FROM {TABLE} WHERE _id::INT < 10000" + _OLD))

    threads = [threading.Thread(target=loading), threading.Thread(target=reading)]
    for thread in threads:
        thread.start()
    try:
        done = run(frozen, "b")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failed
    assert done.rows >= old
    assert seen <= {0, old}
    assert frozen.ask(f"SELECT count(*) FROM {TABLE} WHERE b IS NULL AND _id <> 'first'") == [(0,)]
    assert frozen.ask(f"SELECT count(*) FROM {TABLE} WHERE _rescued IS NOT NULL") == [(0,)]


_OLD = " AND _id <> 'first'"


# ---- the same as if it had been there from the start --------------------------------------

_FIELDS = ["b", "C", "d e"]
_VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**65), 2**65), st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5),
    st.just("2026-01-01T00:00:00Z"), st.lists(st.integers(0, 9), max_size=2),
)  # fmt: skip
_DATA = st.dictionaries(st.sampled_from(_FIELDS), _VALUES, max_size=3)


_RECORDS = st.lists(_DATA, min_size=1, max_size=12)


@settings(max_examples=30, deadline=None)
@given(_RECORDS, st.integers(1, 4), st.booleans())
def test_fill_after_freeze_equals_evolve_from_the_start(
    tmp_path_factory: pytest.TempPathFactory, data: list[dict[str, Any]], rounds: int, is_replayed: bool
) -> None:
    """The types are those that all values together want: so what evolves has them all in its first batch."""
    folder = tmp_path_factory.mktemp("equal")
    with contracted(folder / "evolved") as evolved, contracted(folder / "filled", contract="freeze") as filled:
        _fill_as_evolved(evolved, filled, data, rounds)
        if is_replayed:
            filled.warehouse._new_cursor().execute(f"DELETE FROM {TABLE} WHERE _id = '0'")
            replay(filled.loader, filled.archive, TABLE, since=None, until=None)
        assert columns(filled) == columns(evolved)
        assert _content(filled) == _content(evolved)


@settings(max_examples=15, deadline=None)
@given(_RECORDS, st.integers(1, 4))
def test_fill_in_postgresql_equals_evolve_in_duckdb(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer, data: list[dict[str, Any]], rounds: int
) -> None:
    folder = tmp_path_factory.mktemp("equal")
    config = PostgresWarehouse.Config(postgres_server.emptied_database())
    warehouse = PostgresWarehouse(config, folder / "filled")
    with contracted(folder / "evolved") as evolved, contracted(folder, warehouse, contract="freeze") as filled:
        _fill_as_evolved(evolved, filled, data, rounds)
        assert columns(filled) == columns(evolved)
        assert content(filled.warehouse, TABLE) == content(evolved.warehouse, TABLE)
        found = filled.ask(f"SELECT count(*) FROM {TABLE} WHERE CAST(_rescued AS VARCHAR) = '{{}}'")
        assert found == [(0,)]


def _fill_as_evolved(evolved: Contracted, filled: Contracted, data: list[dict[str, Any]], rounds: int) -> None:
    assume(not any(map(_is_tied, zip(*([each.get(field) for field in _FIELDS] for each in data), strict=True))))
    lines = [stamped(str(at), json.dumps({"a": 1, **each}).encode(), at_s=at) for at, each in enumerate(data)]
    first = stamped("first", b'{"a":1}')
    evolved.loader.load(evolved.put(packed(first, *lines)))
    filled.loader.load(filled.put(packed(first)))
    for at in range(rounds):
        if some := lines[at::rounds]:
            filled.loader.load(filled.put(packed(*some)))
    fields = [column.field for column in evolved.warehouse.shape(TABLE).columns if column.field != "a"]
    if fields:
        run(filled, *fields)


def _is_tied(values: tuple[Any, ...]) -> bool:
    """Whether two kinds of value have as many votes: then the first that comes wins, and files have no order."""
    votes = Counter(kind for value in values if value is not None and (kind := kind_of(json.dumps(value).encode())))
    if "double" in votes:
        votes["double"] += votes.pop("bigint", 0)
    if "varchar" in votes:
        votes["varchar"] += votes.pop("timestamptz", 0)
    most = [number for _, number in votes.most_common(2)]
    return len(most) == 2 and most[0] == most[1]


def _content(rig: Contracted) -> list[tuple[Any, ...]]:
    """All rows by field; JSON as what it says, since DuckDB spells numbers in another way as it reads files."""
    kinds = {"_rescued": "json", **columns(rig)}
    names = {column.field: column.name for column in rig.warehouse.shape(TABLE).columns}
    wanted = ", ".join(f'"{names.get(field, field)}"' for field in sorted(kinds))
    return [
        tuple(
            json.loads(value) if kinds[field] == "json" and value is not None else value
            for field, value in zip(sorted(kinds), values, strict=True)
        )
        for *values, _ in rig.ask(f"SELECT {wanted}, _id FROM {TABLE} ORDER BY _id")
    ]
