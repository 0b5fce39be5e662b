"""However the same records are cut into rounds, mixed, doubled and redelivered: the same tables."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catchment.queues import Message
from catchment.record import Line
from catchment.testing.content import Identity, content
from tests.load.loading import Rig, packed, stamped

_encode = msgspec.json.encode
relaxed = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


_serial = itertools.count()

# ---- records that are inserted ---------------------------------------------------------------

VALUES: list[Any] = [1, -5, 2**53 + 1, 2**64, 0.5, 1e300, True, "x", "", None, "2026-01-01T00:00:00Z", {"k": 1}, [1]]


@st.composite
def cut_into_rounds(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[list[list[int]]]]:
    """Records' data, and rounds of packs of records (by number): all of them at least once, many twice."""
    data = draw(st.lists(st.dictionaries(st.sampled_from("abA"), st.sampled_from(VALUES), max_size=3), min_size=1))
    places = list(range(len(data)))
    sent = draw(st.permutations(places + draw(st.lists(st.sampled_from(places), max_size=len(places)))))
    cuts = sorted(draw(st.sets(st.integers(1, max(1, len(sent) - 1)), max_size=6)))
    packs = [list(sent[a:b]) for a, b in itertools.pairwise([0, *cuts, len(sent)]) if a < b]
    rounds: list[list[list[int]]] = []
    for pack in packs:
        joins: bool = draw(st.booleans())
        if rounds and joins:
            rounds[-1].append(pack)
        else:
            rounds.append([pack])
    again = draw(st.lists(st.sampled_from(rounds), max_size=2))
    return data, [*rounds, *again]


@given(cut_into_rounds(), st.sampled_from([1, 40]))
@relaxed
def test_any_cutting_gives_the_same_table(
    shared_rig: Rig, cut: tuple[list[dict[str, Any]], list[list[list[int]]]], copies: int
) -> None:
    """`copies` of each record under ids of their own: few rows and many go different ways."""
    data, rounds = cut
    serial = next(_serial)
    whole, parts = f"cut.whole{serial}", f"cut.parts{serial}"
    records = [
        (f"{place}-{copy}", _encode(each), source)
        for place, (each, source) in enumerate(zip(data, itertools.cycle(["web", "app"])))
        for copy in range(copies)
    ]
    shared_rig.loader.load(shared_rig.put(packed(*[line(whole, each) for each in records])))
    arrival = itertools.count()
    for packs in rounds:
        messages = [
            packed(
                *[
                    line(parts, records[place * copies + copy], next(arrival))
                    for place in pack
                    for copy in range(copies)
                ]
            )
            for pack in packs
        ]
        shared_rig.loader.load(shared_rig.put(*messages))
    assert content(shared_rig.warehouse, parts) == content(shared_rig.warehouse, whole)


def line(table: str, record: tuple[str, bytes, str], at_s: float = 0) -> Line:
    identity, data, source = record
    return stamped(identity, data, table=table, source=source, at_s=at_s, age_s=86_400)


# ---- mirrored records ------------------------------------------------------------------------


class Change(msgspec.Struct, frozen=True):
    key: int
    version: int
    id: str
    deletes: bool


CHANGES = st.lists(
    st.builds(Change, st.integers(0, 1), st.integers(0, 2), st.sampled_from("abc"), st.booleans()),
    min_size=1,
    max_size=25,
    unique_by=lambda change: (change.key, change.version, change.id),
)


@given(CHANGES, st.data())
@relaxed
def test_any_interleaving_ends_in_the_highest_version(
    shared_rig: Rig, changes: list[Change], data: st.DataObject
) -> None:
    table = f"mirror.t{next(_serial)}"
    sent = data.draw(st.permutations(changes + data.draw(st.lists(st.sampled_from(changes), max_size=8))))
    while sent:
        size = data.draw(st.integers(1, len(sent)))
        now, sent = sent[:size], sent[size:]
        copies = 70 if data.draw(st.booleans()) else 1  # in one round: the same change over and over
        shared_rig.loader.load(
            shared_rig.put(*[packed(*[change_line(table, each) for each in now]) for _ in range(copies)])
        )
    highest: dict[int, Change] = {}
    for change in changes:
        if change.key not in highest or (change.version, change.id) > (
            highest[change.key].version,
            highest[change.key].id,
        ):
            highest[change.key] = change
    expected = sorted((c.key, identity_of(c), f"{c.version:04}") for c in highest.values() if not c.deletes)
    assert shared_rig.ask(f"SELECT k, _id, _version FROM {table} ORDER BY k") == expected
    tombstones = shared_rig.ask(f"SELECT key, version, id FROM catchment.tombstones WHERE table_name = '{table}'")
    latest_deletes = {(f"[{c.key}]", f"{c.version:04}", identity_of(c)) for c in highest.values() if c.deletes}
    assert latest_deletes <= set(tombstones)
    assert shared_rig.ask("SELECT count(*) FROM catchment.dead_letters") == [(0,)]


def identity_of(change: Change) -> str:
    return f"{change.id}-{change.key}-{change.version}"


def change_line(table: str, change: Change) -> Line:
    op = "delete" if change.deletes else "upsert"
    extra = f',"op":"{op}","key":["k"],"version":"{change.version:04}"'.encode()
    return stamped(identity_of(change), _encode({"k": change.key}), table=table, extra=extra)


# ---- clocks ----------------------------------------------------------------------------------

SENDERS = st.lists(
    st.tuples(st.integers(0, 5), st.sampled_from([-7200, -1800, -1, 0, 60, 5000, 86_400])),
    min_size=1,
    max_size=6,
    unique_by=lambda each: each[0],
)


@given(SENDERS, st.data())
@relaxed
def test_copies_under_any_clock_are_one_row(
    shared_rig: Rig, senders: list[tuple[int, int]], data: st.DataObject
) -> None:
    """Each record has its own time, `age` before T0 or, by a fast clock, after it: the same in all its copies,
    which are received at any time after T0."""
    table = f"clock.t{next(_serial)}"
    copies: list[tuple[int, int, int]] = []
    for identity, age in senders:
        for _ in range(data.draw(st.integers(1, 4))):
            received = data.draw(st.integers(0, 20_000))
            copies.append((identity, age, received))
    order = data.draw(st.permutations(copies))
    while order:
        size = data.draw(st.integers(1, len(order)))
        now, order = order[:size], order[size:]
        lines = [
            stamped(str(identity), b"{}", table=table, at_s=received, age_s=received + age)
            for identity, age, received in now
        ]
        many = data.draw(st.booleans())
        fill = [stamped(f"fill-{at}", b"{}", table=table, at_s=20_000) for at in range(100)] if many else []
        shared_rig.loader.load(shared_rig.put(packed(*lines, *fill)))
    rows: dict[Identity, dict[str, Any]] = content(shared_rig.warehouse, table)
    assert {identity for _, identity in rows if not identity.startswith("fill")} == {str(i) for i, _ in senders}


def test_a_message_redelivered_without_a_time_of_its_own_is_one_row(shared_rig: Rig) -> None:
    body = b'{"table":"cut.redelivered","data":{"a":1}}'
    for _ in range(3):
        shared_rig.loader.load(shared_rig.put(Message(body, "topic/7", None)))
        shared_rig.now += timedelta(hours=2)
    assert shared_rig.ask("SELECT _id, a FROM cut.redelivered") == [("topic/7/0", 1)]
