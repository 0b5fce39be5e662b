"""Publishers: clients through collectors, tapped queues, strangers' plain messages, mirrored rows, sent files.

Each attempt may be lost or become durable; answered or not, a client may come again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tests.model.parts import CLIENT_GIVES_UP, MARGIN, START, WINDOW, Message, Op, Plain, Record, World
from tests.model.protections import GOOD_CLOCKS, NO_RESENDING

DAY = 1440
Kind = Literal["http", "listen", "mirror", "send", "named", "nameless"]
KINDS: tuple[Kind, ...] = ("http", "http", "http", "listen", "mirror", "send", "named", "nameless")


@dataclass(slots=True)
class Event:
    """Something that happened once, and is published once or more often."""

    kind: Kind
    id: str
    born: int
    """When it happened, in true time."""
    skew: int
    """By how much its client's clock is wrong, and has been told to be."""
    timed: bool
    key: str
    version: int
    op: Op
    value: int | str
    bad: bool
    sent: bool = False


def create(world: World) -> Event:
    """A new event, not yet sent."""
    rng, good = world.rng, GOOD_CLOCKS in world.on
    kind = rng.choice(KINDS)
    values: list[int | str] = [1, 1, "text"]
    return Event(
        kind,
        world.name("e"),
        born=world.now,
        skew=rng.choice([0, 0, -3 * DAY] if good else [0, 0, -3 * DAY, 120, 600, 2 * DAY]),
        timed=rng.random() < 0.5,
        key=rng.choice("ab"),
        version=rng.randint(1, 4),
        op="insert" if kind != "mirror" else rng.choice(["upsert", "delete"]),
        value=rng.choice(values),
        bad=kind != "mirror" and rng.random() < 0.2,
    )


def send(world: World, event: Event) -> None:
    """One attempt to publish it, by any of the publishers."""
    again, event.sent = event.sent, True
    if again and (NO_RESENDING in world.on or event.kind == "nameless"):
        return
    if event.kind != "send" and world.now - event.born > CLIENT_GIVES_UP:
        return
    if world.rng.random() < 0.2:
        world.say("an attempt of", event.id, "dies before its commit")
        return
    at = world.rng.randrange(len(world.queues))
    if event.kind in {"named", "nameless"}:
        _publish_plain(world, event, at)
    else:
        publish(world, at, _stamped(world, event, at))


def publish(world: World, at: int, record: Record) -> None:
    """A pack of one stamped record, durable."""
    world.queues[at].append(Message(world.name("m"), world.now, (record,)))
    world.truth.made_durable(record)
    keyed = f", key {record.key} version {record.version}" if record.op != "insert" else ""
    times = f"received_at {_shown(record.received_at)}, not_before {_shown(record.not_before)}"
    world.say(f"{record.id} {record.op} durable: {times}{keyed}{', bad' if record.bad else ''}")


def _stamped(world: World, event: Event, at: int) -> Record:
    """Stamped by the publisher, at the first durable enqueue of this attempt."""
    received_at = world.now + world.clocks[at]
    floor = received_at - WINDOW
    if event.kind == "http":
        own: int | None = event.born + event.skew  # the client's word: the same in every copy
    else:
        own = event.born if event.timed else None  # a redelivered message keeps its broker's time, if it has one
    not_before = floor if own is None else max(own - MARGIN, floor)
    if "own time" not in world.on:
        not_before = received_at
    if event.kind == "send":
        not_before = 0 if "unbounded send" in world.on else floor
    return Record(
        "mirror" if event.kind == "mirror" else "events",
        event.kind,
        event.id,
        received_at,
        not_before,
        origin=event.id,
        op=event.op,
        key=event.key,
        version=event.version,
        value=event.value,
        bad=event.bad,
    )


def _publish_plain(world: World, event: Event, at: int) -> None:
    """A stranger's message, of one record or of two; its queue names it and notes the time."""
    named = event.kind == "named"
    lines = [Plain(event.id, event.id if named else None, event.value, malformed=event.bad and not named)]
    if not named:
        lines.append(Plain(event.id + "+", value=event.value))
    message = Message(world.name("m"), world.now, tuple(lines))
    world.queues[at].append(message)
    for ordinal, plain in enumerate(lines):
        world.truth.made_durable(stamp(world, message, ordinal, plain))
    world.say("plain message", message.identity, "durable:", [plain.origin for plain in lines])


def stamp(world: World, message: Message, ordinal: int, plain: Plain) -> Record:
    """What the loader makes of a plain record, or of bytes that are none."""
    received_at = message.enqueued_at if "enqueue time" in world.on else world.now
    not_before = received_at - MARGIN  # copies come by redelivery alone, which keeps identity and time
    ident = f"{message.identity}/{ordinal}" if "message identity" in world.on else world.name("new")
    if plain.id is not None:
        ident = plain.id
        if "message time is no own time" in world.on:
            not_before = received_at - WINDOW
    table: Literal["events", "dead_letters"] = "dead_letters" if plain.malformed else "events"
    return Record(table, "queue", ident, received_at, not_before, plain.origin, value=plain.value, bad=plain.malformed)


def _shown(moment: int) -> str:
    return "never" if moment == 0 else str(moment - START)
