"""A query that goes on after it was ended is told from one that is waited for."""

from __future__ import annotations

import threading
import time

from catchment.warehouses.overdue import Computing, Overdue

PATIENCE_S = 30.0


def test_one_that_computes_on_after_its_end_is_late() -> None:
    given_up = threading.Event()
    with Overdue(0.01, given_up.set).watched(None) as query:
        query.end()
        assert given_up.wait(PATIENCE_S)


def test_so_is_one_that_computes_beyond_its_time() -> None:
    given_up = threading.Event()
    with Overdue(0.01, given_up.set).watched(0.0):
        assert given_up.wait(PATIENCE_S)


def test_one_that_may_run_is_never_late() -> None:
    assert Computing(None).late_s() == 0
    assert Computing(100).late_s() < 0


def test_the_wait_for_a_slow_reader_does_not_count() -> None:
    query = Computing(0.0)
    began_s = time.monotonic()
    while time.monotonic() < began_s + 0.1:
        pass
    assert query.late_s() >= 0.1
    with query.paused():
        assert query.late_s() == 0
    assert query.late_s() < time.monotonic() - began_s
