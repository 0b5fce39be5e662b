"""Contracts from end to end: a producer adds a field, and everybody can see what became of it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.cli.live import Live, until

SETTINGS = """\
[load.tables."shop.*"]
contract = "freeze"
[load.tables."shop.orders"]
drop = ["card"]
[load.tables."shop.orders".columns.total]
type = "double"
not_null = true
rename = "order_total"
description = "What was paid, taxes included"
"""


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    made = Live(tmp_path_factory.mktemp("schema") / "p", SETTINGS)
    made.up()
    made.send("shop.orders", {"id": 1, "total": 3, "card": "4111"}, id_field="id")
    made.send("shop.users", {"id": 1, "name": "Ada"}, id_field="id")
    yield made
    made.close()


def test_a_table_is_shown_with_what_the_project_says_of_it(live: Live) -> None:
    assert live.done("schema show", "shop.orders").splitlines() == [
        "shop.orders  (freeze)",
        "  order_total  double       from 'total', not null, What was paid, taxes included",
    ]
    shown = json.loads(live.done("schema show", "shop.orders", "--json"))
    assert (shown["contract"], shown["drop"]) == ("freeze", ["card"])
    ended = live.run("schema show", "shop.nothing")
    assert ended.code == 2
    assert "there is no table shop.nothing" in ended.err


def test_changes_and_differences_are_seen(live: Live) -> None:
    ended = live.run("schema diff")
    assert ended.code == 2
    assert "catchment schema snapshot" in ended.err
    live.done("schema snapshot")
    snapshot = json.loads((live.folder / "schema" / "shop.users.json").read_text())
    assert [column["name"] for column in snapshot["columns"]] == ["id", "name"]
    assert live.done("schema diff") == ""

    live.send("shop.users", {"id": 2, "name": "Bob", "plan": "pro"}, id_field="id")
    changes = [json.loads(line) for line in live.done("schema changes", "shop.users", "--json").splitlines()]
    assert [(each["kind"], each["field"], each["after"], each["record_id"]) for each in changes] == [
        ("frozen out", "plan", "string", "2"),
        ("table added", "", "", "1"),
    ]
    assert "frozen out    shop.users.plan  string  record 2" in live.done("schema changes")
    assert live.status()["schema_changes"] >= 3
    assert live.done("schema diff") == "", "a frozen table has no column more"

    live.send("web.event", {"id": 1, "a": 1}, id_field="id")
    (live.folder / "schema" / "shop.users.json").unlink()
    ended = live.run("schema diff")
    assert ended.code == 3
    assert ended.out.splitlines() == ["+ shop.users", "+ web.event"]


def test_a_column_more_or_less_or_otherwise(live: Live) -> None:
    live.done("schema snapshot")
    file = live.folder / "schema" / "shop.users.json"
    text = file.read_text()
    file.write_text(text.replace('"name": "name"', '"name": "nom"').replace('"bigint"', '"varchar"'))
    ended = live.run("schema diff", "--json")
    assert ended.code == 3
    assert json.loads(ended.out) == [
        "~ shop.users.id varchar -> bigint",
        "+ shop.users.name varchar",
        "- shop.users.nom varchar",
    ]
    file.write_text("{")
    ended = live.run("schema diff")
    assert ended.code == 2
    assert "shop.users.json" in ended.err
    file.write_text(text)


def test_what_breaks_the_contract_is_a_dead_letter_without_what_is_dropped(live: Live) -> None:
    live.send("shop.orders", {"id": 3, "card": "4111"}, id_field="id")
    (letter,) = until(live.letters)
    assert (letter["reason"], letter["record_id"]) == ("contract", "3")
    assert "4111" not in live.done("dead-letters show", letter["id"])
    assert live.rows("SELECT count(*) AS n FROM shop.orders WHERE _rescued LIKE '%4111%'") == [{"n": 0}]
