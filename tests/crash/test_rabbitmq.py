"""Exactly once on RabbitMQ, through kill -9 of the broker, of publishers and of the loader while records flow: what
`test_crash` does on the embedded queue."""

from __future__ import annotations

import contextlib
import os
import random
import time
from pathlib import Path

import pytest

from catchment.queues.outbox_lanes import waiting
from catchment.record import DEAD_LETTERS
from tests.crash.running import Running, opened_warehouse
from tests.crash.test_crash import (
    Crashed,
    Plan,
    all_contents,
    crash,
)
from tests.crash.test_crash import (
    test_every_confirmed_record_is_in_its_table_exactly_once as check_tables,
)
from tests.crash.test_crash import (
    test_every_record_is_in_the_archive as check_archive,
)
from tests.crash.test_crash import (
    test_no_crash_damaged_a_file as check_files,
)
from tests.crash.test_crash import (
    test_what_cannot_be_loaded_is_a_dead_letter_once as check_letters,
)
from tests.servers.rabbitmq import RabbitServer

SETTINGS = """
[queue]
type = "rabbitmq"
url = "{url}"
exchange = "{exchange}"
queue = "{queue}"
[outbox]
patience_s = {patience_s}
"""


def crash_on(server: RabbitServer, folder: Path, plan: Plan) -> Crashed:
    """As `crash`, with the broker among the victims: it is away for a while each time."""
    rng = random.Random(plan.seed)
    config = server.new_config()
    settings = SETTINGS.format(
        url=server.url, exchange=config.exchange, queue=config.queue, patience_s=rng.choice((0.2, 1.0, 3.0))
    )

    def kill_broker(running: Running) -> int:
        """Away for a while, in which a publisher dies whose outbox has something in it."""
        server.settle()
        server.kill()
        time.sleep(rng.uniform(0, 3))
        alive = running.publishers()
        for publisher in alive[:1]:
            running.kill_publisher(publisher)
        server.start()
        return len(alive[:1])

    left = crash(folder, plan, settings, kill_broker)
    server.drop(config)
    return left


def check_all(left: Crashed) -> None:
    assert waiting(left.running.project.runtime / "outbox").messages == 0
    with opened_warehouse(left.running.project) as warehouse:
        found = all_contents(warehouse)
    check_tables(left, found)
    check_letters(left, found)
    check_archive(left)
    check_files(left)
    letters = {letter["bytes"] for letter in found[DEAD_LETTERS].values() if not letter.get("table_name")}
    assert len(letters) == sum(1 for _, shipment in left.shipments() if shipment.garbage)


def test_whoever_is_killed_nothing_is_lost_and_nothing_doubled(rabbit_server: RabbitServer, tmp_path: Path) -> None:
    seed = int(os.environ.get("CATCHMENT_SEED", "0")) or random.randrange(10**6)
    left = crash_on(rabbit_server, tmp_path, Plan(seed, 8_000, warehouse=2, supervisor=1, publishers=1, broker=1))
    with contextlib.closing(left.running):
        assert left.kills["broker"] == 1
        check_all(left)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(6))
def test_many_seeds(rabbit_server: RabbitServer, tmp_path: Path, seed: int) -> None:
    left = crash_on(rabbit_server, tmp_path, Plan(seed, 40_000, warehouse=6, supervisor=2, publishers=6, broker=8))
    with contextlib.closing(left.running):
        check_all(left)
