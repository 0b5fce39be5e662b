"""Exactly once with a queue on SQS, as far as moto's server goes."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import pytest
from msgspec import structs

from tests.crash.brokers import sqs_settings
from tests.crash.running import Running
from tests.crash.test_crash import Plan, check_all, crash
from tests.servers.proxy import carrying
from tests.servers.sqs import Server


def test_publishers_and_loader_are_killed_and_nothing_is_lost_or_doubled(sqs_server: Server, tmp_path: Path) -> None:
    plan = Plan(random.randrange(10**6), 800, warehouse=1, supervisor=0, publishers=1)
    left = crash(tmp_path, plan, sqs_settings(sqs_server.config()))
    with contextlib.closing(left.running):
        assert sum(left.kills.values()) >= 1
        check_all(left, knows_resent=False)  # so little traffic may have no message that is no record


def test_a_network_that_is_cut_while_records_flow_loses_and_doubles_nothing(
    sqs_server: Server, tmp_path: Path
) -> None:
    seed = random.randrange(10**6)
    rng = random.Random(seed)
    with carrying(sqs_server.port) as network:

        def cut(running: Running) -> int:
            del running
            network.cut_for_a_while(rng)
            return 0

        config = structs.replace(sqs_server.config(), endpoint=f"http://127.0.0.1:{network.port}")
        plan = Plan(seed, 800, warehouse=1, supervisor=0, publishers=1, broker=5)
        left = crash(tmp_path, plan, sqs_settings(config), cut)
        with contextlib.closing(left.running):
            assert left.kills["broker"] == 5
            check_all(left, knows_resent=False)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(3))
def test_many_kills(sqs_server: Server, tmp_path: Path, seed: int) -> None:
    left = crash(
        tmp_path, Plan(seed, 8_000, warehouse=5, supervisor=3, publishers=4), sqs_settings(sqs_server.config())
    )
    with contextlib.closing(left.running):
        check_all(left)
