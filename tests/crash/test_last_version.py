"""Records that replace one another by their key: whatever way they take through a queue, in whatever order and however
often they arrive, of each key the last version is left, in DuckDB."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import pytest

from catchment.cli.parts import warehouse_of
from catchment.config import Project, load_project
from catchment.queues import Delivery
from catchment.testing.content import content, rows
from tests.crash.brokers import serving
from tests.crash.running import Running, make_project, opened_warehouse, until

TABLE = "shop.customer"
KEYS, VERSIONS = 25, 12
TWICE = 30
"""So many are published twice, as by a client that heard no answer."""
HELD = 40


def history(rng: random.Random) -> tuple[list[bytes], dict[int, int]]:
    """Every version of every key as a message, in no order; and what is left of them: a key's number."""
    messages: list[bytes] = []
    left: dict[int, int] = {}
    for key in range(KEYS):
        for version in range(VERSIONS):
            number = key * VERSIONS + version
            is_gone = rng.random() < 0.25
            record = {
                "table": TABLE, "id": f"{number}", "source": "shop", "key": ["k"], "version": f"{version:03}",
                "op": "delete" if is_gone else "upsert", "data": {"k": key, "n": number},
            }  # fmt: skip
            messages.append(msgspec.json.encode(record))
            left.pop(key, None)
            if not is_gone:
                left[key] = number
    messages += rng.sample(messages, TWICE)
    rng.shuffle(messages)
    return messages, left


class Rival:
    """Another consumer of the same queue, which takes messages and dies with them: they come again, behind others."""

    def __init__(self, project: Project) -> None:
        self._queue = project.queue.open()
        self._held: list[Delivery] = []
        self._ever = 0

    def take(self) -> bool:
        """Some more, one by one; whether it ever had as many as it wants."""
        if self._ever < HELD and (delivery := self._queue.receive(1, 0.1)) is not None:
            self._held.append(delivery)
            self._ever += len(delivery.messages)
        return self._ever >= HELD

    def keep(self) -> bool:
        """As a round that is open does, with which a group may take partitions away."""
        self._held = self._queue.keep(self._held)
        return True

    def close(self) -> None:
        self._queue.close()


def _has_loaded(project: Project) -> bool:
    with warehouse_of(project) as warehouse:
        return rows(warehouse, "SELECT count(*) > 0 FROM catchment.ledger") == [(True,)]


def check(folder: Path, settings: str, publish: Callable[[Sequence[bytes]], None], *, is_shared: bool) -> None:
    """`is_shared`: a queue that has several consumers at a time, of which one dies in the middle."""
    seed = int(os.environ.get("CATCHMENT_SEED", "0")) or random.randrange(10**6)
    print(f"seed {seed}")
    messages, left = history(random.Random(seed))
    project = make_project(folder, f"[load]\nmax_age_s = 0.05\n{settings}")
    first, second = messages[: len(messages) // 2], messages[len(messages) // 2 :]
    with contextlib.closing(Running(project)) as running:
        publish(first)
        with contextlib.closing(Rival(project)) as rival:
            until(rival.take, "messages to be taken")
            if is_shared:
                running.start_up()
                publish(second)
                until(lambda: rival.keep() and running.is_ready() and _has_loaded(project), "something to be loaded")
        if not is_shared:
            running.start_up()
            publish(second)
        until(running.is_loaded, "everything to be loaded")
        running.stop_up()
        with opened_warehouse(project) as warehouse:
            found = {data["k"]: data["n"] for data in content(warehouse, TABLE).values()}
        assert found == left


@pytest.mark.parametrize("kind", ["rabbitmq", "kafka", "sqs", "sqs.fifo"])
def test_of_a_key_the_last_version_is_left_whatever_way_it_took(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    with serving(kind, request) as broker:
        check(tmp_path, broker.settings, broker.publish, is_shared=True)


def test_so_it_is_on_the_embedded_queue(tmp_path: Path) -> None:
    def publish(messages: Sequence[bytes]) -> None:
        """By publishers of their own, between which no order is kept."""
        for start in range(0, len(messages), 20):
            with contextlib.closing(load_project(tmp_path, None).queue.open()) as queue:
                queue.publish(messages[start : start + 20])

    check(tmp_path, "", publish, is_shared=False)
