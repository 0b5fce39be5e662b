"""What happens to files of the archive once they stand: rewriting, replay, restore, corrections."""

from __future__ import annotations

from collections.abc import Generator

from tests.model.loading import load, settle
from tests.model.parts import EARLY_KEPT, File, Process, Record, Table, World
from tests.model.publishing import publish

Step = Generator[None, None, bool]


def rewriter(world: World, me: str) -> Process:
    """A set of incoming files, loaded in full, becomes one file per table and hour; the old ones go last.

    Files of several sets stand side by side. The new name follows from the set, so that a rewriter that
    comes again after a crash writes the same file.
    """
    checked = "rewriting loaded files only" in world.on
    old = sorted(
        name
        for name, file in world.archive.items()
        if file.incoming and (world.loaded(name) or not checked) and world.rng.random() < 0.8
    )
    held = set(world.batches(old))  # by name: of a file that somebody has removed, the archive tells nothing
    new: dict[tuple[Table, int], list[Record]] = {}
    for name in old:
        for record in world.archive[name].records:
            new.setdefault((record.table, record.received_at // 60), []).append(record)
    for (table, hour), records in sorted(new.items()):
        name = f"{table}/{hour}/{'+'.join(old)}"
        yield
        if world.down:
            return
        if checked and "checked entry" in world.on and not held <= world.warehouse.ledger:
            world.say(me, "gives up: the ledger has", old, "no longer")
            return
        world.warehouse.ledger.add((name, table))
        yield
        world.put(name, File(tuple(records), incoming=False))
        world.say(me, "rewrote", old, "as", name)
    for name in old:
        yield
        world.remove(name)


def expirer(world: World, me: str) -> Process:
    """Retention: rows and dead letters that are too old go a few at a time, and then archive files do."""
    yield from _expire_rows(world, me)
    for table in ("events", "dead_letters", "mirror"):
        yield from _expire_files(world, me, table)


def _expire_rows(world: World, me: str) -> Process:
    while not world.down:
        while world.locks.setdefault("events", me) != me:
            yield
        warehouse, before = world.warehouse, world.rows_from
        old_rows = [row for row in warehouse.rows if row.received_at < before][:2]
        old_letters = [letter for letter in warehouse.dead if letter.received_at < before][:2]
        warehouse.rows = [row for row in warehouse.rows if row not in old_rows]
        warehouse.dead = [letter for letter in warehouse.dead if letter not in old_letters]
        world.unlock(me)
        if not old_rows and not old_letters:
            return
        world.say(me, "removes rows", [x.id for x in old_rows], "dead letters", [x.id for x in old_letters])
        yield


def _expire_files(world: World, me: str, table: Table) -> Process:
    checked = "expiring loaded files only" in world.on
    before = world.archive_from
    found = sorted(
        name
        for name, file in world.archive.items()
        if not file.incoming and file.of(table) and (world.loaded(name) or not checked)
    )
    due = [x for x in found if not world.archive[x].newest and _latest(world.archive[x]) < before]
    old = due + [x for x in found if world.archive[x].newest and world.rng.random() < 0.5]
    if not due or world.down:
        return
    steps = [_keep_newest, _remove_files]
    if "keeping before removing" not in world.on:
        steps.reverse()
    records = [record for name in old for record in world.archive[name].records]
    for step in steps:
        if not (yield from step(world, me, table, old, records)):
            return


def _latest(file: File) -> int:
    return max(record.received_at for record in file.records)


def _keep_newest(
    world: World, me: str, table: Table, old: list[str], records: list[Record]
) -> Generator[None, None, bool]:
    """Whether the old files may go."""
    best: dict[str, Record] = {}
    for record in records:
        if table == "mirror" and (record.version, record.id) > _rank(best.get(record.key)):
            best[record.key] = record
    kept = tuple(x for x in best.values() if x.op != "delete" or "newest deletions kept" in world.on)
    if not kept or "newest kept" not in world.on:
        return True
    name = f"mirror/newest/{'+'.join(old)}"
    yield
    world.put(name, File(kept, incoming=False, newest=True))
    world.say(me, "keeps the newest of", old, [x.id for x in kept])
    yield
    checked = "expiring loaded files only" in world.on
    if world.down or (checked and not all((x, table) in world.warehouse.ledger for x in old)):
        return False
    world.warehouse.ledger.add((name, table))
    return True


def _rank(record: Record | None) -> tuple[int, str]:
    return (record.version, record.id) if record else (0, "")


def _remove_files(
    world: World, me: str, table: Table, old: list[str], records: list[Record]
) -> Generator[None, None, bool]:
    for name in old:
        yield
        world.remove(name)
        world.say(me, "removes", name, "from the archive")
    return True


def forget(world: World) -> None:
    """The ledger's entries of files that are no more, however slow a loader still holds their records."""
    gone = {batch for batch in world.warehouse.ledger if batch[0] in world.removed}
    if gone:
        world.say("the ledger forgets", sorted({name for name, _ in gone}))
    world.warehouse.ledger -= gone


def tidy(world: World) -> None:
    """Removes the entries of `early` that are older than any retry."""
    warehouse = world.warehouse
    kept = {entry for entry in warehouse.early if entry[1] >= world.now - EARLY_KEPT}
    if kept != warehouse.early:
        world.say("early forgets", sorted(ident for (_, ident), _ in warehouse.early - kept))
    warehouse.early = kept


def caretaker(world: World, me: str) -> Process:
    """Forgets and tidies while others work: a restore, too, goes on beside it."""
    for _ in range(20):
        yield
        world.rng.choice([forget, tidy])(world)


def replayer(world: World, me: str) -> Process:
    """Brings back rows that are missing, by a look at the rows alone."""
    yield from _walk(world, me, past_ledger=True)


def restorer(world: World, me: str) -> Process:
    """Everything again, from the archive alone."""
    if "corrections first" in world.on:
        for name, table in world.batches(list(world.archive)):
            if table == "corrections":
                yield from load(world, me, name, table, world.archive[name].of(table))
    yield from _walk(world, me, past_ledger=False)


def _walk(world: World, me: str, *, past_ledger: bool) -> Process:
    done: set[str] = set()
    while todo := [x for x in world.archive if x not in done and (past_ledger or not world.loaded(x))]:
        for name, table in world.batches(todo):
            yield from load(world, me, name, table, None, past_ledger=past_ledger)
        done |= set(todo)
        if "listing again" not in world.on:
            return


def operator(world: World, me: str) -> Process:
    """Somebody discards an open dead letter, or mends it and sends it again."""
    letters = world.warehouse.open_letters()
    if not letters:
        return
    letter = world.rng.choice(letters)
    outcome = world.rng.choice(["discarded", "retried"])
    correction = Record(
        "corrections", "operator", me, world.now, world.now, origin=me, value=outcome, about=letter.ident
    )
    world.say(me, "has", letter.id, outcome)
    steps = {"publish": outcome == "retried", "correct": True, "settle": True}
    order = ["publish", "correct", "settle"]
    if "publishing before correcting" not in world.on:
        order = ["correct", "publish", "settle"]
    if "correcting before settling" not in world.on:
        order = ["publish", "settle", "correct"]
    for step in order:
        yield
        if not steps[step]:
            continue
        if step == "publish":
            _publish_mended(world, letter)
        elif step == "correct":
            world.put(world.name("i"), File((correction,)))
            world.say(me, "archives the correction of", letter.id)
        elif not world.down:
            settle(world, letter.ident, outcome)
            world.truth.shown.add(letter.ident)


def _publish_mended(world: World, letter: Record) -> None:
    """The same id, received_at and not_before; only the bytes differ."""
    mended = Record(
        "events",
        letter.source,
        letter.id,
        letter.received_at,
        letter.not_before,
        letter.origin,
        value=letter.value,
    )
    world.truth.mended.add(letter.origin)
    publish(world, world.rng.randrange(len(world.queues)), mended)
