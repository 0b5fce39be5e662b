"""The loader's two steps, and the sweep: they meet only in the archive.

Everything between two `yield`s happens at once; a process may be killed at any `yield`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence

from tests.model.parts import LATE, WINDOW, Batch, File, Ident, Message, Process, Record, Table, Warehouse, World
from tests.model.publishing import stamp

Held = tuple[str, Table, tuple[Record, ...] | None]
"""A batch to load: of a round it is still in memory, of a sweep it is read from the archive."""


def loader(world: World, me: str) -> Process:
    """Rounds and loads in turn, after a sweep."""
    todo = sweep(world)
    while True:
        yield
        if not todo or world.rng.random() < 0.4:
            todo += yield from _round(world, me)
        elif not world.down:
            yield from load(world, me, *todo.pop(world.rng.randrange(len(todo))))


def sweeper(world: World, me: str) -> Process:
    """The sweep of every minute, beside the rounds: it may take what another holds in memory."""
    for held in sweep(world):
        yield
        if not world.down:
            yield from load(world, me, *held)


def sweep(world: World) -> list[Held]:
    """What the archive has and the ledger lacks."""
    if "sweep" not in world.on:
        return []
    names = [
        name
        for name, file in sorted(world.archive.items())
        if (file.incoming or "full sweep" in world.on) and not world.loaded(name)
    ]
    return [(name, table, None) for name, table in world.batches(names)]


def _round(world: World, me: str) -> Generator[None, None, list[Held]]:
    """Step 1: receive, stamp what came plain, archive, acknowledge. Returns what it holds for step 2."""
    ready = [
        message
        for at, queue in enumerate(world.queues)
        if at not in world.asleep
        for message in queue
        if message.reader is None
    ]
    taken = ready[: world.rng.randint(1, 5)]
    for message in taken:
        message.reader = me
    if "acknowledging last" not in world.on:
        _acknowledge(world, taken)
    held: list[Held] = []
    for records in _files(world, taken):
        yield
        name = world.name("i")
        world.put(name, File(records))
        world.say(me, "archives", name, [record.id for record in records])
        held += [(name, table, world.archive[name].of(table)) for _, table in world.batches([name])]
    yield
    _acknowledge(world, taken)
    return held


def _files(world: World, taken: Iterable[Message]) -> list[tuple[Record, ...]]:
    """A round's records by file: late ones apart, on S3 each table apart."""
    files: dict[tuple[str, bool], list[Record]] = {}
    for message in taken:
        for ordinal, content in enumerate(message.content):
            record = content if isinstance(content, Record) else stamp(world, message, ordinal, content)
            late = record.not_before < record.received_at - LATE
            files.setdefault((record.table if world.file_per_table else "", late), []).append(record)
    return [tuple(records) for records in files.values()]


def _acknowledge(world: World, taken: Sequence[Message]) -> None:
    for queue in world.queues:
        queue[:] = [message for message in queue if message not in taken]


def load(
    world: World,
    me: str,
    name: str,
    table: Table,
    records: tuple[Record, ...] | None,
    *,
    past_ledger: bool = False,
) -> Process:
    """Step 2, for one batch: guard, lock, read, and all at once rows, dead letters and ledger."""
    on = world.on
    if records is None:
        if name not in world.archive:  # rewritten meanwhile
            world.say(me, "does not find", name, "any more")
            return
        records = world.archive[name].of(table)
    if "too old on arrival" in on and table in {"events", "dead_letters"}:
        records = tuple(record for record in records if record.received_at >= world.rows_from)
    batch: Batch = (name, table)
    planned_on = world.warehouse.text.get(table, False)
    plan = _guard(world, table, records)
    yield
    write = _plan_rows(world, table, records, past_ledger)  # what a transaction sees that reads too early
    while "table lock" in on and world.locks.setdefault(table, me) != me:
        yield
    dead: list[Record] = []
    if past_ledger or "ledger" not in on or batch not in world.warehouse.ledger:
        if "repeated guard" in on and world.warehouse.text.get(table, False) != planned_on:
            plan = _guard(world, table, records)
        if "reading after the lock" in on:
            write = _plan_rows(world, table, records, past_ledger)
        dead = _new_letters(world.warehouse, table, records)
        yield  # the reads are over; now all at once:
        warehouse = world.warehouse
        write()
        warehouse.text[table] = plan
        warehouse.ledger.add(batch)
        if "dead letters in the transaction" in on:
            warehouse.dead += dead
        world.say(me, "commits", name, table, [record.id for record in records])
    world.unlock(me)
    yield
    if "dead letters in the transaction" not in on:
        world.warehouse.dead += dead


