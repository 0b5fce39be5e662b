from __future__ import annotations

import signal

import pytest

from catchment.demo.sabotage import Saboteur, Sight
from catchment.presence import ServiceState


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    calls: list[tuple[int, int]] = []
    monkeypatch.setattr("os.kill", lambda pid, number: calls.append((pid, number)))
    return calls


def process(pid: int) -> ServiceState:
    return ServiceState("load", pid, "ready")


def test_each_process_is_killed_once_and_while_it_has_work(killed: list[tuple[int, int]]) -> None:
    saboteur = Saboteur(2, after_rows=10)
    assert not saboteur.look(process(1), Sight(9, 1), all_sent=False), "the first rows are to be in"
    assert not saboteur.look(process(1), Sight(10, 0), all_sent=False), "nothing waits to be loaded"
    assert saboteur.look(process(1), Sight(10, 1), all_sent=False)
    assert not saboteur.look(process(1), Sight(20, 1), all_sent=False), "that one is dead already"
    assert not saboteur.look(process(2), Sight(10, 1), all_sent=False), "nothing was loaded since"
    assert not saboteur.done
    assert saboteur.look(process(2), Sight(20, 1), all_sent=False)
    assert saboteur.done
    assert not saboteur.look(process(3), Sight(30, 1), all_sent=True)
    assert killed == [(1, signal.SIGKILL), (2, signal.SIGKILL)]


def test_when_all_is_sent_it_waits_for_nothing(killed: list[tuple[int, int]]) -> None:
    saboteur = Saboteur(2, after_rows=10)
    saboteur.look(process(1), Sight(10, 1), all_sent=False)
    assert saboteur.look(process(2), Sight(10, 1), all_sent=True)


def test_a_process_that_is_gone_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(pid: int, number: int) -> None:
        raise ProcessLookupError

    monkeypatch.setattr("os.kill", gone)
    saboteur = Saboteur(1, after_rows=0)
    assert not saboteur.look(process(1), Sight(1, 1), all_sent=False)
    assert not saboteur.done
