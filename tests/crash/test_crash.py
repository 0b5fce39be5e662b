"""Exactly once, through kill -9 of everything at random moments; and the warehouse again from the archive alone.

Four publishers send 20,000 records of 20 tables while publishers, the warehouse process and the supervisor are
killed; what was not confirmed is sent again. Then everything is counted. A seed fails or holds as it did before as
far as the traffic goes; the moments of the kills are the machine's.
"""

from __future__ import annotations

import base64
import contextlib
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from catchment.load.rewrite import rewrite
from catchment.record import DEAD_LETTERS
from catchment.testing.content import Identity, canonical, content, rows
from catchment.warehouses import Warehouse
from tests.crash.publisher import allow, allowed, confirmed, tried
from tests.crash.running import PATIENCE_S, Running, archived, make_project, now, opened_warehouse, until
from tests.crash.traffic import KEYED, TABLES, Sent, Shipment, Traffic

Contents = dict[str, dict[Identity, dict[str, Any]]]

SETTINGS = "[load]\nmax_age_s = 0.2\n"
PUBLISHERS = 4
OPENING = 400


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is sent, and how often who is killed."""

    seed: int
    records: int
    warehouse: int
    supervisor: int
    publishers: int
    broker: int = 0

    def victims(self, rng: random.Random) -> list[str]:
        victims = ["warehouse"] * self.warehouse + ["supervisor"] * self.supervisor + ["publisher"] * self.publishers
        victims += ["broker"] * self.broker
        rng.shuffle(victims)
        return victims


@dataclass(frozen=True, slots=True)
class Crashed:
    """What is left when it is over: a stopped project, and what was sent."""

    running: Running
    traffic: list[Traffic]
    kills: Counter[str]

    def shipments(self) -> Iterator[tuple[Traffic, Shipment]]:
        for each in self.traffic:
            for shipment in each.shipments():
                yield each, shipment

    def sent(self) -> Iterator[tuple[str, Sent]]:
        """Every record with its source."""
        for each, shipment in self.shipments():
            for sent in shipment.records:
                yield each.source, sent


def crash(
    folder: Path, plan: Plan, settings: str = "", kill_broker: Callable[[Running], int] = lambda _: 0
) -> Crashed:
    """Send everything, kill, wait until all is loaded, and stop."""
    print(f"seed {plan.seed}")
    rng = random.Random(plan.seed)
    running = Running(make_project(folder, SETTINGS + settings))
    began = now()
    # A table's key is that of the first record loaded, and kills change which that is: every table is there before.
    opening = Traffic(plan.seed, PUBLISHERS, OPENING, began, other_keys=False)
    traffic = [Traffic(plan.seed, number, plan.records // PUBLISHERS, began) for number in range(PUBLISHERS)]
    shipments = [len(each.shipments()) for each in traffic]
    kills: Counter[str] = Counter()
    try:
        running.start_up()
        running.publish([opening])
        _await_loaded(running)
        victims = plan.victims(rng)
        allow(running.folder, 0)
        running.publish(traffic)
        for number, victim in enumerate(victims, start=1):
            # However long a loader takes to come back: the publishers are at work while the next one is killed.
            allow(running.folder, (number + 1) / (len(victims) + 2))
            share = sum(allowed(each, number / (len(victims) + 2)) for each in shipments)
            until(lambda share=share: _confirmed(running) >= share, f"{share} of {sum(shipments)} shipments")  # type: ignore[misc]
            if victim == "broker":
                kills[victim] += 1
                kills["publisher"] += kill_broker(running)
            else:
                _kill(running, victim, rng)
                kills[victim] += 1
        allow(running.folder, 1)
        _await_loaded(running, max(PATIENCE_S, plan.records / 500))
        running.stop_up()
    except BaseException:
        print(running.said()[-8000:])
        running.close()
        raise
    return Crashed(running, [opening, *traffic], kills)


def _await_loaded(running: Running, patience_s: float = PATIENCE_S) -> None:
    until(lambda: not running.publishers(), "the publishers to end")
    until(running.is_loaded, "everything to be loaded", patience_s)


def _confirmed(running: Running) -> int:
    running.publishers()
    return sum(len(confirmed(running.folder, number).numbers()) for number in range(PUBLISHERS))


def _kill(running: Running, victim: str, rng: random.Random) -> None:
    match victim:
        case "publisher":
            return running.kill_publisher(rng.choice(running.publishers()))
        case "supervisor":
            return running.kill_supervisor()
    if rng.random() < 0.7:  # else wherever it is, on its way up
        until(running.is_ready, "the warehouse process")
    until(running.warehouse_process, "a warehouse process")
    time.sleep(rng.uniform(0, 0.4))
    return until(running.kill_warehouse_process, "a warehouse process")


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crashed]:
    seed = int(os.environ.get("CATCHMENT_SEED", "0")) or random.randrange(10**6)
    left = crash(tmp_path_factory.mktemp("crash"), Plan(seed, 20_000, warehouse=6, supervisor=3, publishers=4))
    yield left
    left.running.close()


@pytest.fixture(scope="module")
def contents(crashed: Crashed) -> Contents:
    """What every table says after the crashes."""
    with opened_warehouse(crashed.running.project) as warehouse:
        return all_contents(warehouse)


def all_contents(warehouse: Warehouse) -> Contents:
    """Every table by (source, id): fails where a row is there twice. Of dead letters without where they came from,
    which rewriting changes, and, of those with an id, which of their copies it was that was met first."""
    found = {table: content(warehouse, table) for table in (*TABLES, DEAD_LETTERS)}
    for letter in found[DEAD_LETTERS].values():
        for field in ("origin", *(["bytes"] if letter.get("record_id") else [])):
            del letter[field]
    return found


def expected(sent: Iterator[tuple[str, Sent]]) -> Contents:
    """What the tables must say: every record, and of keyed ones the highest version."""
    tables: Contents = {table: {} for table in TABLES}
    winners: dict[tuple[str, int], tuple[str, Sent]] = {}
    for source, each in sent:
        if each.dead:
            continue
        if each.table not in KEYED:
            tables[each.table][source, each.id] = as_content(each)
            continue
        key = each.table, each.data["k"]
        if key not in winners or (each.version, each.id) > (winners[key][1].version, winners[key][1].id):
            winners[key] = source, each
    for source, each in winners.values():
        if each.op == "upsert":
            tables[each.table][source, each.id] = as_content(each)
    return tables


def as_content(sent: Sent) -> dict[str, Any]:
    return {field: canonical(value) for field, value in sent.data.items() if value is not None}


def test_thirteen_were_killed_and_nobody_is_spared(crashed: Crashed) -> None:
    assert crashed.kills == {"warehouse": 6, "supervisor": 3, "publisher": 4}


def test_every_confirmed_record_is_in_its_table_exactly_once(crashed: Crashed, contents: Contents) -> None:
    assert_same({table: contents[table] for table in TABLES}, expected(crashed.sent()))


def assert_same(found: Contents, wanted: Contents) -> None:
    """Says which rows, rather than all of them."""
    assert found.keys() == wanted.keys()
    for table, there in wanted.items():
        here = found[table]
        assert sorted(there.keys() - here.keys()) == [], f"lost from {table}"
        assert sorted(here.keys() - there.keys()) == [], f"too much in {table}"
        assert {identity: row for identity, row in here.items() if row != there[identity]} == {}, f"changed in {table}"


def test_what_cannot_be_loaded_is_a_dead_letter_once(crashed: Crashed, contents: Contents) -> None:
    """By its source and id, however often it was sent."""
    wanted = Counter((sent.table, source, sent.id) for source, sent in crashed.sent() if sent.dead)
    letters = [letter for letter in contents[DEAD_LETTERS].values() if letter.get("table_name")]
    found = Counter((letter["table_name"], letter.get("record_source"), letter.get("record_id")) for letter in letters)
    assert wanted
    assert found == wanted


def test_a_message_without_an_identity_of_its_own_is_a_dead_letter_at_least_once(
    crashed: Crashed, contents: Contents
) -> None:
    """What is no record has no id: sent again, it is another message. But it never is more than was sent."""
    found = Counter(letter["bytes"] for letter in contents[DEAD_LETTERS].values() if not letter.get("table_name"))
    assert found
    for traffic, shipment in crashed.shipments():
        if shipment.garbage:
            times = tried(crashed.running.folder, traffic.publisher).numbers().count(shipment.number)
            assert 1 <= found.pop(base64.b64encode(shipment.garbage).decode(), 0) <= times
    assert found == {}


def test_every_record_is_in_the_archive(crashed: Crashed) -> None:
    found = set(archived(crashed.running.project.archive.open()))
    missing = [(source, sent.id) for source, sent in crashed.sent() if (sent.table, source, sent.id) not in found]
    assert missing == []


def test_no_crash_damaged_a_file(crashed: Crashed) -> None:
    runtime = crashed.running.project.runtime
    assert list(runtime.rglob("*damaged*")) == []
    assert list((runtime / "queue").rglob("*broken*/*")) == []


@pytest.mark.parametrize("rewritten", [False, True], ids=["as archived", "rewritten"])
def test_the_archive_brings_every_table_back(crashed: Crashed, contents: Contents, *, rewritten: bool) -> None:
    """Warehouse and whatever else lies in the project are gone; archive and queue are left."""
    project = crashed.running.project
    if rewritten:
        with opened_warehouse(project) as warehouse:
            archive = project.archive.open()
            removed = [done for done in rewrite(archive, warehouse, now=now() + timedelta(hours=3)) if done.removed]
        assert removed
    for path in project.runtime.iterdir():
        if path.name not in {"archive", "queue"}:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    command = [sys.executable, "-m", "catchment", "restore", "--from-archive", "-p", str(project.root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    with opened_warehouse(project) as warehouse:
        assert_same(all_contents(warehouse), contents)
        assert rows(warehouse, "SELECT count(*) > 0 FROM catchment.ledger") == [(True,)]


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(20))
def test_many_seeds(tmp_path: Path, seed: int) -> None:
    left = crash(tmp_path, Plan(seed, 20_000, warehouse=6, supervisor=3, publishers=4))
    with contextlib.closing(left.running):
        check_all(left)


@pytest.mark.soak
def test_half_a_million_records_and_sixty_kills(tmp_path: Path) -> None:
    left = crash(tmp_path, Plan(1, 500_000, warehouse=35, supervisor=15, publishers=20))
    with contextlib.closing(left.running):
        assert sum(left.kills.values()) >= 60
        check_all(left)


def check_all(left: Crashed, *, knows_resent: bool = True) -> None:
    """All of it. `knows_resent`: the queue knows a message that its client sends once more by itself."""
    with opened_warehouse(left.running.project) as warehouse:
        found = all_contents(warehouse)
    test_every_confirmed_record_is_in_its_table_exactly_once(left, found)
    test_what_cannot_be_loaded_is_a_dead_letter_once(left, found)
    if knows_resent:
        test_a_message_without_an_identity_of_its_own_is_a_dead_letter_at_least_once(left, found)
    test_every_record_is_in_the_archive(left)
    test_no_crash_damaged_a_file(left)
