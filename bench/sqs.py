"""Packs through what speaks as SQS does, beside bare boto3 with the same packs and as many requests at a time."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from tests.servers.moto import KEY, REGION, SECRET

from bench.measure import ROOT, Check, progress, result
from bench.queue import event_lines
from catchment import pack
from catchment.queues.sqs import SqsQueue
from catchment.queues.sqs_config import SqsConfig

ROUNDS = 9
PACKS = 600
PACK_RECORDS = 300
CONNECTIONS = 8
RECEIVE_BYTES = 4_000_000


def run() -> dict[str, Any]:
    """The shares of the bare client's speed."""
    packs = [pack.build("bench.events", event_lines(PACK_RECORDS, seed)) for seed in range(20)] * (PACKS // 20)
    size_bytes = round(statistics.mean(map(len, packs)))
    shares: dict[str, list[float]] = {"published": [], "received": []}
    ours_s: list[float] = []
    with sink(size_bytes) as config:
        bare = _Bare(config)
        with closing(SqsQueue(config, Path())) as queue:
            for number in range(ROUNDS):
                ours_s.append(_timed(lambda: queue.publish(packs)))
                shares["published"].append(_timed(lambda: bare.send(packs)) / ours_s[-1])
                ours = _timed(lambda: _receive(queue, size_bytes))
                shares["received"].append(_timed(bare.receive) / ours)
                progress(
                    f"round {number + 1} of {ROUNDS}: { ({name: round(x[-1], 2) for name, x in shares.items()}) }"
                )
    published, received = (statistics.median(shares[name]) for name in ("published", "received"))
    return result(
        [
            Check("share_of_bare_send", published, must=0.72, goal=0.9, at_least=True),
            Check("share_of_bare_receive", received, must=0.72, goal=0.9, at_least=True),
        ],
        "boto3 alone: batches of ten, eight requests at a time; receiving and deleting; the same packs and server",
        pack_bytes=size_bytes,
        records_published_per_s=round(len(packs) * PACK_RECORDS / statistics.median(ours_s)),
        rounds=ROUNDS,
    )


def _timed(work: Any) -> float:
    began_s = time.perf_counter()
    work()
    return time.perf_counter() - began_s


def _receive(queue: SqsQueue, size_bytes: int) -> None:
    """As many packs as a round publishes, and their acknowledgement."""
    held = []
    came = 0
    while came < PACKS:
        delivery = queue.receive(min(RECEIVE_BYTES, (PACKS - came) * size_bytes), 1.0)
        assert delivery is not None
        held.append(delivery)
        came += len(delivery.messages)
    queue.ack(held)


class _Bare:
    """What one would write with boto3 for the same work."""

    def __init__(self, config: SqsConfig) -> None:
        self._url = config.queue_url
        self._pool = ThreadPoolExecutor(CONNECTIONS)
        self._client = boto3.client(
            "sqs", region_name="us-east-1", endpoint_url=config.endpoint, aws_access_key_id="key",
            aws_secret_access_key="secret",
            config=Config(max_pool_connections=CONNECTIONS + 2, parameter_validation=False),
        )  # fmt: skip

    def send(self, packs: list[bytes]) -> None:
        batches = [packs[start : start + 10] for start in range(0, len(packs), 10)]
        for answer in self._pool.map(self._send, batches):
            assert not answer.get("Failed")

    def _send(self, batch: list[bytes]) -> dict[str, Any]:
        entries = [
            {
                "Id": str(at),
                "MessageBody": "x",
                "MessageAttributes": {"catchment": {"DataType": "Binary", "BinaryValue": body}},
            }
            for at, body in enumerate(batch)
        ]
        answer: dict[str, Any] = self._client.send_message_batch(QueueUrl=self._url, Entries=entries)
        return answer

    def receive(self) -> None:
        """What is not deleted is held, as whoever archives it must."""
        held: list[tuple[str, bytes]] = []
        for some in self._pool.map(self._receive, range(PACKS // 10)):
            held += some
        handles = [handle for handle, _ in held]
        batches = [handles[start : start + 10] for start in range(0, len(handles), 10)]
        for answer in self._pool.map(self._delete, batches):
            assert not answer.get("Failed")

    def _receive(self, _: int) -> list[tuple[str, bytes]]:
        answer = self._client.receive_message(
            QueueUrl=self._url, MaxNumberOfMessages=10, MessageAttributeNames=["catchment"],
            MessageSystemAttributeNames=["SentTimestamp"],
        )  # fmt: skip
        return [
            (message["ReceiptHandle"], message["MessageAttributes"]["catchment"]["BinaryValue"])
            for message in answer["Messages"]
        ]

    def _delete(self, handles: list[str]) -> dict[str, Any]:
        entries = [{"Id": str(at), "ReceiptHandle": handle} for at, handle in enumerate(handles)]
        answer: dict[str, Any] = self._client.delete_message_batch(QueueUrl=self._url, Entries=entries)
        return answer


@contextmanager
def sink(*size_bytes: int) -> Iterator[SqsConfig]:
    """A queue of `sqs_sink`."""
    command = [sys.executable, "-m", "bench.sqs_sink", *map(str, size_bytes)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        endpoint = f"http://127.0.0.1:{int(process.stdout.readline())}"
        yield SqsConfig(
            queue_url=f"{endpoint}/1/bench", endpoint=endpoint, region=REGION, access_key_id=KEY,
            secret_access_key=SECRET, connections=CONNECTIONS,
        )  # fmt: skip
    finally:
        process.kill()
        process.wait()