def _guard(world: World, table: Table, records: Iterable[Record]) -> bool:
    """Whether the table's column is text after this batch; it only ever widens."""
    return world.warehouse.text.get(table, False) or any(isinstance(x.value, str) for x in records)


def _new_letters(warehouse: Warehouse, table: Table, records: Iterable[Record]) -> list[Record]:
    """The batch's bad records, once each, that the warehouse has no letter of.

    What was no record at all lies in a table of its own and is searched for like any row.
    """
    start = min((min(x.not_before, x.received_at) for x in records), default=0) if table == "dead_letters" else 0
    known = {letter.ident for letter in warehouse.dead if letter.received_at >= start}
    return list({x.ident: x for x in records if x.bad and x.ident not in known}.values())


def _plan_rows(world: World, table: Table, records: Sequence[Record], past_ledger: bool) -> Callable[[], None]:
    """What the transaction will write, by what it reads now."""
    good = [record for record in records if not record.bad]
    if table == "events":
        return _new_rows(world, good, past_ledger)
    if table == "mirror":
        return _winners(world, good)
    if table == "corrections":
        return _outcomes(world, good)
    return lambda: None


def _new_rows(world: World, records: Sequence[Record], past_ledger: bool) -> Callable[[], None]:
    """The first of each (source, id) in the batch that is not in the table."""
    warehouse, on = world.warehouse, world.on
    start = min((min(x.not_before, x.received_at) for x in records), default=0)
    lowest = min((x.received_at for x in records), default=0)
    if "wide search of old batches" in on and lowest < world.now - WINDOW:
        start = min(start, lowest - WINDOW)
    seen: set[Ident] = set()
    if "search" in on:
        seen = {row.ident for row in warehouse.rows if row.received_at >= start}
    if "early" in on:
        pointed_at = warehouse.early
        if past_ledger and "early looked up in replay" in on:
            pointed_at = pointed_at & {(row.ident, row.received_at) for row in warehouse.rows}
        seen |= {ident for ident, _ in pointed_at}
    fresh = []
    for record in records:
        if record.ident not in seen:
            fresh.append(record)
            if "uniqueness in the batch" in on:
                seen.add(record.ident)

    def write() -> None:
        world.warehouse.rows += fresh
        world.warehouse.early |= {(x.ident, x.received_at) for x in fresh if x.not_before > x.received_at}

    return write


def _winners(world: World, records: Sequence[Record]) -> Callable[[], None]:
    """The highest (version, id) of each key, if it beats the row and the tombstone."""
    warehouse, on = world.warehouse, world.on
    best: dict[str, Record] = {}
    for record in records:
        rivals = [(x.version, x.id) for x in (best.get(record.key), warehouse.keyed.get(record.key)) if x]
        tombstone = warehouse.tombstones.get(record.key)
        if tombstone and "tombstone" in on:
            rivals.append(tombstone if "tombstone's id" in on else (tombstone[0], "~"))
        if all((record.version, record.id) > rival for rival in rivals):
            best[record.key] = record

    def write() -> None:
        for key, record in best.items():
            if record.op == "delete":
                world.warehouse.keyed.pop(key, None)
                world.warehouse.tombstones[key] = record.version, record.id
            else:
                world.warehouse.keyed[key] = record

    return write


def _outcomes(world: World, records: Sequence[Record]) -> Callable[[], None]:
    """Each correction settles its letter; the first one's word counts."""

    def write() -> None:
        for record in records:
            settle(world, record.about, str(record.value))

    return write


def settle(world: World, letter: Ident, outcome: str) -> None:
    """A letter is no longer open."""
    warehouse = world.warehouse
    if "outcomes kept" in world.on or letter in {dead.ident for dead in warehouse.dead}:
        warehouse.settled.setdefault(letter, outcome)
