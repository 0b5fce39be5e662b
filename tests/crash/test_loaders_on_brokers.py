"""Several loaders as processes of their own on one broker and one PostgreSQL, of which now and then one is killed:
nothing is lost, nothing is doubled."""

from __future__ import annotations

import contextlib
import os
import random
import time
from pathlib import Path

import msgspec
import pytest

from catchment.cli.parts import is_all_loaded
from tests.crash.brokers import KINDS, Broker, serving
from tests.crash.running import until
from tests.crash.test_points import PATIENCE_S
from tests.crash.test_postgres import EVENTS, Fleet
from tests.servers.postgres import PostgresServer

SINGLES = 3


def single_records(fleet: Fleet, step: int) -> list[bytes]:
    """Some as another service publishes them, one a message."""
    table = f"{EVENTS}0"
    bodies = []
    for at in range(SINGLES):
        identity = f"single-{step}-{at}"
        data = {"n": -step * SINGLES - at}
        fleet.sent.setdefault(table, {})[identity] = data
        bodies.append(msgspec.json.encode({"table": table, "id": identity, "source": "fleet", "data": data}))
    return bodies


def run(fleet: Fleet, broker: Broker, *, steps: int, kills: int) -> None:
    """Publish while loaders come, are killed and come again; then count."""
    kill_at = set(fleet.rng.sample(range(steps // 4, steps), kills))
    for loader in fleet.loaders:
        loader.start()
    with contextlib.closing(fleet.loaders[0].project.queue.open()) as queue:
        for step in range(steps):
            queue.publish([fleet.new_message()] * fleet.rng.choice((1, 1, 2)))
            broker.publish(single_records(fleet, step))
            time.sleep(fleet.rng.uniform(0, 0.03))
            if step in kill_at:
                victim = fleet.rng.choice(fleet.loaders)
                victim.kill()
                victim.start()
    until(lambda: is_all_loaded(fleet.loaders[0].project), "everything to be loaded", PATIENCE_S * 2)
    fleet.close()
    fleet.count()


@pytest.mark.parametrize(
    ("kind", "loaders", "steps", "kills"),
    [
        ("rabbitmq", 2, 40, 1),
        ("rabbitmq", 4, 40, 2),
        ("kafka", 2, 40, 1),
        ("kafka", 4, 40, 2),
        ("sqs", 2, 15, 1),
        pytest.param("sqs", 4, 60, 2, marks=pytest.mark.soak),
        *(pytest.param(kind, 8, 400, 12, marks=pytest.mark.soak) for kind in KINDS),
    ],
)
def test_every_record_is_there_once(
    request: pytest.FixtureRequest,
    postgres_server: PostgresServer,
    tmp_path: Path,
    kind: str,
    loaders: int,
    steps: int,
    kills: int,
) -> None:
    seed = int(os.environ.get("CATCHMENT_SEED", "0")) or random.randrange(10**6)
    with serving(kind, request) as broker:
        fleet = Fleet(tmp_path, postgres_server.emptied_database(), loaders, seed, broker.settings)
        with contextlib.closing(fleet):
            run(fleet, broker, steps=steps, kills=kills)
