"""Projects whose queue is on Kafka or SQS, with everything in processes of its own, as people would use them."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from catchment import pack, presence
from catchment.config import load_project
from catchment.record import Record, Stamp
from tests.cli.live import CATCHMENT, Live, until
from tests.crash.brokers import kafka_settings, sqs_settings
from tests.missing import without
from tests.servers.kafka import MockCluster, mocking
from tests.servers.sqs import Server

COLLECT = """
[load]
max_age_s = 0.2
[collect]
listen = "127.0.0.1:0"
[collect.sources.shop]
write_key = "shop-key-of-the-tests"
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[MockCluster]:
    with mocking() as started:
        yield started


def messages_with_kcat(cluster: MockCluster, topic: str, texts: list[str]) -> None:
    kcat = shutil.which("kcat")
    if kcat is None:
        without("kcat is not installed (tests/system_packages.sh brings it)")
    for text in texts:
        # Its delimiter ends a message: one that no text has.
        command = [kcat, "-P", "-b", cluster.brokers, "-t", topic, "-D", "\\x01"]
        subprocess.run(command, input=text.encode(), check=True, timeout=60)


OTHERS = [
    '{"table":"shop.orders","id":"mine","data":{"total":1}}',
    '{"table":"shop.orders","data":{"total":2}}',
    '{"table":"shop.orders","data":{"total":3}}\n{"table":"shop.orders","data":{"total":4}}',
    "no record at all",
]


def loaded_with_others(
    folder: Path, settings: str, publish: Callable[[list[str]], None]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], str]:
    """What is loaded of other people's messages and one pack of ours, the dead letters, and what `doctor` says."""
    live = Live(folder, COLLECT + settings)
    try:
        publish(OTHERS)
        line = Stamp(datetime.now(UTC), "web").line(Record("shop.orders", msgspec.Raw(b'{"total":5}'), "packed"))
        with contextlib.closing(load_project(folder, None).queue.open()) as queue:
            queue.publish(pack.messages_of([line]))
        assert live.run("validate").code == 0
        live.up()
        until(lambda: live.status()["queue"]["messages"] == 0, "an empty queue")
        until(lambda: live.status()["unloaded_batches"] == 0, "everything to be loaded")
        found = live.rows("SELECT total, _id, CAST(_received_at AS TEXT) AS at FROM shop.orders ORDER BY total")
        letters, doctor = live.letters(), live.run("doctor").out
        assert live.down() == 0
    finally:
        live.close()
    assert [row["total"] for row in found] == [1, 2, 3, 4, 5]
    assert (found[0]["_id"], found[4]["_id"]) == ("mine", "packed")
    assert found[1]["_id"].endswith("/0")
    assert found[3]["_id"] == found[2]["_id"].removesuffix("0") + "1"
    assert [letter["reason"] for letter in letters] == ["not-json"]
    return found, letters, doctor


def test_what_kcat_publishes_becomes_rows_beside_packs(cluster: MockCluster, tmp_path: Path) -> None:
    config = cluster.config(partitions=2)
    found, _, doctor = loaded_with_others(
        tmp_path / "shop",
        kafka_settings(config),
        lambda texts: messages_with_kcat(cluster, config.topic, texts),
    )
    topic, partition, offset, _ = found[1]["_id"].split("/")
    assert topic == config.topic
    assert int(partition) in {0, 1}
    assert int(offset) >= 0
    assert f"{config.topic} has 2 partitions" in doctor


def test_what_amazons_client_sends_becomes_rows_beside_packs(sqs_server: Server, tmp_path: Path) -> None:
    config = sqs_server.config()
    client = sqs_server.client()
    sent: list[str] = []

    def publish(texts: list[str]) -> None:
        for text in texts:
            sent.append(client.send_message(QueueUrl=config.queue_url, MessageBody=text)["MessageId"])

    before = datetime.now(UTC) - timedelta(seconds=5)
    found, _, doctor = loaded_with_others(tmp_path / "shop", sqs_settings(config), publish)
    client.close()
    assert [row["_id"] for row in found[1:4]] == [f"{sent[1]}/0", f"{sent[2]}/0", f"{sent[2]}/1"]
    assert all(datetime.fromisoformat(row["at"]) >= before for row in found[:4])
    assert f"{config.queue_url} answers" in doctor


@pytest.mark.parametrize("kind", ["kafka", "sqs"])
def test_collector_and_loader_are_processes_of_their_own(
    cluster: MockCluster, sqs_server: Server, tmp_path: Path, kind: str
) -> None:
    """As in production: `run collect` and `run load`, with nothing but the queue between them."""
    settings = kafka_settings(cluster.config(partitions=2)) if kind == "kafka" else sqs_settings(sqs_server.config())
    live = Live(tmp_path / "shop", COLLECT + settings)
    with contextlib.ExitStack() as running:
        for service in ("collect", "load"):
            running.enter_context(_running(live.folder, service))
        address = until(lambda: _address(live, "collect"), "the collector")
        live.ready()
        for number in range(20):
            event = {"event": "Order Placed", "userId": f"u{number}", "properties": {"number": number}}
            request = urllib.request.Request(
                f"{address}/v1/track",
                json.dumps(event).encode(),
                {"X-Write-Key": "shop-key-of-the-tests", "Content-Type": "application/json"},
            )
            with urllib.request.urlopen(request, timeout=60) as answer:
                assert answer.status == 200
        until(lambda: _count(live) == 20, "20 rows")
        until(lambda: live.status()["queue"]["messages"] == 0, "an empty queue")


def _count(live: Live) -> int:
    asked = live.run("query", "--format", "json", "SELECT count(*) AS n FROM shop.order_placed")
    return json.loads(asked.out)[0]["n"] if asked.code == 0 else 0


def _address(live: Live, service: str) -> str | None:
    state = presence.service(live.runtime, service)
    return state.address if state is not None and state.state == "ready" else None


@contextlib.contextmanager
def _running(folder: Path, service: str) -> Iterator[None]:
    """`catchment run`, which must end in order."""
    said = (folder.parent / f"{service}.said").open("wb")
    process = subprocess.Popen(
        [*CATCHMENT, "run", service, "-p", str(folder)], stdin=subprocess.DEVNULL, stdout=said, stderr=said
    )
    said.close()
    try:
        yield
        process.terminate()
        assert process.wait(60) == 0, (folder.parent / f"{service}.said").read_text()
    finally:
        process.kill()
        process.wait()
