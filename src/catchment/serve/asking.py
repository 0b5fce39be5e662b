"""Asks the warehouse for pages: each question once however many wait, and again only when its answer may differ.

An answer younger than its board's refresh is given as it is. An older one is given as long as the versions of the
tables that it was read from are what they were; where these cannot be told, or the SQL depends on the clock, it is
asked again.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from catchment.errors import CatchmentError, Retry
from catchment.serve.restarts import through_restarts
from catchment.serve.results import Result, read
from catchment.warehouses import ArrowStream

MAX_CACHED_VALUES = 4_000_000
"""Values of all results that are kept, about 60 bytes each; a long text counts as several."""
VERSIONS_FOR_S = 0.5


@dataclass(frozen=True, slots=True)
class Question:
    """SQL to be run, with all that its answer depends on. `tables` are those it reads, None where that is not known
    or its answer changes with the clock."""

    sql: str
    values: tuple[tuple[str, Any], ...] = ()
    zone: str = "UTC"
    tables: frozenset[str] | None = None
    timeout_s: float = 30.0
    max_rows: int = 10_000

    @property
    def key(self) -> tuple[Any, ...]:
        """What two questions with the same answer share. Types are told apart: 1 and true are equal to Python."""
        values = tuple((name, type(value).__name__, value) for name, value in self.values)
        return self.sql, values, self.zone, self.max_rows


@dataclass(frozen=True, slots=True)
class Answer:
    """A result, and whether it comes from an earlier question. `trouble` is why there is no newer one; `true_at_s`
    when it was known to be what the warehouse says, as Unix time: when it ran, or its tables were last found as they
    were."""

    result: Result
    true_at_s: float
    is_cached: bool = False
    trouble: CatchmentError | None = None


Run = Callable[[Question, "Handle"], ArrowStream]
"""Runs a question in a thread, and tells the handle how to end it."""


class Handle:
    """How a running question is ended from another thread."""

    def __init__(self) -> None:
        self.is_ended = False
        self._end: Callable[[], None] | None = None

    def on_end(self, end: Callable[[], None]) -> None:
        """What ends it from now on; called at once where that was asked for before."""
        self._end = end
        if self.is_ended:
            end()

    def end(self) -> None:
        """End it; nobody waits for its answer."""
        self.is_ended = True
        if self._end is not None:
            self._end()


@dataclass(slots=True)
class _Kept:
    result: Result
    versions: Mapping[str, str] | None
    checked_s: float
    true_at_s: float


@dataclass(slots=True)
class _Flight:
    task: asyncio.Task[Result]
    handle: Handle = field(default_factory=Handle)
    waiting: int = 0


class Asking:
    """All questions of a process. `run` and `versions` are called in threads."""

    def __init__(self, run: Run, versions: Callable[[frozenset[str]], Mapping[str, str]], *, at_once: int = 6) -> None:
        self._run = run
        self._versions_of = versions
        self._threads = ThreadPoolExecutor(at_once + 2, thread_name_prefix="ask")
        self._room = asyncio.Semaphore(at_once)
        self._kept: OrderedDict[tuple[Any, ...], _Kept] = OrderedDict()
        self._values = 0
        self._flights: dict[tuple[Any, ...], _Flight] = {}
        self._versions: dict[frozenset[str], tuple[float, asyncio.Future[Mapping[str, str]]]] = {}

    async def ask(self, question: Question, refresh_s: float) -> Answer:
        """The answer. Raises what the warehouse raises; where it cannot be asked and there is an older answer, that
        is given with the trouble. If all who wait for it are cancelled, the query is ended."""
        kept = self._kept.get(question.key)
        if kept is not None and await self._is_good(question, kept, refresh_s):
            self._kept.move_to_end(question.key)
            return Answer(kept.result, kept.true_at_s, is_cached=True)
        try:
            result = await self._fly(question)
        except Retry as trouble:
            if kept is None:
                raise
            return Answer(kept.result, kept.true_at_s, is_cached=True, trouble=trouble)
        return Answer(result, result.ran_at_s)

    async def _is_good(self, question: Question, kept: _Kept, refresh_s: float) -> bool:
        now_s, clock_s = time.monotonic(), time.time()
        if now_s - kept.checked_s < refresh_s:
            return True
        if kept.versions is None or question.tables is None:
            return False
        try:
            if await self.versions(question.tables) != kept.versions:
                return False
        except CatchmentError:
            return False
        kept.checked_s, kept.true_at_s = now_s, clock_s
        return True

    async def versions(self, tables: frozenset[str]) -> Mapping[str, str]:
        """The tables' versions of this moment, or of half a second ago. Raises what the warehouse raises."""
        now_s = time.monotonic()
        known = self._versions.get(tables)
        if known is None or now_s - known[0] > VERSIONS_FOR_S:
            loop = asyncio.get_running_loop()
            known = now_s, loop.run_in_executor(self._threads, self._versions_of, tables)
            self._versions = {key: at for key, at in self._versions.items() if now_s - at[0] < VERSIONS_FOR_S}
            self._versions[tables] = known
        return await asyncio.shield(known[1])

    async def _fly(self, question: Question) -> Result:
        flight = self._flights.get(question.key)
        if flight is None:
            handle = Handle()
            flight = _Flight(asyncio.create_task(self._one(question, handle)), handle)
            self._flights[question.key] = flight
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        except asyncio.CancelledError:
            if flight.waiting == 1:
                self._flights.pop(question.key, None)
                flight.handle.end()
                flight.task.cancel()
            raise
        finally:
            flight.waiting -= 1

    async def _one(self, question: Question, handle: Handle) -> Result:
        try:
            async with self._room:
                versions = await self._versions_before(question)
                loop = asyncio.get_running_loop()
                result = await loop.run_in_executor(self._threads, self._ask_in_thread, question, handle)
            self._keep(question, result, versions)
            return result
        finally:
            self._flights.pop(question.key, None)

    async def _versions_before(self, question: Question) -> Mapping[str, str] | None:
        """Taken before the query: a load in between makes the answer look older than it is, never newer."""
        if question.tables is None:
            return None
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, self._versions_of, question.tables)
        except CatchmentError:
            return None

    def _ask_in_thread(self, question: Question, handle: Handle) -> Result:
        began_s = time.perf_counter()
        asked_at_s = time.time()
        result = through_restarts(
            lambda: read(self._run(question, handle), question.max_rows), question.timeout_s, lambda: handle.is_ended
        )
        took_ms = (time.perf_counter() - began_s) * 1000
        return replace(result, ran_ms=took_ms, ran_at_s=asked_at_s)

    def _keep(self, question: Question, result: Result, versions: Mapping[str, str] | None) -> None:
        self._drop(question.key)
        self._kept[question.key] = _Kept(result, versions, time.monotonic(), result.ran_at_s)
        self._values += result.size
        while self._values > MAX_CACHED_VALUES and len(self._kept) > 1:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: tuple[Any, ...]) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._values -= kept.result.size

    def close(self) -> None:
        """End what runs."""
        for flight in list(self._flights.values()):
            flight.handle.end()
        self._threads.shutdown(wait=False, cancel_futures=True)
