"""`[retention]`: how long what is kept, and what cannot hold together."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from catchment.config import ConfigError, find_mistakes, load_project
from catchment.config.schema import project_schema
from catchment.load.retention import FOREVER, Kept, Retention, RetentionConfig, TableRetentionConfig
from catchment.record import CORRECTIONS, DEAD_LETTERS

Write = Callable[..., Path]
DAY = timedelta(days=1)
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
ALWAYS = datetime.min.replace(tzinfo=UTC)


def read(folder: Path) -> RetentionConfig:
    return load_project(folder, environment={}).retention


def test_everything_is_kept_unless_the_project_says_else(project_folder: Write) -> None:
    config = read(project_folder(""))
    assert config.for_table("shop.orders") == Kept(FOREVER, FOREVER, FOREVER, 7 * DAY)
    assert Retention(config).keeps_everything
    assert Retention(config).rows_from("shop.orders", NOW, is_keyed=False) == ALWAYS


def test_a_table_differs_from_its_schema_and_that_from_all(project_folder: Write) -> None:
    config = read(
        project_folder("""
[retention]
archive = "2 years"
rows = "1 year"
dead_letters = "90 days"
ledger = "30 days"
[retention.tables."shop.*"]
rows = "2 years"
dead_letters = "forever"
[retention.tables."shop.orders"]
archive = "forever"
rows = "forever"
""")
    )
    assert config.for_table("web.event") == Kept(730 * DAY, 365 * DAY, 90 * DAY, 30 * DAY)
    assert config.for_table("shop.item") == Kept(730 * DAY, 730 * DAY, FOREVER, 30 * DAY)
    assert config.for_table("shop.orders") == Kept(FOREVER, FOREVER, FOREVER, 30 * DAY)
    assert not Retention(config).keeps_everything


def test_every_contradiction_is_said_at_once(project_folder: Write) -> None:
    folder = project_folder("""
[load]
dedupe_window = "10 days"
[retention]
archive = "1 year"
rows = "2 years"
[retention.tables."web.*"]
rows = "9 days"
[retention.tables."web.event"]
archive = "9 days"
[retention.tables."shop.item"]
archive = "30 days"
""")
    found = {mistake.key: mistake.message for mistake in find_mistakes(folder)}
    assert found == {
        "retention.archive": "the archive is kept 365 days, and rows 730 days: a restore would lose some",
        'retention.tables."web.*".rows': (
            "must not be shorter than `load.dedupe_window`: else a client's retry is a row once more"
        ),
        'retention.tables."web.event".archive': (
            "must not be shorter than `load.dedupe_window`: else a client's retry is a row once more"
        ),
        'retention.tables."shop.item".archive': (
            "the archive is kept 30 days, and rows 730 days: a restore would lose some"
        ),
    }


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ('[retention]\nledger = "1 hour"', "must be at least 1 day"),
        ('[retention]\nrows = "for good"', "must be a duration"),
        ('[retention.tables."catchment.corrections"]\nrows = "1 year"', "Catchment's own tables are kept"),
        ('[load]\ndedupe_window = "forever"', "must be a duration"),
    ],
)
def test_a_setting_that_cannot_be(project_folder: Write, setting: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_project(project_folder(setting), environment={})


def test_editors_know_forever() -> None:
    rows = project_schema()["properties"]["retention"]["properties"]["rows"]
    assert {"const": "forever"} in rows["anyOf"]


# ---- what holds, whatever the settings say --------------------------------------------------------------


def retention(**settings: timedelta) -> Retention:
    tables = {"shop.orders": TableRetentionConfig(rows=settings["own_rows"])} if "own_rows" in settings else {}
    return Retention(RetentionConfig(**{k: v for k, v in settings.items() if k != "own_rows"}, tables=tables))


def test_rows_of_a_mirrored_table_go_only_where_it_is_named() -> None:
    general = retention(rows=30 * DAY)
    assert general.rows_from("shop.orders", NOW, is_keyed=False) == NOW - 30 * DAY
    assert general.rows_from("shop.orders", NOW, is_keyed=True) == ALWAYS
    assert retention(own_rows=30 * DAY).rows_from("shop.orders", NOW, is_keyed=True) == NOW - 30 * DAY


def test_the_archive_of_events_is_never_shorter_than_their_rows() -> None:
    """A mirrored table's keeps the newest versions, and so may be."""
    short = retention(archive=30 * DAY)
    assert short.archive_from("shop.orders", NOW, is_keyed=False) == ALWAYS
    assert short.archive_from("shop.orders", NOW, is_keyed=True) == NOW - 30 * DAY
    both = retention(archive=30 * DAY, rows=20 * DAY)
    assert both.archive_from("shop.orders", NOW, is_keyed=False) == NOW - 30 * DAY


def test_the_archive_is_not_shorter_than_rows_that_lie_among_others() -> None:
    others = {"shop.other_events": TableRetentionConfig(archive=60 * DAY, rows=60 * DAY)}
    config = RetentionConfig(archive=30 * DAY, rows=20 * DAY, tables=others)
    assert Retention(config).archive_from("shop.orders", NOW, is_keyed=False) == NOW - 60 * DAY


@pytest.mark.parametrize(
    ("settings", "days"),
    [
        ({"dead_letters": 90 * DAY}, 90),
        ({"dead_letters": 90 * DAY, "rows": 30 * DAY}, 30),
        ({"archive": 60 * DAY}, 60),
    ],
)
def test_dead_letters_are_not_kept_longer_than_rows_and_archive(settings: dict[str, timedelta], days: int) -> None:
    assert retention(**settings).letters_from("shop.orders", NOW) == NOW - days * DAY
    assert retention(**settings).latest_letters_from(NOW) == NOW - days * DAY


def test_our_own_tables_are_kept_as_long_as_any_needs_them() -> None:
    config = RetentionConfig(
        archive=60 * DAY, rows=30 * DAY, tables={"shop.item": TableRetentionConfig(archive=90 * DAY, rows=70 * DAY)}
    )
    kept = Retention(config)
    assert kept.archive_from(DEAD_LETTERS, NOW, is_keyed=False) == NOW - 90 * DAY
    assert kept.rows_from(DEAD_LETTERS, NOW, is_keyed=False) == NOW - 70 * DAY
    assert kept.archive_from(CORRECTIONS, NOW, is_keyed=False) == ALWAYS
    assert kept.rows_from(CORRECTIONS, NOW, is_keyed=False) == ALWAYS
