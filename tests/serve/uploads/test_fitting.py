"""A file's columns beside a table's, in every pair of types, under every contract: what is said is what happens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from catchment.load.config import LoadConfig, TableLoadConfig
from catchment.send.look import Choices, Found, Type
from catchment.serve.uploads.filing import ContractMode, Takes
from catchment.serve.uploads.fitting import fit
from catchment.warehouses.shape import Column, ColumnType, Shape
from tests.load.loading import Rig

TEXTS: dict[Type, str] = {
    "boolean": "true", "bigint": "7", "double": "7.5", "timestamptz": '"2026-01-01T00:00:00Z"', "varchar": '"x"',
    "json": '{"a":1}',
}  # fmt: skip
TABLE = "uploads.t"


def file(*columns: tuple[str, Type], empty: tuple[str, ...] = ()) -> Found:
    names = tuple(name for name, _ in columns)
    return Found(
        columns=names,
        types=tuple(kind for _, kind in columns),
        is_empty=tuple(name in empty for name in names),
        nulls=tuple(int(name in empty) for name in names),
        rows=1,
        bad=0,
        first=(),
        first_bad=(),
        choices=Choices(),
    )


def table(*columns: tuple[str, str, ColumnType], key: tuple[str, ...] = ()) -> Shape:
    return Shape(TABLE, 1, tuple(Column(*column) for column in columns), key)


@pytest.fixture(params=["evolve", "freeze", "reject"])
def contract(request: pytest.FixtureRequest) -> ContractMode:
    mode: ContractMode = request.param
    return mode


@pytest.fixture
def rig(tmp_path: Path, contract: ContractMode) -> Iterator[Rig]:
    config = LoadConfig(contract="evolve", tables={TABLE: TableLoadConfig(contract=contract)}, min_rejected=10**9)
    made = Rig(tmp_path, config)
    yield made
    made.close()


def test_each_pair_of_types_does_what_was_said(rig: Rig, contract: ContractMode) -> None:
    kinds: list[Type] = list(TEXTS)
    there = {f"{old}_{new}": old for old in kinds for new in kinds}
    first = ",".join(f'"{name}":{TEXTS[old]}' for name, old in there.items())
    rig.file(f'{{"table":"{TABLE}","id":"first","source":"s","data":{{{first}}}}}'.encode())
    shape = rig.warehouse.shape(TABLE)
    found = file(*[(name, kind) for name in there for kind in kinds if name.endswith(f"_{kind}")])
    fitted = fit(found, shape, Takes(contract))
    for each in fitted.columns:
        text = TEXTS[each.kind]  # type: ignore[index]
        if each.state == "as text":
            text = f'"{text}"'
        record = f'{{"table":"{TABLE}","id":"{each.field}","source":"s","data":{{"{each.key}":{text}}}}}'
        before = rig.ask("SELECT count(*) FROM catchment.dead_letters")[0][0] if contract == "reject" else 0
        rig.file(record.encode())
        rows = rig.ask(f"SELECT {each.column} IS NULL, _rescued IS NULL FROM {TABLE} WHERE _id = '{each.field}'")
        expected = {"rescued": [(True, False)], "refused": []}.get(each.state, [(False, True)])
        assert rows == expected, each
        if each.state == "refused":
            assert rig.ask("SELECT count(*) FROM catchment.dead_letters")[0][0] == before + 1, each
    after = {column.name: column.type for column in rig.warehouse.shape(TABLE).columns}
    assert after == {each.column: each.type for each in fitted.columns}


def test_columns_are_matched_by_field_then_by_name() -> None:
    shape = table(
        ("userId", "user_id", "varchar"), ("user_id", "user_id_1234abcd", "bigint"), ("Total", "total", "double")
    )
    fitted = fit(file(("user_id", "bigint"), ("User ID", "varchar"), ("TOTAL", "bigint"), ("total", "bigint")), shape)
    assert [(each.key, each.column, each.state) for each in fitted.columns][:3] == [
        ("user_id", "user_id_1234abcd", "fits"), ("userId", "user_id", "fits"), ("Total", "total", "fits"),
    ]  # fmt: skip
    assert fitted.columns[3].state == "new"
    assert fitted.columns[3].column.startswith("total_")
    assert fitted.columns[3].key == fitted.columns[3].column


def test_what_there_is_no_room_for() -> None:
    found = file(("a", "bigint"), ("b", "bigint"), ("c", "bigint"), empty=("a",))
    assert [each.state for each in fit(found, Shape(TABLE), Takes(max_columns=1)).columns] == [
        "no values", "new", "rescued"
    ]  # fmt: skip
    keyed = fit(found, Shape(TABLE), Takes(max_columns=1), is_keyed=True)
    assert [each.state for each in keyed.columns] == ["no values", "new", "new"]


def test_what_was_downloaded_goes_back_without_catchments_own_columns() -> None:
    downloaded = file(("_id", "varchar"), ("_received_at", "timestamptz"), ("_source", "varchar"), ("a", "bigint"),
                      ("_rescued", "varchar"), ("_other", "bigint"))  # fmt: skip
    fitted = fit(downloaded, table(("a", "a", "bigint")))
    states = {each.field: each.state for each in fitted.columns}
    assert states == {
        "_id": "own",
        "_received_at": "own",
        "_source": "own",
        "a": "fits",
        "_rescued": "own",
        "_other": "new",
    }
    assert fitted.written.names == (None, None, None, "a", None, "_other")
    # Another system's, such as MongoDB's.
    [own, _] = fit(file(("_id", "varchar"), ("a", "bigint")), table(("a", "a", "bigint"))).columns
    assert own.state == "new"


def test_missing_and_keys() -> None:
    shape = table(("K", "k", "bigint"), ("b", "b", "bigint"), key=("K",))
    fitted = fit(file(("k", "bigint")), shape)
    assert (fitted.missing, fitted.key, fitted.is_new) == (("b",), ("K",), False)
    assert fitted.columns[0].key == "K"
