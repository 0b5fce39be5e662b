"""The age of rounds: short while loading is light, longer while it takes much of a core, and never past its bounds."""

from __future__ import annotations

import time

import pytest

from catchment.errors import Retry
from catchment.load.pace import LONGEST_S, Pace


class Clock:
    """Time and CPU time that pass when a test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1000.0
        self.cpu_s = 0.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now_s)
        monkeypatch.setattr(time, "thread_time", lambda: self.cpu_s)

    def pass_(self, pace: Pace, share: float, seconds: int) -> list[float]:
        """So many seconds in which loading takes `share` of a core; the age at the end of each."""
        ages = []
        for _ in range(seconds):
            with pace.working():
                self.cpu_s += share
            self.now_s += 1
            ages.append(pace.age_s())
        return ages


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_light_work_keeps_rounds_short(clock: Clock) -> None:
    pace = Pace(0.5)
    assert set(clock.pass_(pace, 0.1, 60)) == {0.5}


def test_heavy_work_stretches_them_up_to_the_bound(clock: Clock) -> None:
    ages = clock.pass_(Pace(0.5), 0.9, 60)
    assert ages == sorted(ages)
    assert ages[-1] == LONGEST_S


def test_they_shrink_again(clock: Clock) -> None:
    pace = Pace(0.5)
    clock.pass_(pace, 0.9, 60)
    assert clock.pass_(pace, 0.01, 120)[-1] == 0.5


def test_work_about_right_changes_nothing(clock: Clock) -> None:
    pace = Pace(0.5)
    clock.pass_(pace, 0.9, 5)
    clock.pass_(pace, 0.25, 30)
    assert len(set(clock.pass_(pace, 0.25, 10))) == 1


def test_a_configured_age_above_the_bound_is_kept(clock: Clock) -> None:
    pace = Pace(60.0)
    assert set(clock.pass_(pace, 0.9, 30)) == {60.0}


def test_a_burst_is_forgotten_within_a_minute(clock: Clock) -> None:
    pace = Pace(0.5)
    with pace.working():
        clock.cpu_s += 30
    assert clock.pass_(pace, 0.0, 60)[-1] == 0.5


def test_work_that_fails_is_counted(clock: Clock) -> None:
    pace = Pace(0.5)

    def fail() -> None:
        with pace.working():
            clock.cpu_s += 30
            raise Retry("no")

    with pytest.raises(Retry):
        fail()
    clock.now_s += 1
    assert pace.age_s() > 0.5
