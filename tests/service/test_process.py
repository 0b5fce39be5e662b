"""A process runs its services until it is told to stop, or one of them cannot go on."""

from __future__ import annotations

import json
import os
import signal
import threading
import urllib.request
from pathlib import Path

import pytest

from catchment import presence
from catchment.process import run_services
from catchment.service import Health, Stop
from tests.service.conftest import PATIENCE_S, Programs, runs, until


class Waiting:
    """Runs until told to stop."""

    def __init__(self, name: str = "load") -> None:
        self.name = name
        self.runs = 0

    def run(self, stop: Stop) -> None:
        self.runs += 1
        stop.wait()

    def health(self) -> Health:
        return Health(ok=True, ready=self.runs > 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_drains_every_service(programs: Programs, number: signal.Signals) -> None:
    run = programs.start("run", "load=plain", "serve=plain")
    programs.ready("load", "serve")
    run.send_signal(number)
    assert run.wait(PATIENCE_S) == 0
    assert sorted(programs.file("drained").split()) == ["load", "serve"]
    assert {state.state for state in presence.services(programs.runtime)} == {"stopped"}


def test_the_second_signal_interrupts(programs: Programs) -> None:
    run = programs.start("run", "load=slow")
    programs.ready("load")
    run.terminate()
    until(lambda: programs.state("load").state == "draining", "the drain")
    run.send_signal(signal.SIGINT)
    assert run.wait(PATIENCE_S) == 1
    assert programs.file("interrupted") == "load\n"


def test_what_is_not_drained_in_time_is_interrupted(programs: Programs) -> None:
    run = programs.start("run", "load=slow", DRAIN_S="0.1")
    programs.ready("load")
    run.terminate()
    assert run.wait(PATIENCE_S) == 1
    assert programs.file("interrupted") == "load\n"


def test_what_ignores_even_that_is_ended_with_its_process(programs: Programs) -> None:
    run = programs.start("run", "load=hung", "serve=plain", DRAIN_S="0.1")
    programs.ready("load", "serve")
    run.terminate()
    assert run.wait(PATIENCE_S) == 1
    assert "did not stop: ending the process" in programs.said(run)
    assert [state.state for state in presence.services(programs.runtime)] == ["died", "died"]


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("crash", "RuntimeError: cannot open with ***"),
        ("side-task", "OSError: the flusher has died"),
        ("returns", "load has ended by itself"),
    ],
)
def test_a_part_that_dies_stops_the_whole_process_with_its_reason(programs: Programs, mode: str, reason: str) -> None:
    run = programs.start("run", "serve=plain", f"load={mode}")
    assert run.wait(PATIENCE_S) == 1
    lines = [json.loads(line) for line in programs.said(run).splitlines() if line.startswith("{")]
    [failure] = [line for line in lines if line["event"] == "failed"]
    assert reason in failure["error"]
    assert "serve" in programs.file("drained"), "the others are drained, not dropped"


def test_the_private_port_tells_how_the_services_are(programs: Programs) -> None:
    programs.start("run", "load=plain")
    programs.ready("load")
    address = programs.state("load").metrics_address
    with urllib.request.urlopen(f"{address}/readyz", timeout=10) as answer:
        assert json.load(answer)["services"] == {"load": {"ok": True, "ready": True, "detail": ""}}


def test_a_second_one_of_the_same_name_has_its_own_entry(programs: Programs) -> None:
    programs.start("run", "load=plain")
    [first] = programs.ready("load")
    second = programs.start("run", "load=plain")
    [pid] = programs.ready("load-2")
    assert {first, pid} == {state.pid for state in presence.services(programs.runtime)}
    second.terminate()
    second.wait(PATIENCE_S)
    assert [state.name for state in presence.services(programs.runtime)] == ["load"]


def test_a_process_of_nobody_outlives_whoever_started_it(programs: Programs) -> None:
    run = programs.start("run", "load=plain")
    [pid] = programs.ready("load")
    assert pid == run.pid
    assert runs(pid)


def test_a_stop_before_the_start_starts_nothing(tmp_path: Path) -> None:
    service, stop = Waiting(), Stop()
    stop.drain()
    stop.drain()
    assert run_services([service], runtime=tmp_path, health_port=None, stop=stop) == 0
    assert service.runs == 0


def test_a_stop_may_come_from_any_thread_and_twice(tmp_path: Path) -> None:
    service, stop = Waiting(), Stop()

    def ask() -> None:
        until(lambda: service.runs)
        stop.drain()
        stop.drain(within_s=5)

    asking = threading.Thread(target=ask)
    asking.start()
    assert run_services([service], runtime=tmp_path, stop=stop) == 0
    asking.join()
    assert presence.services(tmp_path)[0].state == "stopped"


def test_its_signal_handlers_are_gone_afterwards() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    service, stop = Waiting(), Stop()
    threading.Timer(0.05, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()
    assert run_services([service], stop=stop, health_port=None) == 0
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_a_port_that_is_taken_is_wrong_configuration(capfd: pytest.CaptureFixture[str]) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert run_services([Waiting()], health_port=port) == 2


def test_a_folder_that_cannot_be_written_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert run_services([Waiting()], runtime=tmp_path / "file", health_port=None) == 1
