"""The explorer: steps the processes in any order by a seed, and compares the warehouse with the truth.

First with faults, then all drains; then some rows go missing and are replayed; then the warehouse is gone
and restored from the archive alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection

from tests.model.archiving import caretaker, expirer, forget, operator, replayer, restorer, rewriter, tidy
from tests.model.loading import loader, sweeper
from tests.model.parts import Process, Warehouse, World
from tests.model.protections import NOTHING_LOST
from tests.model.publishing import Event, create, send

KINDS: dict[str, Callable[[World, str], Process]] = {
    "loader": loader,
    "sweeper": sweeper,
    "rewriter": rewriter,
    "replayer": replayer,
    "restorer": restorer,
    "operator": operator,
    "caretaker": caretaker,
    "expirer": expirer,
}
MAX_EVENTS = 7
STEPS = (120, 250, 400)
DRAINED = 4_000
"""Steps within which everything must have been loaded once faults have ended."""
DIES = {"restorer": 0.01, "expirer": 0.1}
"""How likely, at each step while all drains; another takes over."""

ODDS: dict[str, float] = {
    "step": 60,
    "create": 6,
    "send": 6,
    "time": 5,
    "kill": 2,
    "loader": 4,
    "sweeper": 2,
    "rewriter": 3,
    "operator": 2,
    "replayer": 0.5,
    "forget": 1,
    "tidy": 1,
    "outage": 2,
    "sleep": 2,
    "redeliver": 1,
    "put back": 0.6,
}
WITH_RETENTION = {**ODDS, "expirer": 3}


class Explorer:
    """One run of one world."""

    def __init__(self, seed: int, on: Collection[str]) -> None:
        self.world = World(seed, on)
        self.rng = self.world.rng
        self.events: list[Event] = []
        self.processes: dict[str, Process] = {}
        self.did: Counter[str] = Counter()
        self.long = self.rng.random() < 0.5
        """Days pass at a time: longer than any window."""

    @property
    def trace(self) -> list[str]:
        """What happened, one line each."""
        return self.world.trace

    def run(self, steps: int) -> str | None:
        """Explore; what is wrong at the end, or None."""
        self._start("loader")
        self._start("loader")
        for _ in range(steps):
            self._act()
        world = self.world
        world.down, world.asleep = False, set()
        world.now += self.rng.choice([1, 600])
        problem = self._settle("faults end", "loader", "loader", "sweeper", "rewriter", "caretaker")
        if problem:
            return problem
        world.warehouse.rows = [row for row in world.warehouse.rows if self.rng.random() < 0.7]
        world.now += 120
        world.say("some rows go missing; those left:", [row.id for row in world.warehouse.rows])
        problem = self._settle("replay", "replayer", "rewriter", "rewriter", "caretaker")
        if problem:
            return problem
        world.warehouse = Warehouse()
        return self._settle("restore", "restorer", "rewriter", "rewriter", "caretaker")

    def _act(self) -> None:
        world, rng, live = self.world, self.rng, sorted(self.processes)
        odds = WITH_RETENTION if world.retains else ODDS
        what = rng.choices(list(odds), list(odds.values()))[0]
        self.did[what] += 1
        match what:
            case "step" if live:
                self._step(rng.choice(live))
            case "kill" if live:
                self._kill(rng.choice(live))
            case "redeliver" if live:
                self._redeliver(rng.choice(live))
            case "create" if len(self.events) < MAX_EVENTS:
                self.events.append(create(world))
                send(world, self.events[-1])
            case "send" if self.events:
                send(world, rng.choice(self.events))
            case "time":
                world.now += rng.choice([1, 3, 20, 90, 90, 600] + [3 * 1440, 8 * 1440] * self.long)
            case "loader" if sum(name.startswith("loader") for name in live) < 2:
                self._start("loader")
            case "sweeper" | "rewriter" | "replayer" | "operator" | "expirer" if not world.down:
                self._start(what)
            case "forget" if not world.down:
                forget(world)
            case "tidy" if not world.down:
                tidy(world)
            case "outage":
                world.down = not world.down
                world.backup = world.warehouse.copy()
            case "sleep":
                world.asleep ^= {rng.randrange(len(world.queues))}
            case "put back" if NOTHING_LOST not in world.on:
                self._put_back()

    def _put_back(self) -> None:
        """The warehouse loses what came after its backup; whoever was in a transaction dies of it."""
        for name in sorted(self.processes):
            if not name.startswith("rewriter"):
                self._kill(name)
        self.world.warehouse = self.world.backup.copy()
        self.world.say("the warehouse is put back to its own backup")

    def _start(self, kind: str) -> None:
        name = self.world.name(kind)
        self.processes[name] = KINDS[kind](self.world, name)

    def _step(self, name: str) -> None:
        if next(self.processes[name], "ended") == "ended":
            del self.processes[name]

    def _kill(self, name: str) -> None:
        self.world.say("kill -9", name)
        self.processes.pop(name).close()
        self.world.unlock(name)
        self._redeliver(name)

    def _redeliver(self, name: str) -> None:
        """Leases end, also those of a process that lives on."""
        for queue in self.world.queues:
            for message in queue:
                if message.reader == name:
                    message.reader = None

    def _settle(self, words: str, *kinds: str) -> str | None:
        """Let these processes run until they end, or until all that waits must long have been loaded."""
        for name in sorted(self.processes):
            self._kill(name)
        self.world.say(words)
        for kind in (*kinds, *["expirer"] * self.world.retains):
            self._start(kind)
        corrected = set(self.world.truth.corrected)
        for _ in range(DRAINED):
            if not self.processes:
                break
            name = self.rng.choice(sorted(self.processes))
            kind = name.rstrip("0123456789")
            if kind in DIES and self.rng.random() < DIES[kind]:
                self._kill(name)
                self._start(kind)
                continue
            self._step(name)
            reopened = [x.id for x in self.world.warehouse.open_letters() if x.ident in corrected]
            if words == "restore" and reopened:
                return f"{words}: dead letters {reopened} are open, though they had been settled"
        problem = wrong(self.world)
        return problem and f"{words}: {problem}"


def wrong(world: World) -> str | None:
    """What differs from the records made durable (a superset of the confirmed ones)."""
    return _wrong_rows(world) or _wrong_keys(world) or _wrong_letters(world) or _wrong_columns(world)


def _wrong_rows(world: World) -> str | None:
    have = Counter(row.origin for row in world.warehouse.rows)
    truth = world.truth
    for origin, record in sorted(truth.durable.items()):
        should = 0 if record.table == "mirror" or (record.bad and origin not in truth.mended) else 1
        kept = _kept(world, origin, should)
        if have[origin] not in kept:
            return f"{origin} ({record.source}) has {have[origin]} rows, should have {_or(kept)}"
    return None


def _kept(world: World, origin: str, should: int) -> set[int]:
    """How many there may be, by retention: while its first copy is young, as many as should be; once its last one is
    too old, none; in between either, since of a row that has gone a later copy may stand in the archive."""
    received = world.truth.received[origin]
    if min(received) >= world.rows_from:
        return {should}
    return {0} if max(received) < world.rows_from else {0, should}


def _or(numbers: set[int]) -> str:
    return " or ".join(map(str, sorted(numbers)))


def _wrong_keys(world: World) -> str | None:
    best: dict[str, tuple[int, str, str]] = {}
    for record in world.truth.durable.values():
        if record.table == "mirror":
            best[record.key] = max(best.get(record.key, (0, "", "")), (record.version, record.id, record.op))
    for key, (_, ident, op) in sorted(best.items()):
        row = world.warehouse.keyed.get(key)
        should = ident if op == "upsert" else None
        if (row and row.id) != should:
            return f"key {key} holds {row and row.id}, should hold {should}"
    return None


def _wrong_letters(world: World) -> str | None:
    truth, warehouse = world.truth, world.warehouse
    have = Counter(letter.origin for letter in warehouse.dead)
    for origin, record in sorted(truth.durable.items()):
        kept = _kept(world, origin, int(record.bad))
        if have[origin] not in kept:
            return f"{origin} has {have[origin]} dead letters, should have {_or(kept)}"
    for letter in warehouse.dead:
        outcome = warehouse.settled.get(letter.ident)
        if letter.ident in truth.shown and outcome is None:
            return f"dead letter {letter.id} is open, though a user has seen it settled"
        if letter.ident in truth.corrected and outcome is None:
            return f"dead letter {letter.id} is open, though its correction is in the archive"
        if outcome == "retried" and letter.origin not in truth.mended:
            return f"dead letter {letter.id} counts as retried, and nothing was sent"
    return None


def _wrong_columns(world: World) -> str | None:
    for row in world.warehouse.rows + list(world.warehouse.keyed.values()):
        if isinstance(row.value, str) and not world.warehouse.text.get(row.table):
            return f"{row.id}: a text stands in an int column"
    return None


def failure(seed: int, on: Collection[str]) -> str | None:
    """What goes wrong in the world of this seed, or None."""
    return Explorer(seed, on).run(STEPS[seed % len(STEPS)])


def first_failure(on: Collection[str], seeds: range) -> tuple[int, str] | None:
    """The first seed that fails, and how."""
    for seed in seeds:
        problem = failure(seed, on)
        if problem:
            return seed, problem
    return None


def shortest_trace(on: Collection[str], worlds: int = 1_500) -> list[str] | None:
    """Of many short runs the failing one that is told in the fewest lines."""
    for steps in (40, 60, 90, 130, 200, 400):
        traces = []
        for seed in range(worlds):
            explorer = Explorer(seed, on)
            problem = explorer.run(steps)
            if problem:
                traces.append([*explorer.trace, f"=> {problem}"])
        if traces:
            return min(traces, key=len)
    return None
