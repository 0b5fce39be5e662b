"""A table of which too much is rejected halts, loudly, and alone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from catchment.load.config import LoadConfig, TableLoadConfig
from catchment.load.halts import Halts
from catchment.service import Stop
from tests.load.loading import Rig, event, packed, stamped

BAD = b'{"a":1,"a":2}'
CONFIG = LoadConfig(min_rejected=10, max_rejected_share=0.5)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path, CONFIG)
    made.now = datetime.now(UTC) - timedelta(minutes=10)
    yield made
    made.close()


def put(rig: Rig, name: str, good: int, bad: int, table: str = "web.event"):  # type: ignore[no-untyped-def]
    lines = [stamped(f"{name}-g{at}", b'{"a":1}', table=table) for at in range(good)]
    return rig.put(packed(*lines, *[stamped(f"{name}-b{at}", BAD, table=table) for at in range(bad)]))


def file(rig: Rig, name: str, good: int, bad: int, table: str = "web.event") -> int | None:
    """Rows inserted; None where nothing was loaded."""
    loaded = rig.loader.load(put(rig, name, good, bad, table))
    return loaded[0].inserted if loaded else None


@pytest.mark.parametrize(
    ("good", "bad", "loads"), [(0, 9, True), (10, 10, True), (9, 10, False), (100, 99, True), (100, 101, False)]
)
def test_it_halts_past_the_share(rig: Rig, good: int, bad: int, loads: bool) -> None:
    assert (file(rig, "x", good, bad) is not None) is loads
    assert [halt.table for halt in rig.halts.halted()] == ([] if loads else ["web.event"])


def test_nothing_of_the_batch_that_halts_is_loaded_or_buried(rig: Rig) -> None:
    assert file(rig, "x", 5, 50) is None
    assert rig.ask("SELECT count(*) FROM catchment.dead_letters") == [(0,)]
    [halt] = rig.warehouse.halts()
    assert halt.reason.startswith("50 of its last 55 records were rejected, such as: duplicate-key")


def test_the_share_is_of_lately_and_not_of_one_batch(rig: Rig) -> None:
    assert file(rig, "a", 100, 5) == 100
    assert file(rig, "b", 0, 60) == 0
    assert file(rig, "c", 0, 60) is None


def test_a_halted_table_waits_and_others_go_on(rig: Rig) -> None:
    assert file(rig, "x", 0, 50) is None
    assert file(rig, "y", 10, 0) is None
    assert file(rig, "z", 10, 0, "web.other") == 10
    assert rig.swept() == 0


def test_a_halt_survives_a_restart(rig: Rig) -> None:
    file(rig, "x", 0, 50)
    again = Halts(rig.warehouse, CONFIG)
    assert not again.holds("web.event")
    again.refresh()
    assert again.holds("web.event")


def test_once_resumed_what_was_archived_before_passes_whatever_its_share(rig: Rig) -> None:
    file(rig, "x", 1, 50)
    file(rig, "y", 1, 50)
    rig.warehouse.resume("web.event")
    rig.halts.refresh()
    assert rig.swept() == 2
    assert rig.ask("SELECT count(*) FROM catchment.dead_letters") == [(100,)]


def test_what_passed_so_does_not_halt_the_table_again(rig: Rig) -> None:
    file(rig, "x", 1, 300)
    rig.warehouse.resume("web.event")
    rig.halts.refresh()
    rig.swept()
    rig.now = datetime.now(UTC) + timedelta(minutes=1)
    assert file(rig, "after", 100, 2) == 100
    assert rig.halts.halted() == []


def test_what_is_archived_after_the_resumption_may_halt_again(rig: Rig) -> None:
    file(rig, "x", 0, 50)
    rig.warehouse.resume("web.event")
    rig.halts.refresh()
    rig.now = datetime.now(UTC) + timedelta(minutes=1)
    assert file(rig, "after", 0, 50) is None
    assert rig.halts.holds("web.event")


def test_a_table_has_limits_of_its_own(tmp_path: Path) -> None:
    config = LoadConfig(min_rejected=10, tables={"web.patient": TableLoadConfig(max_rejected_share=1.0)})
    rig = Rig(tmp_path, config)
    try:
        assert file(rig, "x", 0, 50, "web.patient") == 0
        assert file(rig, "x", 0, 50, "web.event") is None
    finally:
        rig.close()


def test_long_ago_is_forgotten(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catchment.load.halts._FORGET_AFTER_RECORDS", 200)
    for at in range(10):
        file(rig, f"good{at}", 100, 0)
    assert file(rig, "bad1", 0, 100) == 0
    assert file(rig, "bad2", 0, 150) is None


def test_rewritten_files_pass_since_they_were_judged(rig: Rig) -> None:
    """As when everything is restored from the archive into a warehouse that knows of no resumption."""
    from catchment.load.rewrite import rewrite

    file(rig, "x", 1, 50)
    rig.warehouse.resume("web.event")
    rig.halts.refresh()
    rig.swept()
    list(rewrite(rig.archive, rig.warehouse, now=rig.now + timedelta(days=2), age=timedelta(hours=1)))
    cursor = rig.warehouse._new_cursor()
    for table in ("web.event", "catchment.ledger", "catchment.halts", "catchment.dead_letters"):
        cursor.execute(f"DELETE FROM {table}")
    rig.sweep._done.clear()
    rig.halts.refresh()
    assert rig.sweep.everything(Stop()) == 1
    assert rig.ask("SELECT count(*) FROM catchment.dead_letters") == [(50,)]
    assert rig.halts.halted() == []


def test_a_batch_that_the_bisection_finds_bad_halts_too(rig: Rig) -> None:
    rig.file(event("0", a=1))
    from tests.load.test_loader import Grumpy, loader_on

    lines = [stamped(str(at), b'{"a":1,"s":"poison"}') for at in range(30)]
    assert loader_on(rig, Grumpy(rig, b"poison")).load(rig.put(packed(*lines))) == []
    assert rig.halts.holds("web.event")
