"""`Stop` moves one way, whoever asks, as often as they ask."""

from __future__ import annotations

import math
import threading

import pytest

from catchment.service import Stop
from tests.service.conftest import until


def fail() -> None:
    raise OSError("broken")


def test_it_wakes_whoever_waits() -> None:
    stop = Stop()
    assert not stop.wait(0)
    threading.Timer(0.02, stop.drain).start()
    assert stop.wait(30)
    assert stop.draining
    assert not stop.interrupted


def test_its_time_only_gets_shorter() -> None:
    stop = Stop()
    assert stop.remaining_s == math.inf
    stop.drain()
    assert stop.remaining_s == math.inf
    stop.drain(within_s=100)
    stop.drain(within_s=200)
    assert 90 < stop.remaining_s <= 100
    stop.interrupt()
    assert stop.remaining_s == 0


def test_an_interrupt_is_a_drain_too() -> None:
    stop = Stop()
    stop.interrupt()
    assert stop.draining
    assert stop.interrupted


@pytest.mark.parametrize("late", [False, True])
def test_callbacks_are_called_once_whenever_they_come(late: bool) -> None:
    stop = Stop()
    calls: list[str] = []
    if late:
        stop.interrupt()
    stop.on_drain(lambda: calls.append("drain"))
    stop.on_interrupt(lambda: calls.append("interrupt"))
    stop.drain()
    stop.interrupt()
    stop.interrupt()
    assert calls == ["drain", "interrupt"]


def test_a_broken_callback_keeps_no_other_from_its_turn() -> None:
    stop = Stop()
    calls: list[str] = []
    stop.on_drain(fail)
    stop.on_drain(lambda: calls.append("second"))
    stop.drain()
    assert calls == ["second"]


def test_a_callback_may_use_the_stop() -> None:
    stop = Stop()
    stop.on_drain(stop.interrupt)
    stop.drain()
    assert stop.interrupted


def test_the_first_failure_is_the_first_reason() -> None:
    stop = Stop()
    for name in ("first", "second"):
        stop.start(name, fail).join()
    assert [failure.part for failure in stop.failures] == ["first", "second"]
    assert isinstance(stop.failures[0].reason, OSError)
    assert stop.draining


def test_a_side_task_that_has_done_its_work_stops_nothing() -> None:
    stop = Stop()
    done = threading.Event()
    stop.start("short", done.set)
    until(done.is_set)
    assert not stop.draining
