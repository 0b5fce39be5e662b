"""Exactly once with a queue on a real Kafka broker, which is killed as well."""

from __future__ import annotations

import contextlib
import random
import time
from pathlib import Path

import pytest

from tests.crash.brokers import kafka_settings
from tests.crash.running import Running
from tests.crash.test_crash import Crashed, Plan, check_all, crash
from tests.servers import kafka
from tests.servers.kafka import Broker


def crashed(broker: Broker, folder: Path, plan: Plan) -> Crashed:
    rng = random.Random(plan.seed)

    def kill(running: Running) -> int:
        del running
        broker.kill()
        time.sleep(rng.uniform(0, 2))
        broker.start_broker()
        return 0

    return crash(folder, plan, kafka_settings(broker.config()), kill)


def check(left: Crashed) -> None:
    # Brokers of these days know what a client sends once more, the one of the tests does not.
    check_all(left, knows_resent=False)


def test_publishers_loader_and_broker_are_killed_and_nothing_is_lost_or_doubled(
    kafka_broker: Broker, tmp_path: Path
) -> None:
    plan = Plan(random.randrange(10**6), 3_000, warehouse=2, supervisor=1, publishers=1, broker=2)
    left = crashed(kafka_broker, tmp_path, plan)
    with contextlib.closing(left.running):
        assert left.kills["broker"] == 2
        check(left)


def test_a_network_that_is_cut_while_records_flow_loses_and_doubles_nothing(tmp_path: Path) -> None:
    seed = random.randrange(10**6)
    rng = random.Random(seed)
    with kafka.running(behind_a_network=True) as broker:

        def cut(running: Running) -> int:
            del running
            assert broker.network is not None
            broker.network.cut_for_a_while(rng)
            return 0

        plan = Plan(seed, 3_000, warehouse=1, supervisor=0, publishers=1, broker=5)
        left = crash(tmp_path, plan, kafka_settings(broker.config()), cut)
        with contextlib.closing(left.running):
            assert left.kills["broker"] == 5
            check(left)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(3))
def test_many_kills(kafka_broker: Broker, tmp_path: Path, seed: int) -> None:
    plan = Plan(seed, 40_000, warehouse=10, supervisor=4, publishers=6, broker=8)
    left = crashed(kafka_broker, tmp_path, plan)
    with contextlib.closing(left.running):
        check(left)
