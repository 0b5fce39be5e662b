"""A record that is refused is one dead letter, however often and with whatever stamp it comes."""

from __future__ import annotations

from datetime import timedelta

from tests.load.loading import Rig


def test_a_refused_record_sent_again_is_one_dead_letter_under_its_id(rig: Rig) -> None:
    """Its data is not to be trusted, its envelope is."""
    for _ in range(2):
        rig.now += timedelta(minutes=1)
        rig.file(b'{"table":"web.event","id":"7","source":"web","data":{"n":1,"n":2}}')
    assert rig.ask("SELECT table_name, record_source, record_id FROM catchment.dead_letters") == [
        ("web.event", "web", "7")
    ]
