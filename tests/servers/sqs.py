"""Moto's server as one that speaks as SQS does. It takes stale receipts, and counts no attributes in a size."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any

from catchment.queues.sqs_config import SqsConfig
from tests.servers import moto
from tests.servers.moto import KEY, REGION, SECRET

_numbers = itertools.count()


class Server(moto.Moto):
    """A server that runs."""

    def client(self) -> Any:
        """Amazon's own client, which knows nothing of ours."""
        return self.client_of("sqs")

    def make_queue(self, *, fifo: bool = False) -> str:
        """A queue's address."""
        name = f"acme-{next(_numbers)}{'.fifo' if fifo else ''}"
        attributes = {"FifoQueue": "true"} if fifo else {}
        url: str = self.client().create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        return url

    def config(self, *, fifo: bool = False, **more: Any) -> SqsConfig:
        """A fresh queue's."""
        settings: dict[str, Any] = {"access_key_id": KEY, "secret_access_key": SECRET, "region": REGION, **more}
        settings.setdefault("queue_url", self.make_queue(fifo=fifo))
        return SqsConfig(endpoint=self.endpoint, **settings)


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    """A server of its own."""
    with moto.serving() as started:
        yield Server(started.port, started.process)
