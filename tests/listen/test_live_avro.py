"""Avro from a topic into DuckDB's columns, with a registry that is away at first."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from catchment import presence
from tests.cli.live import Live
from tests.listen.tapping import Topic, project_file, until
from tests.listen.test_schemas import ORDER, VALUE, avro
from tests.servers.kafka import MockCluster, mocking
from tests.servers.schemas import Registry, framed, registering


@pytest.fixture
def cluster() -> Iterator[MockCluster]:
    with mocking() as made:
        yield made


@pytest.fixture
def registry() -> Iterator[Registry]:
    with registering() as running:
        yield running


def readiness(live: Live) -> str:
    state = presence.service(live.runtime, "listen")
    if state is None or state.metrics_address is None:
        return ""
    try:
        with urllib.request.urlopen(f"{state.metrics_address}/readyz", timeout=30) as answer:
            text: str = answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            text = error.read().decode()
    except OSError:
        return ""
    return text


def test_avro_comes_into_columns_that_keep_it(cluster: MockCluster, registry: Registry, tmp_path: Path) -> None:
    topic = Topic(cluster.config())
    number = registry.add(ORDER)
    registry.failing = 503
    producer = topic.producer()
    for body in (framed(number, avro(ORDER, VALUE)), framed(99, b"x"), b'{"n": 5}', framed(number, b"\x01")):
        producer.produce(topic.config.topic, body)
    assert producer.flush(60) == 0
    live = Live(tmp_path / "acme", project_file(topic, f'registry = {{ url = "{registry.address}" }}\n', table="all"))
    try:
        live.up()
        until(lambda: "answers 503" in readiness(live), "the listener to wait for the registry")
        assert live.letters() == []
        assert live.status()["listeners"][0]["messages"] == 4
        registry.failing = 0
        until(lambda: len(live.letters()) == 2, "the dead letters")
        assert sorted(letter["reason"] for letter in live.letters()) == ["not-decodable", "unknown-schema"]
        rows = live.rows("SELECT * EXCLUDE (_loaded_at, _received_at, _batch) FROM chat.all ORDER BY n")
        assert [row["n"] for row in rows] == [5, 2**53 + 1]
        assert rows[1]["total"] == "12345678901234567890.1000"
        assert rows[1]["_rescued"] is None
        types = {
            row["column_name"]: row["data_type"]
            for row in live.rows(
                "SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = 'chat'"
            )
        }
        assert types["at"] == types["exactly_at"] == "TIMESTAMP WITH TIME ZONE"
        assert types["n"] == "BIGINT"
        assert types["total"] == types["id"] == types["day"] == types["local"] == "VARCHAR"
        assert types["tags"] == types["counts"] == "JSON"
        assert live.down() == 0
    finally:
        live.close()
