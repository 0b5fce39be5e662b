"""Any JSON object sent is found again, value for value, in columns plus `_rescued`, whatever came before it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
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
edge = st.dictionaries(st.sampled_from(["$edge", "$ünfit"]), values, max_size=2)
"""What the edge could not keep in `data`, in fields that nobody else uses."""
records = st.tuples(objects, st.one_of(st.none(), edge), st.sampled_from(["web", "web", "app"]))
rounds = st.lists(st.lists(records, min_size=1, max_size=4), min_size=1, max_size=4)

Sent = tuple[dict[str, Any], dict[str, Any] | None, str]


@given(rounds, st.booleans(), st.integers(1, 80))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_object_is_found_again(rounds: list[list[Sent]], packed: bool, copies: int) -> None:
    """`copies` of each round's records: few rows and many go different ways."""
    check(rounds, copies, as_messages if packed else as_plain)


@st.composite
def changing_types(draw: st.DrawFn) -> list[list[Sent]]:
    """One field whose values are of one kind for a while, then of another."""
    kinds: list[st.SearchStrategy[Any]] = [
        st.booleans(), st.integers(-5, 5), st.sampled_from([2**53, 2**53 + 1, 2**63, -(2**63)]), st.floats(-9, 9),
        moments, text, st.dictionaries(text, st.integers(), max_size=2), st.none(),
    ]  # fmt: skip
    rounds: list[list[Sent]] = []
    for _ in range(draw(st.integers(2, 6))):
        kind = draw(st.sampled_from(kinds))
        rounds.append([({"a": value}, None, "web") for value in draw(st.lists(kind, min_size=1, max_size=3))])
    return rounds


@given(changing_types(), st.sampled_from([1, 70]))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_a_field_turns_into_nothing_of_it_is_lost(rounds: list[list[Sent]], copies: int) -> None:
    check(rounds, copies, as_messages)


def check(rounds: list[list[Sent]], copies: int, deliver: Callable[[Rig, list[bytes]], list[Message]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        rig = Rig(Path(folder))
        try:
            sent: dict[tuple[str, str], dict[str, Any]] = {}
            for at, records_of_round in enumerate(rounds):
                lines = []
                for place, (data, rescued, source) in enumerate(records_of_round * copies):
                    identity = f"{at}-{place}"
                    sent[source, identity] = (rescued or {}) | data
                    record = {"table": "t.any", "id": identity, "source": source, "data": data}
                    lines.append(msgspec.json.encode(record if rescued is None else {**record, "rescued": rescued}))
                rig.loader.load(rig.put(*deliver(rig, lines)))
            assert rig.ask("SELECT reason, detail FROM catchment.dead_letters") == []
            expected = {
                identity: {field: canonical(_as_read(value)) for field, value in row.items()}
                for identity, row in sent.items()
            }
            assert without_nulls(content(rig.warehouse, "t.any")) == without_nulls(expected)
        finally:
            rig.close()


def without_nulls(rows: dict[tuple[str, str], dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    """A null is as good as nothing."""
    return {
        identity: {field: value for field, value in row.items() if value is not None} for identity, row in rows.items()
    }


def as_plain(rig: Rig, lines: list[bytes]) -> list[Message]:
    return [rig.message(*lines)]


def as_messages(rig: Rig, lines: list[bytes]) -> list[Message]:
    stamp = Stamp(T0, "web")
    return [Message(each) for each in messages(packs("t.any", [stamp.line(decode(line)) for line in lines]))]


def _as_read(value: Any) -> Any:
    """What JSON made of the value: 1e400 and such are no floats of ours to begin with."""
    return json.loads(msgspec.json.encode(value))
