"""The clients of the bench `visible`: a steady pace whatever the answers do, and times that run from the answer."""

import msgspec
import pytest
from bench.collect import KEY
from bench.latency import Probe
from bench.visible import CONNECTIONS, Clients

from catchment.collect.config import SourceConfig
from tests.collect.serving import Serving, serving, until

SITE = {"site": SourceConfig(write_key=KEY)}


def seqs(server: Serving) -> list[int]:
    """Of the events kept, in order."""
    lines = [line for line in server.kept.lines if line.table == "site.page_viewed"]
    return sorted(msgspec.json.decode(line.text)["data"]["seq"] for line in lines)


@pytest.mark.parametrize("batch", [1, 5])
def test_every_event_is_sent_once_and_those_looked_for_are_found(batch: int) -> None:
    probe = Probe("select", every_s=0.05)
    with serving(sources=SITE) as server, Clients(server.port, 1, 200, batch, probe) as clients:
        until(lambda: clients.events >= 100, "a hundred events")
    found = seqs(server)
    assert found == list(range(1, len(found) + 1))
    assert probe.unseen == len(found) // batch
    probe.look(lambda query, since: [(seq,) for seq in found])
    assert probe.unseen == 0
    assert max(probe.latencies_s) < 20


def test_the_pace_does_not_wait_for_answers() -> None:
    probe = Probe("select", every_s=0.05)
    with serving(sources=SITE) as server, Clients(server.port, 1, 500, 1, probe) as clients:
        server.kept.held = True
        until(lambda: len(server.kept.waiting) == CONNECTIONS, "every connection to wait")
        assert probe.unseen == clients.events, "nothing is looked for before its answer"
        until(lambda: len(clients._waiting) > 250, "half a second's requests to be due")

        def answer() -> None:
            server.kept.held = False
            waiting, server.kept.waiting = server.kept.waiting, []
            for done in waiting:
                done(None)

        server.call(answer)
        until(lambda: clients.events > CONNECTIONS + 200, "what has become due meanwhile")
    assert max(clients.answered_s) > 0.4
