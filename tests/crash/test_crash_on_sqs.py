"""Exactly once with a queue on SQS, as far as moto's server goes."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import pytest

from tests.crash.brokers import sqs_settings
from tests.crash.test_crash import Plan, check_all, crash
from tests.servers.sqs import Server


def test_publishers_and_loader_are_killed_and_nothing_is_lost_or_doubled(sqs_server: Server, tmp_path: Path) -> None:
    plan = Plan(random.randrange(10**6), 800, warehouse=1, supervisor=0, publishers=1)
    left = crash(tmp_path, plan, sqs_settings(sqs_server.config()))
    with contextlib.closing(left.running):
        assert sum(left.kills.values()) >= 1
        check_all(left, knows_resent=False)  # so little traffic may have no message that is no record


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(3))
def test_many_kills(sqs_server: Server, tmp_path: Path, seed: int) -> None:
    left = crash(
        tmp_path, Plan(seed, 8_000, warehouse=5, supervisor=3, publishers=4), sqs_settings(sqs_server.config())
    )
    with contextlib.closing(left.running):
        check_all(left)
