"""What the project says of a table: whether it may change, its columns, and what never reaches it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from catchment.load.config import ColumnConfig, LoadConfig, TableLoadConfig
from catchment.load.contracts import Contracts
from catchment.load.corrections import open_letters
from catchment.load.loader import Loader
from catchment.load.replay import replay
from catchment.warehouses import SchemaChange, Warehouse
from tests.load.loading import UNLIMITED, Rig, columns, event, packed, stamped

MANY = 300
"""More rows than are looked at one by one."""
TABLE = "web.event"


class Contracted(Rig):
    """A rig with a contract for its table, and what it tells."""

    def __init__(self, folder: Path, warehouse: Warehouse | None = None, **settings: Any) -> None:
        super().__init__(folder, warehouse=warehouse)
        self.told: list[SchemaChange] = []
        self.agree(**settings)

    def agree(self, **settings: Any) -> None:
        """Another contract, as after a change of the project and a restart."""
        config = msgspec.structs.replace(UNLIMITED, tables={TABLE: TableLoadConfig(**settings)})
        self.loader = Loader.of(self.warehouse, self.archive, config, tell=self.told.append)
        self.sweep.loader = self.loader

    def changes(self) -> list[tuple[str, str, str, str]]:
        return self.ask("SELECT kind, field, type_before, type_after FROM catchment.schema_change ORDER BY rowid")

    def letters(self) -> list[tuple[str, str | None]]:
        return [(letter.reason, letter.record_id) for letter in open_letters(self.warehouse)]


@contextmanager
def contracted(folder: Path, warehouse: Warehouse | None = None, **settings: Any) -> Iterator[Contracted]:
    rig = Contracted(folder, warehouse, **settings)
    try:
        yield rig
    finally:
        rig.close()


def many(start: int = 0, **data: Any) -> list[dict[str, Any]]:
    return [event(str(start + at), **data) for at in range(MANY)]


# ---- evolve, freeze, reject ---------------------------------------------------------------


@pytest.mark.parametrize("count", [1, MANY])
def test_evolve_adds_and_tells(tmp_path: Path, count: int) -> None:
    with contracted(tmp_path) as rig:
        rig.file(*many(a=1)[:count])
        assert columns(rig) == {"a": "bigint"}
        rig.file(*many(1_000, a=1.5, b="x")[:count])
        assert columns(rig) == {"a": "double", "b": "varchar"}
        assert rig.changes() == [
            ("table added", "", "", ""),
            ("widened", "a", "bigint", "double"),
            ("column added", "b", "", "varchar"),
        ]
        assert [(each.kind, each.record_id) for each in rig.told] == [
            ("table added", "0"),
            ("widened", "1000"),
            ("column added", "1000"),
        ]
        assert all(each.source == "web" and each.batch.startswith("incoming/") for each in rig.told)


@pytest.mark.parametrize("count", [1, MANY])
def test_freeze_keeps_values_and_tells_of_the_first(tmp_path: Path, count: int) -> None:
    with contracted(tmp_path, contract="freeze") as rig:
        rig.file(*many(a=1)[:count])  # a new table begins as its first batch is
        rig.file(*many(1_000, a=1.5, b="x")[:count])
        rig.file(*many(2_000, a=2, b="y")[:count])
        rig.file(*many(3_000, a=2, b={"y": 1})[:count])
        assert columns(rig) == {"a": "bigint"}
        found = rig.ask(f"SELECT a, _rescued::VARCHAR FROM {TABLE} WHERE _id IN ('1000', '3000') ORDER BY _id")
        assert found == [(None, '{"a":1.5,"b":"x"}'), (2, '{"b":{"y":1}}')]
        assert rig.changes() == [
            ("table added", "", "", ""),
            ("rescued", "a", "bigint", "number"),
            ("frozen out", "b", "", "string"),
            ("frozen out", "b", "", "object"),
        ]
        assert [each.kind for each in rig.told] == ["table added", "rescued", "frozen out", "frozen out"]


@pytest.mark.parametrize("count", [1, MANY])
def test_reject_makes_dead_letters(tmp_path: Path, count: int) -> None:
    with contracted(tmp_path, contract="reject") as rig:
        rig.file(*many(a=1)[:count])
        rig.file(event("x", a=1, b="x"), event("y", a="no number"), event("z", a=7), event("n", b=None))
        assert rig.ask(f"SELECT a FROM {TABLE} WHERE _id IN ('x', 'y', 'z', 'n') ORDER BY a") == [(7,), (None,)]
        assert rig.letters() == [("contract", "x"), ("contract", "y")]
        details = [letter.detail for letter in open_letters(rig.warehouse)]
        assert details == [
            "the table has no column for the field 'b'",
            'the column a (bigint) does not take "no number"',
        ]
        assert [kind for kind, *_ in rig.changes()] == ["table added"]


def test_a_table_takes_up_its_contract_when_it_is_there_already(tmp_path: Path) -> None:
    with contracted(tmp_path) as rig:
        rig.file(event("1", a=1))
        rig.agree(contract="freeze")
        rig.file(event("2", a=1, b=2))
        assert columns(rig) == {"a": "bigint"}
        rig.agree()
        rig.file(event("3", a=1, b=2))
        assert columns(rig) == {"a": "bigint", "b": "bigint"}


def test_told_once_also_after_a_restart(tmp_path: Path) -> None:
    with contracted(tmp_path, contract="freeze") as rig:
        rig.file(event("1", a=1))
        rig.file(event("2", b=1))
        rig.agree(contract="freeze")
        rig.file(event("3", b=1))
        assert [each.kind for each in rig.told] == ["table added", "frozen out"]
        assert len(rig.changes()) == 2


def test_what_is_loaded_again_is_not_told_again(tmp_path: Path) -> None:
    with contracted(tmp_path) as rig:
        parts = rig.put(rig.message(event("1", a=1)))
        rig.loader.load(parts)
        rig.loader.load(parts)
        rig.loader.load(parts, past_ledger=True)
        assert len(rig.changes()) == 1


# ---- columns ------------------------------------------------------------------------------


@pytest.mark.parametrize("contract", ["evolve", "freeze", "reject"])
@pytest.mark.parametrize("count", [1, MANY])
def test_declared_columns_are_made_as_they_are_declared(tmp_path: Path, contract: Any, count: int) -> None:
    declared = {
        "zip": ColumnConfig(type="varchar"),
        "total": ColumnConfig(type="double", rename="order_total"),
        "never": ColumnConfig(type="json"),
    }
    with contracted(tmp_path, contract=contract, columns=declared) as rig:
        rig.file(*many(zip="01234", total=3)[:count])
        rig.file(*many(1_000, zip=12345, total=1.5)[:count])
        rig.file(*many(2_000, zip={"a": [1]}, total=2)[:count])
        shape = rig.warehouse.shape(TABLE)
        assert [(each.field, each.name, each.type) for each in shape.columns] == [
            ("zip", "zip", "varchar"),
            ("total", "order_total", "double"),
            ("never", "never", "json"),
        ]
        found = rig.ask(f"SELECT DISTINCT zip, order_total FROM {TABLE} ORDER BY zip")
        assert found == [("01234", 3.0), ("12345", 1.5), ('{"a":[1]}', 2.0)]
        assert rig.letters() == []


def test_a_frozen_table_gets_a_column_once_it_is_declared(tmp_path: Path) -> None:
    with contracted(tmp_path, contract="freeze") as rig:
        rig.file(event("1", a=1))
        rig.file(event("2", a=1, b="x"))
        rig.agree(contract="freeze", columns={"b": ColumnConfig()})
        rig.file(event("3", a=1, b="y", c=1))
        assert columns(rig) == {"a": "bigint", "b": "varchar"}
        assert rig.ask(f"SELECT b FROM {TABLE} ORDER BY _id") == [(None,), (None,), ("y",)]
        assert [kind for kind, *_ in rig.changes()] == ["table added", "frozen out", "column added", "frozen out"]


def test_a_declared_type_is_not_widened_but_to_double(tmp_path: Path) -> None:
    with contracted(tmp_path, columns={"a": ColumnConfig(type="bigint"), "b": ColumnConfig()}) as rig:
        rig.file(event("1", a=1, b=1))
        rig.file(event("2", a=1.5, b=1.5))
        assert columns(rig) == {"a": "bigint", "b": "double"}
        rig.agree(columns={"a": ColumnConfig(type="double")})
        rig.file(event("3", a=2.5))
        assert columns(rig)["a"] == "double"
        assert rig.ask(f"SELECT a FROM {TABLE} ORDER BY _id") == [(1.0,), (None,), (2.5,)]


@pytest.mark.parametrize("count", [1, MANY])
def test_not_null(tmp_path: Path, count: int) -> None:
    declared = {"a": ColumnConfig(not_null=True), "j": ColumnConfig(type="json", not_null=True)}
    with contracted(tmp_path, columns=declared) as rig:
        rig.file(*many(a=1, j=[])[:count])
        bad = [event("x", j=1), event("y", a=None, j=1), event("z", a=1, j=None), event("s", a="text", j=1)]
        rig.file(*bad, *many(1_000, a=2, j={"k": 1})[:count])
        assert rig.ask(f"SELECT count(*), count(a), count(j) FROM {TABLE}") == [(2 * count,) * 3]
        assert sorted(rig.letters()) == [("contract", each) for each in ("s", "x", "y", "z")]


def test_declared_columns_have_room_whatever_the_limit(tmp_path: Path) -> None:
    with contracted(tmp_path, max_columns=1, columns={"c": ColumnConfig()}) as rig:
        rig.file(event("1", a=1, b=1, c=1))
        assert columns(rig) == {"a": "bigint", "c": "bigint"}


# ---- fields that are dropped --------------------------------------------------------------


@pytest.mark.parametrize("contract", ["evolve", "freeze", "reject"])
@pytest.mark.parametrize("count", [1, MANY])
def test_a_dropped_field_never_reaches_the_warehouse(tmp_path: Path, contract: Any, count: int) -> None:
    with contracted(tmp_path, contract=contract, drop=["ssn"]) as rig:
        rig.file(*many(a=1, ssn="secret")[:count])
        rig.file(*many(1_000, a=2, ssn={"deep": "secret"})[:count])
        rig.file(event("bad", a=1, ssn="secret", b=2**70))
        assert columns(rig) == {"a": "bigint"}
        assert rig.ask(f"SELECT count(*) FROM {TABLE} WHERE _rescued::VARCHAR LIKE '%secret%'") == [(0,)]
        assert all(b"secret" not in letter.body for letter in open_letters(rig.warehouse))
        replay(rig.loader, rig.archive, TABLE, since=None, until=None)
        assert columns(rig) == {"a": "bigint"}
        assert b"secret" in b"".join(pack_texts(rig))  # the archive is as it was received


def pack_texts(rig: Rig) -> Iterator[bytes]:
    from catchment.pack import read_file

    for entry in rig.archive.list("incoming/"):
        with rig.archive.open(entry.name) as file:
            yield from (pack.plain() for pack in read_file(file))


@pytest.mark.parametrize("count", [1, MANY])
def test_a_field_that_has_a_column_is_dropped_from_then_on(tmp_path: Path, count: int) -> None:
    with contracted(tmp_path) as rig:
        rig.file(*many(a=1, ssn="old")[:count])
        rig.agree(drop=["ssn"])
        rig.file(*many(1_000, a=2, ssn="new")[:count])
        assert rig.ask(f"SELECT count(*) FROM {TABLE} WHERE ssn = 'new'") == [(0,)]
        assert rig.ask(f"SELECT count(*) FROM {TABLE} WHERE a = 2") == [(count,)]


def test_names_that_differ_in_case_alone_are_not_taken_for_each_other(tmp_path: Path) -> None:
    with contracted(tmp_path, drop=["SSN"]) as rig:
        rig.file(*many(ssn="kept"))
        rig.file(*many(1_000, SSN="secret"))
        assert rig.ask(f"SELECT ssn, count(*) FROM {TABLE} GROUP BY 1 ORDER BY 1") == [("kept", MANY), (None, MANY)]


def test_a_dead_letter_lacks_what_is_dropped(tmp_path: Path) -> None:
    with contracted(tmp_path, drop=["ssn"], contract="reject") as rig:
        rig.file(event("1", a=1))
        rig.loader.load(rig.put(packed(stamped("2", b'{"a":1,"ssn":"secret","b":12345678901234567890123}'))))
        (letter,) = open_letters(rig.warehouse)
        assert b"secret" not in letter.body
        assert b'"b":12345678901234567890123' in letter.body


def test_packs_with_dropped_fields_load_as_they_lie(tmp_path: Path) -> None:
    """Or each of their rows would be looked at one by one, in a hundred times the time."""
    with contracted(tmp_path, drop=["ssn"], columns={"a": ColumnConfig(not_null=True)}) as rig:
        rig.file(event("1", a=1))
        pack = packed(*(stamped(str(at), b'{"a":%d,"ssn":[1,{"x":2}]}' % at) for at in range(10, 500)))
        [part] = rig.put(pack)
        assert all(held.sight is not None for held in part.held)
        rig.loader.load([part])
        assert rig.ask(f"SELECT count(*), sum(a)::BIGINT FROM {TABLE}") == [(491, 1 + sum(range(10, 500)))]


# ---- whose contract -----------------------------------------------------------------------


def test_what_is_said_of_a_schema_holds_for_its_tables() -> None:
    contracts = Contracts(
        LoadConfig(
            contract="evolve",
            tables={
                "web.*": TableLoadConfig(contract="freeze", drop=["ip"], columns={"a": ColumnConfig(not_null=True)}),
                "web.event": TableLoadConfig(contract="reject", drop=["ssn"], columns={"b": ColumnConfig()}),
            },
        )
    )
    assert contracts.of("shop.orders").mode == "evolve"
    assert contracts.of("web.other").mode == "freeze"
    one = contracts.of("web.event")
    assert one.mode == "reject"
    assert (set(one.dropped), set(one.required), set(one.columns)) == ({"ip", "ssn"}, {"a"}, {"a", "b"})
    assert contracts.of("catchment.dead_letters").mode == "freeze"
    assert contracts.of("web.event") is one
