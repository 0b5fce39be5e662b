"""200,000 records in packs of 300 from each broker into DuckDB, beside the same from the embedded queue."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.crash.brokers import kafka_settings, rabbitmq_settings, sqs_settings
from tests.servers import kafka, rabbitmq

from bench.load_duckdb import contender
from bench.measure import Check, Usage, best, interleaved, result, scratch
from bench.sqs import sink

ROUNDS = 5
NEEDED_BYTES = 6_000_000_000
MODULE = "bench.our_load"


def run() -> dict[str, Any]:
    """The share of the speed from the embedded queue, and of its CPU, by broker.

    Brokers and loader share the machine's cores: what a broker takes of them the loader lacks.
    """
    with (
        scratch(NEEDED_BYTES) as folder,
        rabbitmq.running() as rabbit,
        kafka.running() as broker,
        sink() as queue,
    ):
        settings: dict[str, Callable[[], str]] = {
            "embedded": lambda: "",
            "rabbitmq": lambda: rabbitmq_settings(rabbit.new_config(publish_timeout_s=120)),
            "kafka": lambda: kafka_settings(broker.config()),
            "sqs": lambda: sqs_settings(queue),
        }
        taken = interleaved(ROUNDS, {name: _contender(folder, each) for name, each in settings.items()})
    embedded = best(taken.pop("embedded"))
    found = {name: best(usages) for name, usages in taken.items()}
    shares = {name: usage.rows_per_s / embedded.rows_per_s for name, usage in found.items()}
    return result(
        [
            Check("smallest_share", min(shares.values()), must=0.72, goal=0.9, at_least=True),
            *(Check(f"{name}_share", share, must=0.72, goal=0.9, at_least=True) for name, share in shares.items()),
        ],
        "the same load from the embedded queue; brokers on the same machine, SQS by a server that only passes on",
        rounds=ROUNDS,
        embedded=embedded.told(),
        **{name: usage.told() for name, usage in found.items()},
    )


def _contender(folder: Path, settings: Callable[[], str]) -> Callable[[], Usage]:
    """Each run has a queue of its own."""

    def once() -> Usage:
        return contender(folder, MODULE, "fifth", settings())()

    return once
