"""SQS keeps what every queue promises: the conformance suite, and what only SQS can do wrong."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from tests.servers.sqs import Server, serving

from catchment.queues.sqs import SqsQueue
from catchment.testing.queues import Factory, QueueConformance


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as started:
        yield started


class TestSqsQueue(QueueConformance):
    keeps_order = False
    takes_empty = False
    max_message_bytes = 1_000_000

    @pytest.fixture
    def factory(self, server: Server, tmp_path: Path, request: pytest.FixtureRequest) -> Factory:
        visibility_s = 8 if "killed_consumer" in request.node.name else 120
        return partial(SqsQueue, server.config(visibility_s=visibility_s), tmp_path)
