"""Any JSON object sent is found again, value for value, in columns plus `_rescued`, whatever came before it."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catchment.pack import messages, packs
from catchment.queues import Message
from catchment.record import Stamp, decode
from catchment.testing.content import canonical, content
from tests.load.loading import T0, Rig

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
moments = st.datetimes().map(lambda moment: moment.isoformat() + "Z")
numbers = st.one_of(
    st.integers(-(2**70), 2**70),
    st.integers(-10, 10),
    st.sampled_from([2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, 2**63, -(2**63), 2**64, 3.0, 3.7, 1e300, -0.5]),
    st.floats(allow_nan=False, allow_infinity=False),
)
scalars = st.one_of(st.none(), st.booleans(), numbers, text, moments, st.just("2026-01-01T00:00:00.1234567Z"))
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
# Few names, so that types meet; hard ones: folding to one, reserved, empty, ours, unreadable.
fields = st.one_of(
    st.sampled_from(
        ["a", "b", "A", "userId", "user_id", "user id", "USERID", "select", "", "_id", "_rescued", "1", 'q"', "\n"]
    ),
    text,
)
objects = st.dictionaries(fields, values, max_size=5)
batches = st.lists(st.lists(objects, min_size=1, max_size=4), min_size=1, max_size=4)


@given(batches, st.booleans(), st.integers(1, 80))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_object_is_found_again(rounds: list[list[dict[str, Any]]], packed: bool, copies: int) -> None:
    """`copies` of each round's objects: few rows and many go different ways."""
    with tempfile.TemporaryDirectory() as folder:
        rig = Rig(Path(folder))
        try:
            sent: dict[tuple[str, str], dict[str, Any]] = {}
            for at, objects_of_round in enumerate(rounds):
                lines = []
                for place, data in enumerate(objects_of_round * copies):
                    identity = f"{at}-{place}"
                    sent["web", identity] = data
                    lines.append(
                        msgspec.json.encode({"table": "t.any", "id": identity, "source": "web", "data": data})
                    )
                rig.loader.load(rig.put(*(_packed(lines) if packed else [rig.message(*lines)])))
            assert rig.ask("SELECT reason, detail FROM catchment.dead_letters") == []
            got = content(rig.warehouse, "t.any")
            assert got == {
                identity: {field: canonical(_as_read(value)) for field, value in data.items() if value is not None}
                for identity, data in sent.items()
            }
        finally:
            rig.close()


def _packed(lines: list[bytes]) -> list[Message]:
    stamp = Stamp(T0, "web")
    return [Message(each) for each in messages(packs("t.any", [stamp.line(decode(line)) for line in lines]))]


def _as_read(value: Any) -> Any:
    """What JSON made of the value: 1e400 and such are no floats of ours to begin with."""
    return json.loads(msgspec.json.encode(value))
