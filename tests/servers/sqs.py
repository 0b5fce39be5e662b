"""Moto's server as one that speaks as SQS does. It takes stale receipts, and counts no attributes in a size."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

from catchment.queues.sqs_config import SqsConfig
from tests.servers import moto
from tests.servers.loopback import JsonHandler, answering_with
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


Answer = Callable[[str, dict[str, Any]], tuple[int, dict[str, Any]]]
"""Operation and request → status and answer."""


@contextlib.contextmanager
def answering(answer: Answer) -> Iterator[SqsConfig]:
    """A queue of which each request is answered so: what moto never says. Its configuration."""

    class Handler(JsonHandler):
        def do_POST(self) -> None:  # noqa: N802 (its name in the base class)
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, said = answer(self.headers["X-Amz-Target"].rpartition(".")[2], request)
            self.say(status, said, "application/x-amz-json-1.0")

    with answering_with(Handler) as endpoint:
        yield SqsConfig(
            queue_url=f"{endpoint}/1/acme", endpoint=endpoint, region=REGION, access_key_id=KEY,
            secret_access_key=SECRET, publish_timeout_s=1.0,
        )  # fmt: skip


def taken(request: dict[str, Any], *failing: tuple[str, str, bool]) -> tuple[int, dict[str, Any]]:
    """The answer to a batch of which entries fail: each with its id, a code, and whether the sender is to blame."""
    failed = {identity for identity, _, _ in failing}
    good = [{"Id": each["Id"], "MessageId": each["Id"]} for each in request["Entries"] if each["Id"] not in failed]
    bad = [{"Id": identity, "Code": code, "SenderFault": fault} for identity, code, fault in failing]
    return 200, {"Successful": good, "Failed": bad}
