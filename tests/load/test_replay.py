"""Replay: rows that the archive has and the table lacks, and nothing else."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from catchment.errors import UsageError
from catchment.load.replay import Replayed, replay
from catchment.load.rewrite import rewrite
from tests.load.loading import T0, Rig, event, packed, stamped


def run(rig: Rig, table: str = "web.event", **span: float) -> Replayed:
    moments = {name: T0 + timedelta(seconds=seconds) for name, seconds in span.items()}
    return replay(rig.loader, rig.archive, table, since=moments.get("since"), until=moments.get("until"))


def lose(rig: Rig, condition: str) -> None:
    rig.warehouse._new_cursor().execute(f"DELETE FROM web.event WHERE {condition}")


@pytest.mark.parametrize("count", [5, 200])
@pytest.mark.parametrize("rewritten", [False, True])
def test_missing_rows_come_back_and_others_are_not_doubled(rig: Rig, count: int, rewritten: bool) -> None:
    rig.loader.load(rig.put(packed(*[stamped(str(at), b'{"a":1}') for at in range(count)])))
    rig.file(event("other", "web.other", a=1))
    if rewritten:
        list(rewrite(rig.archive, rig.warehouse, now=rig.now + timedelta(days=2), age=timedelta(hours=1)))
    lose(rig, "_id IN ('1', '3')")
    done = run(rig)
    assert (done.inserted, done.records, done.damaged) == (2, count, 0)
    assert rig.ask("SELECT count(*), count(DISTINCT _id) FROM web.event") == [(count, count)]
    assert run(rig).inserted == 0
    assert rig.ask("SELECT count(*) FROM catchment.ledger WHERE table_name = 'web.event'")[0][0] in {1, 2}


def test_files_of_other_times_are_left_alone(rig: Rig) -> None:
    for at in range(4):
        rig.loader.load(rig.put(packed(stamped(str(at), b'{"a":1}', at_s=100 * at))))
    lose(rig, "true")
    assert run(rig, since=100, until=300).inserted == 2
    assert rig.ask("SELECT _id FROM web.event ORDER BY 1") == [("1",), ("2",)]


@pytest.mark.parametrize("count", [1, 100])
def test_early_is_believed_only_where_the_row_is_there(rig: Rig, count: int) -> None:
    rig.loader.load(rig.put(packed(*[stamped(str(at), b'{"a":1}', age_s=-60) for at in range(count)])))
    assert rig.ask("SELECT count(*) FROM catchment.early") == [(count,)]
    lose(rig, "_id = '0'")
    assert run(rig).inserted == 1
    assert run(rig).inserted == 0


def test_what_was_deleted_stays_deleted(rig: Rig) -> None:
    keyed = {"table": "crm.users", "source": "crm", "key": ["k"], "data": {"k": 1}}
    rig.file({**keyed, "id": "1", "op": "upsert", "version": "1"})
    rig.file({**keyed, "id": "2", "op": "delete", "version": "2"})
    rig.file({**keyed, "id": "3", "op": "upsert", "version": "1", "data": {"k": 2}})
    assert run(rig, "crm.users").inserted == 0
    assert rig.ask("SELECT k FROM crm.users") == [(2,)]


def test_dead_letters_are_not_doubled(rig: Rig) -> None:
    rig.loader.load(rig.put(packed(stamped("1", b'{"a":1,"a":1}'), stamped("2", b'{"a":1}'))))
    lose(rig, "true")
    assert run(rig).inserted == 1
    assert rig.ask("SELECT count(*) FROM catchment.dead_letters") == [(1,)]


def test_a_damaged_file_is_counted_and_left_out(rig: Rig) -> None:
    names = [rig.put(packed(stamped(str(at), b'{"a":1}')))[0].name for at in range(2)]
    path = Path(rig.archive.url(names[0]))
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-4])
    done = run(rig)
    assert (done.inserted, done.damaged) == (1, 1)


def test_a_halted_table_is_not_replayed_behind_its_back(rig: Rig) -> None:
    rig.file(event("1", a=1))
    rig.warehouse.halt("web.event", "test")
    with pytest.raises(UsageError, match="has halted"):
        run(rig)
    rig.warehouse.resume("web.event")
    assert run(rig).inserted == 0


def test_much_is_replayed_a_chunk_at_a_time(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catchment.load.replay.CHUNK_ROWS", 15)
    for at in range(5):
        rig.put(packed(*[stamped(f"{at}-{place}", b'{"a":1}') for place in range(10)]))
    seen: list[int] = []
    replay(
        rig.loader, rig.archive, "web.event", since=None, until=None, progress=lambda done: seen.append(done.inserted)
    )
    assert seen == [20, 40, 50]
