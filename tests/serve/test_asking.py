"""Each question once, however many wait; again only when its answer may differ; ended when nobody waits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import pytest

from catchment.errors import Retry, UsageError, WarehouseDown, WarehouseGone
from catchment.serve.asking import Asking, Handle, Question
from catchment.serve.restarts import RUNS
from catchment.warehouses import ArrowStream
from tests.serve.streams import Stream


class Asked:
    """A warehouse that counts what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.version = {"t": "1"}
        self.wait = threading.Event()
        self.wait.set()
        self.began = threading.Event()
        self.ended: list[str] = []
        self.error: Exception | None = None

    def run(self, question: Question, handle: Handle) -> ArrowStream:
        self.asked.append(question.sql)
        over = threading.Event()

        def end() -> None:
            self.ended.append(question.sql)
            over.set()

        handle.on_end(end)
        self.began.set()
        while not self.wait.wait(0.01):
            if over.is_set():
                raise UsageError("ended")
        if self.error is not None:
            raise self.error
        return Stream(question.sql)

    def versions(self, tables: frozenset[str]) -> Mapping[str, str]:
        return {table: self.version[table] for table in tables}


def run(work: Callable[[Asking, Asked], Coroutine[Any, Any, None]]) -> Asked:
    asked = Asked()

    async def main() -> None:
        asking = Asking(asked.run, asked.versions)
        try:
            await work(asking, asked)
        finally:
            asked.wait.set()
            asking.close()

    asyncio.run(main())
    return asked


@pytest.fixture(autouse=True)
def versions_as_of_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else they are those of half a second ago."""
    monkeypatch.setattr("catchment.serve.asking.VERSIONS_FOR_S", -1.0)


QUESTION = Question("select 42 as n", tables=frozenset({"t"}))


def test_many_who_ask_the_same_at_once_are_answered_by_one_query() -> None:
    async def work(asking: Asking, asked: Asked) -> None:
        answers = await asyncio.gather(*(asking.ask(QUESTION, 60) for _ in range(50)))
        assert [answer.result.rows for answer in answers] == [((42,),)] * 50

    assert run(work).asked == ["select 42 as n"]


def test_an_old_answer_is_good_as_long_as_its_tables_are_what_they_were() -> None:
    async def work(asking: Asking, asked: Asked) -> None:
        assert not (await asking.ask(QUESTION, 0)).is_cached
        assert (await asking.ask(QUESTION, 0)).is_cached
        asked.version = {"t": "2"}
        assert not (await asking.ask(QUESTION, 0)).is_cached

    assert len(run(work).asked) == 2


def test_nothing_is_asked_again_before_the_refresh() -> None:
    async def work(asking: Asking, asked: Asked) -> None:
        await asking.ask(QUESTION, 60)
        asked.version = {"t": "2"}
        assert (await asking.ask(QUESTION, 60)).is_cached

    assert len(run(work).asked) == 1


def test_what_changes_with_the_clock_is_cached_by_age_alone() -> None:
    async def work(asking: Asking, asked: Asked) -> None:
        question = Question("select 1")
        await asking.ask(question, 60)
        assert (await asking.ask(question, 60)).is_cached
        assert not (await asking.ask(question, 0)).is_cached

    assert len(run(work).asked) == 2


@pytest.mark.parametrize("other", [(("a", True),), (("a", "1"),), (("a", 1.0),)])
def test_values_of_other_types_are_other_questions(other: tuple[tuple[str, Any], ...]) -> None:
    assert Question("select 1", (("a", 1),)).key != Question("select 1", other).key


def test_whoever_leaves_last_ends_the_query_and_not_before() -> None:
    async def work(asking: Asking, asked: Asked) -> None:
        asked.wait.clear()
        first, second = (asyncio.create_task(asking.ask(QUESTION, 60)) for _ in range(2))
        await asyncio.to_thread(asked.began.wait)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        assert asked.ended == []
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        assert asked.ended == [QUESTION.sql]

    run(work)


def test_one_who_stays_is_answered_though_another_leaves() -> None:
    async def work(asking: Asking, asked: Asked) -> None:
        asked.wait.clear()
        leaver, stayer = (asyncio.create_task(asking.ask(QUESTION, 60)) for _ in range(2))
        await asyncio.to_thread(asked.began.wait)
        leaver.cancel()
        await asyncio.gather(leaver, return_exceptions=True)
        asked.wait.set()
        assert (await stayer).result.rows == ((42,),)

    run(work)


def test_while_the_warehouse_is_down_the_last_answer_is_given_with_the_trouble() -> None:
    async def work(asking: Asking, asked: Asked) -> None:
        await asking.ask(QUESTION, 0)
        asked.version = {"t": "2"}
        asked.error = WarehouseDown("gone")
        answer = await asking.ask(QUESTION, 0)
        assert answer.result.rows == ((42,),)
        assert str(answer.trouble) == "gone"

    run(work)


def test_a_query_runs_again_where_the_warehouse_went_in_its_middle() -> None:
    async def work(asking: Asking, asked: Asked) -> None:
        gone = iter([WarehouseGone("restarted"), WarehouseDown("not there yet"), WarehouseDown("nor now")])

        def run(question: Question, handle: Handle) -> ArrowStream:
            error = next(gone, None)
            if error is not None:
                raise error
            return Stream(question.sql)

        asking._run = run
        assert (await asking.ask(Question("select 1"), 10)).trouble is None

    run(work)


@pytest.mark.parametrize("timeout_s", [30.0, 0.0], ids=["it goes each time", "because of this very query"])
def test_it_does_not_for_ever(timeout_s: float) -> None:
    async def work(asking: Asking, asked: Asked) -> None:
        asked.error = WarehouseGone("restarted")
        with pytest.raises(Retry, match="restarted" if timeout_s else "took longer than 0 s"):
            await asking.ask(Question("select 1", timeout_s=timeout_s), 10)

    assert len(run(work).asked) == (RUNS if timeout_s else 1)


def test_an_error_is_everybody_s_and_is_not_kept() -> None:
    async def work(asking: Asking, asked: Asked) -> None:
        asked.error = UsageError("no such table")
        found = await asyncio.gather(*(asking.ask(QUESTION, 60) for _ in range(3)), return_exceptions=True)
        assert [str(error) for error in found] == ["no such table"] * 3
        asked.error = None
        assert (await asking.ask(QUESTION, 60)).result.rows == ((42,),)

    run(work)
