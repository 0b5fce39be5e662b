"""What tests of several folders share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers import kafka, postgres, rabbitmq, sqs


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.PostgresServer]:
    """One PostgreSQL for all tests of a run; each makes databases of its own in it."""
    with postgres.running() as server:
        yield server


@pytest.fixture(scope="session")
def rabbit_server() -> Iterator[rabbitmq.RabbitServer]:
    """One RabbitMQ for all tests of a run; each has names of its own in it."""
    with rabbitmq.running() as server:
        yield server


@pytest.fixture(scope="session")
def kafka_broker() -> Iterator[kafka.Broker]:
    """One real broker for all tests of a run; each makes topics of its own."""
    with kafka.running() as broker:
        yield broker


@pytest.fixture(scope="session")
def sqs_server() -> Iterator[sqs.Server]:
    """One server for all tests of a run; each makes queues of its own."""
    with sqs.serving() as server:
        yield server
