"""The story of a field that was added without a word, on the real command line and each warehouse: noticed, kept,
given a column, backfilled, and all of it there again once the warehouse is lost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict

from catchment.archives.disk import DiskArchive
from catchment.pack import read_file
from tests.cli.live import Live
from tests.servers.postgres import PostgresServer

FREEZE = """
[load.tables."shop.orders"]
contract = "freeze"
"""
OLD, NEW = 300, 200
CONTENT = "SELECT _id, _source, _received_at, total, coupon, note, _rescued FROM shop.orders ORDER BY _id"


class Story(Live):
    """A project with a frozen table, in DuckDB or in a database of its own on that server."""

    def __init__(self, folder: Path, server: PostgresServer | None) -> None:
        super().__init__(folder)
        self._server = server
        settings = FREEZE
        if server is not None:
            self._url = server.new_database()
            settings += f'[warehouse]\ntype = "postgres"\nurl = "{self._url}"\n'
        (folder / "catchment.toml").write_text(settings)

    def lose_warehouse(self) -> None:
        if self._server is None:
            for file in self.runtime.glob("warehouse.duckdb*"):
                file.unlink()
        else:
            self._server.drop_database(self._url)
            self._server.ask(f"CREATE DATABASE {conninfo_to_dict(self._url)['dbname']}")


@pytest.fixture(params=["duckdb", "postgres"])
def live(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Story]:
    server = request.getfixturevalue("postgres_server") if request.param == "postgres" else None
    made = Story(tmp_path / "p", server)
    made.up()
    yield made
    made.close()


def archived(live: Live) -> list[dict[str, Any]]:
    """The `data` of every record of the table in the archive."""
    archive = DiskArchive(DiskArchive.Config(), live.runtime)
    found = []
    for entry in archive.list("incoming/"):
        with archive.open(entry.name) as file:
            for pack in read_file(file, frozenset(["shop.orders"])):
                found += [json.loads(line)["data"] for line in pack.plain().splitlines()]
    return found


def test_a_field_is_added_noticed_kept_given_a_column_backfilled_and_restored(live: Story) -> None:
    live.send("shop.orders", *({"id": n, "total": n / 2} for n in range(OLD)), id_field="id")
    orders = [{"id": n, "total": n / 2, "coupon": f"C{n}"} for n in range(OLD, OLD + NEW)]
    live.send("shop.orders", *orders, {"id": 9_000, "total": 1.5, "coupon": 7, "note": "odd"}, id_field="id")

    changes = live.rows("SELECT kind, field, type_after FROM catchment.schema_change WHERE kind = 'frozen out'")
    assert {"kind": "frozen out", "field": "coupon", "type_after": "string"} in changes
    assert "values find no place in a table" in live.said.read_text()
    assert "coupon" in live.said.read_text()
    kept = live.rows("SELECT count(*) AS n FROM shop.orders WHERE _rescued ->> 'coupon' IS NOT NULL")
    assert kept == [{"n": NEW + 1}]

    told = json.loads(live.done("replay", "shop.orders", "--fill", "coupon", "--dry-run", "--json"))
    assert told["records"] == OLD + NEW + 1
    assert told["files"] == 2
    assert told["bytes"] > 0
    assert live.rows("SELECT count(*) AS n FROM catchment.schema_change WHERE kind = 'column added'") == [{"n": 0}]

    said = json.loads(live.done("replay", "shop.orders", "--fill", "coupon", "--fill", "note", "--json"))
    assert (said["rows"], said["left"], said["columns"]) == (NEW + 1, 1, ["coupon", "note"])
    live.send("shop.orders", {"id": 9_001, "total": 1.5, "coupon": "LATE"}, id_field="id")

    coupons = [data["coupon"] for data in archived(live) if isinstance(data.get("coupon"), str)]
    assert len(coupons) == NEW + 1
    counted = live.rows("SELECT count(coupon) AS n, count(DISTINCT coupon) AS m, count(*) AS rows FROM shop.orders")
    assert counted == [{"n": NEW + 1, "m": NEW + 1, "rows": len(archived(live))}]
    odd = live.rows("SELECT coupon, note, CAST(_rescued AS VARCHAR) AS r FROM shop.orders WHERE _id = '9000'")
    assert [(each["coupon"], each["note"], json.loads(each["r"])) for each in odd] == [(None, "odd", {"coupon": 7})]
    assert live.rows("SELECT count(*) AS n FROM shop.orders WHERE _rescued IS NOT NULL") == [{"n": 1}]
    before = live.rows(CONTENT)

    assert live.down() == 0
    live.lose_warehouse()
    assert live.done("restore", "--from-archive") == "3 batches loaded from the archive\n"
    live.up()
    live.done("replay", "shop.orders", "--fill", "coupon", "--fill", "note")
    assert live.rows(CONTENT) == before


def test_users_mistakes_are_told_without_doing_anything(live: Story) -> None:
    live.send("shop.orders", {"id": 1, "total": 1.5}, id_field="id")
    for arguments, words in [
        (["shop.orders", "--fill", "nowhere"], "no value of 'nowhere'"),
        (["shop.nowhere", "--fill", "total"], "there is no table shop.nowhere"),
        (["shop.orders", "--fill", "_id", "--dry-run"], "Catchment's own"),
    ]:
        ended = live.run("replay", *arguments)
        assert ended.code == 2
        assert words in ended.err
    assert live.done("replay", "shop.orders", "--fill", "total") == "shop.orders: 0 rows filled from 1 files\n"
    assert live.done("replay", "shop.orders", "--dry-run").startswith("shop.orders: 1 records in 1 files, ")
