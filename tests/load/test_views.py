"""Views over loaded tables follow their tables, and what becomes of one harms no load."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

from catchment.collect.tables import users_of
from catchment.errors import Retry, UsageError
from catchment.load.loader import Loader, Wanted
from catchment.load.views import Views
from catchment.service import Stop
from catchment.warehouses.duckdb import DuckDBWarehouse
from tests.load.loading import UNLIMITED, Rig, event

WANTED = Wanted(views=(users_of("web"),))


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path, wanted=WANTED)
    yield made
    made.close()


def identify(identity: str, **data: Any) -> dict[str, Any]:
    return event(identity, "web.identifies", id=identity, **data)


def test_it_follows_the_columns_of_its_table(rig: Rig) -> None:
    rig.file(event("1", "web.tracks", n=1))
    with pytest.raises(UsageError):
        rig.ask("SELECT * FROM web.users")
    rig.file(identify("1", anonymous_id="a"))  # no user_id yet
    rig.file(identify("2", user_id="u", plan="free", visits=1, timestamp="2026-11-23T09:00:00Z"))
    assert rig.ask("SELECT id, plan, visits FROM web.users") == [("u", "free", 1)]
    rig.file(identify("3", user_id="u", city="Oslo", visits=1.5, timestamp="2026-11-23T08:00:00Z"))
    assert rig.ask("SELECT id, plan, visits, city FROM web.users") == [("u", "free", 1.0, "Oslo")]


def test_many_rows_at_once_make_it_too(rig: Rig) -> None:
    rig.file(*(identify(str(at), user_id=f"u{at % 7}", visits=at) for at in range(3_000)))
    assert rig.ask("SELECT id, visits % 7 FROM web.users ORDER BY 1") == [(f"u{at}", at) for at in range(7)]


def test_its_columns_are_those_of_segments_users(rig: Rig) -> None:
    moment = "2026-11-23T09:00:00Z"
    times = dict.fromkeys(("received_at", "sent_at", "original_timestamp", "timestamp"), moment)
    rig.file(identify("1", anonymous_id="a", user_id="u", **times, context_ip="::1", email="e"))
    [(names,)] = rig.ask(
        "SELECT string_agg(column_name, ' ') FROM information_schema.columns WHERE table_name = 'users'"
    )
    assert set(names.split()) == {"id", "received_at", "context_ip", "email"}


def test_a_table_of_its_name_that_was_there_stays_and_is_said_once(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    rig.file(event("1", "web.users", n=1))
    for number in range(3):
        rig.file(identify(str(number), user_id="u", **{f"trait{number}": 1}))
    assert rig.ask("SELECT _id, n FROM web.users") == [("1", 1)]
    assert [record.message for record in caplog.records].count(
        "a table has the name of a view, which is not made"
    ) == 1


def test_a_record_for_its_name_is_loaded_and_takes_its_place(rig: Rig) -> None:
    rig.file(identify("1", user_id="u"))
    assert rig.ask("SELECT id FROM web.users") == [("u",)]
    [loaded] = rig.file(event("x", "web.users", n=1))
    assert loaded.inserted == 1
    rig.file(identify("2", user_id="u", more=1))
    assert rig.ask("SELECT _id FROM web.users") == [("x",)]


def test_what_fails_there_fails_no_load_and_is_tried_again(rig: Rig) -> None:
    class Failing:
        def __getattr__(self, name: str) -> Any:
            return getattr(rig.warehouse, name)

        def latest_view(self, view: object) -> bool:
            raise Retry("not now")

    failing = replace(rig.loader, views=Views(Failing(), WANTED.views))
    [loaded] = failing.load(rig.put(rig.message(identify("1", user_id="u"))))
    assert loaded.inserted == 1
    failing.views.warehouse = rig.warehouse
    failing.load(rig.put(rig.message(identify("2", user_id="v"))))
    assert rig.ask("SELECT id FROM web.users ORDER BY 1") == [("u",), ("v",)]


def test_it_is_there_after_a_restore_and_in_a_backup(rig: Rig, tmp_path: Path) -> None:
    rig.file(identify("1", user_id="u", plan="free"))
    rig.warehouse.backup(tmp_path / "copy.duckdb")
    with duckdb.connect(str(tmp_path / "copy.duckdb"), read_only=True) as copy:
        assert copy.execute("SELECT id, plan FROM web.users").fetchall() == [("u", "free")]
    rig.warehouse.close()
    rig.warehouse.path.unlink()
    rig.warehouse = DuckDBWarehouse(DuckDBWarehouse.Config(), rig.folder, readable=[rig.folder / "archive"])
    rig.loader = Loader.of(rig.warehouse, rig.archive, UNLIMITED, WANTED)
    rig.sweep = type(rig.sweep)(rig.loader, rig.archive, rig.sweep.in_flight)
    assert rig.sweep.everything(Stop()) == 1
    assert rig.ask("SELECT id, plan FROM web.users") == [("u", "free")]


def test_it_is_made_at_the_start_for_tables_that_were_there(rig: Rig) -> None:
    rig.file(identify("1", user_id="u"))
    rig.warehouse._new_cursor().execute("DROP VIEW web.users")
    Loader.of(rig.warehouse, rig.archive, UNLIMITED, WANTED).views.refresh()
    assert rig.ask("SELECT id FROM web.users") == [("u",)]
