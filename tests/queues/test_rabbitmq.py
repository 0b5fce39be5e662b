"""RabbitMQ keeps what every queue promises."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from tests.servers.rabbitmq import RabbitServer

from catchment.queues.rabbitmq import RabbitMQQueue
from catchment.testing.queues import Factory, QueueConformance


class TestRabbitMQQueue(QueueConformance):
    @pytest.fixture
    def factory(self, rabbit_server: RabbitServer, tmp_path: Path) -> Iterator[Factory]:
        config = rabbit_server.new_config()
        yield partial(RabbitMQQueue, config, tmp_path)
        rabbit_server.drop(config)
