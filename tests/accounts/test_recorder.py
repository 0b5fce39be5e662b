"""The audit of queries: written beside the answers, bounded, and never lost in silence."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catchment.errors import NoSpace
from catchment.serve.accounts import Client, User
from catchment.serve.accounts import recorder as module
from catchment.serve.accounts.recorder import Recorder
from catchment.serve.config import ServeConfig
from catchment.state import State
from catchment.state.audit import MAX_SQL_CHARACTERS, Audit, Entry
from tests.accounts.asking import World

NOW = datetime(2026, 11, 30, tzinfo=UTC)
ANA = User("1", "ana@acme.example", "Ana", "analyst", frozenset())
HERE = Client("203.0.113.7", "Firefox")


@contextmanager
def running(recorder: Recorder) -> Iterator[None]:
    thread = threading.Thread(target=recorder.run)
    thread.start()
    try:
        yield
    finally:
        recorder.close()
        thread.join()


def note(recorder: Recorder, world: World, sql: str, **more: Any) -> None:
    recorder.query(ANA, HERE, sql, **{"began_at": world.clock(), "ms": 3, "outcome": "done", **more})


def kept(world: World, limit: int = 100) -> list[Entry]:
    with world.state.reading() as transaction:
        return Audit(transaction).latest(limit)


def test_a_query_is_a_row(world: World) -> None:
    recorder = Recorder(world.state, world.config, world.clock)
    with running(recorder):
        note(recorder, world, "select 1", rows=1, tables=("web.tracks",), about="dashboard chat-queue")
        token = User("1", "ana@acme.example", "Ana", "viewer", frozenset(), token="t1")
        recorder.query(token, HERE, "x" * 30_000, began_at=world.clock(), ms=9, outcome="failed", about="line 1: no")
    last, first = kept(world)
    assert first == Entry(
        world.clock(), "query", "done", "1", "ana@acme.example", "session", HERE.address, "dashboard chat-queue",
        "select 1", ("web.tracks",), 3, 1,
    )  # fmt: skip
    assert (last.via, last.outcome, last.rows, last.tables) == ("token t1", "failed", None, None)
    assert len(last.sql or "") == MAX_SQL_CHARACTERS + 1


def test_it_forgets_what_is_old_and_what_is_too_much(world: World) -> None:
    config = ServeConfig(audit_keep=timedelta(days=2), audit_max_rows=1_000)
    with world.state.writing() as transaction:
        entries = [
            Entry(world.clock() - timedelta(minutes=number), "query", "done", None, "", "", "", str(number))
            for number in range(6_000)
        ]
        Audit(transaction).add(*entries)
    recorder = Recorder(world.state, config, world.clock)
    assert recorder._forget_some(world.clock() - config.audit_keep)
    assert len(kept(world, 10_000)) == 2_881
    recorder._forget()
    left = kept(world, 10_000)
    assert [int(entry.about) for entry in left] == list(range(1_000))


class Full:
    """A state on a full disk, for a while."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.is_full = True

    @contextmanager
    def writing(self) -> Iterator[Any]:
        if self.is_full:
            raise NoSpace("no space is left")
        with self._state.writing() as transaction:
            yield transaction


def test_on_a_full_disk_rows_wait_and_what_is_lost_is_said(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 700)
    state: Any = Full(world.state)
    recorder = Recorder(state, world.config, world.clock)
    with caplog.at_level(logging.INFO):
        for number in range(710):
            note(recorder, world, f"select {number}")
        recorder._write()
        recorder._write()
        state.is_full = False
        recorder._write()
    assert [entry.sql for entry in reversed(kept(world, 1_000))] == [f"select {number}" for number in range(10, 710)]
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert "rows wait" in said[0]
    assert "10" in str(caplog.records[1].__dict__)


def test_who_notes_waits_for_nobody(world: World) -> None:
    recorder = Recorder(world.state, world.config, world.clock)
    with running(recorder), world.state.writing():
        # The state is locked by us: had noting waited for it, we would not get on.
        for number in range(100):
            note(recorder, world, f"select {number}")
    assert len(kept(world, 1_000)) == 100


def test_any_text_is_kept(world: World) -> None:
    @settings(deadline=None)
    @given(st.text(max_size=50), st.lists(st.text(max_size=10), max_size=5))
    def is_kept(sql: str, tables: list[str]) -> None:
        with world.state.writing() as transaction:
            Audit(transaction).add(Entry(NOW, "query", "done", None, "", "", "", "", sql, tuple(tables)))
            [entry] = Audit(transaction).latest(1)
            assert (entry.sql, entry.tables) == (sql, tuple(tables))

    is_kept()
