"""The network between a listener and the broker of others is cut again and again, sometimes silent before: nothing is
lost and nothing doubled."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.live import Live
from tests.listen.tapping import (
    PUBLISHED,
    Exchange,
    SqsQueue,
    Tapped,
    Topic,
    await_listening,
    check_all_once,
    in_background,
    project_file,
)
from tests.servers import kafka
from tests.servers.proxy import Proxy, carrying

CUTS = 5


@pytest.fixture(params=["rabbitmq", "kafka", "sqs"])
def behind(request: pytest.FixtureRequest) -> Iterator[tuple[Tapped, Proxy, int]]:
    """What is tapped, the network that is to be cut, and how many messages to publish."""
    made: Tapped
    with contextlib.ExitStack() as closing:
        match request.param:
            case "rabbitmq":
                server = request.getfixturevalue("rabbit_server")
                network = closing.enter_context(carrying(server.port))
                made = Exchange(server, server.url_of("guest", "guest", port=network.port))
            case "kafka":
                # Its clients connect to what it says of itself: the producer's network is the same one.
                broker = closing.enter_context(kafka.running(behind_a_network=True))
                assert broker.network is not None
                network, made = broker.network, Topic(broker.config())
            case _:
                server = request.getfixturevalue("sqs_server")
                network = closing.enter_context(carrying(server.port))
                made = SqsQueue(server, f"http://127.0.0.1:{network.port}")
        yield made, network, PUBLISHED[request.param]
        made.drop()


def test_nothing_is_lost_and_nothing_doubled(behind: tuple[Tapped, Proxy, int], tmp_path: Path) -> None:
    tapped, network, published = behind
    rng = random.Random()
    # A Kafka producer of before idempotence may send a message twice, and is cut off here, too.
    identity = 'id = "data.n"\n' if isinstance(tapped, Topic) else ""
    live = Live(tmp_path / "acme", project_file(tapped, identity, table="all"))
    try:
        live.up()
        await_listening(live)
        numbers = list(range(published))
        for part in range(CUTS):
            publishing = in_background(tapped, numbers[part::CUTS])
            time.sleep(rng.uniform(0, 0.3))
            network.cut_for_a_while(rng)
            publishing.join()
        check_all_once(live, len(numbers))
        assert live.down() == 0
    finally:
        live.close()
