"""`up` restarts what dies, stops in order, and leaves nothing behind."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import socket
import subprocess
import sys
import termios
import time
from pathlib import Path

import psutil
import pytest

from catchment import presence
from catchment.errors import Abort
from catchment.presence import ServiceState, State
from catchment.supervisor import Patience, Supervisor
from tests.service.conftest import PATIENCE_S, PROGRAM, Programs, runs, until


def test_everything_is_ready_soon_and_its_addresses_are_told(programs: Programs) -> None:
    began = time.monotonic()
    programs.start("up", "collect=plain", "load=plain")
    until(lambda: programs.file("all-ready"), "all to be ready")
    assert programs.file("all-ready").splitlines() == ["collect /run/collect.sock", "load /run/load.sock"]
    assert time.monotonic() - began < 5  # on an idle machine about 0.4 s
    metrics_address = programs.state("load").metrics_address
    assert metrics_address
    assert metrics_address.startswith("http://127.0.0.1:")


def test_a_killed_child_is_restarted_and_its_neighbour_left_alone(programs: Programs) -> None:
    up = programs.start("up", "collect=plain", "load=plain")
    collect, load = programs.ready("collect", "load")
    os.kill(load, signal.SIGKILL)
    programs.ready("load", but=load)
    assert programs.state("collect").pid == collect
    assert "SIGKILL" in programs.said(up)


def test_restarts_come_later_each_time_a_child_fails_and_it_is_said_loudly(programs: Programs) -> None:
    up = programs.start("up", "load=crash")
    until(lambda: programs.said(up).count('"event":"restarting"') >= 5, "restarts")
    up.terminate()
    assert up.wait(PATIENCE_S) in (0, 1)  # 1 when the child was about to fail once more
    said = programs.said(up)
    loud = next(line for line in said.splitlines() if '"event":"keeps failing"' in line)
    assert "the disk is on fire" in loud
    assert '"failures":3' in loud
    delays = [float(part.split("}")[0]) for part in said.split('"in_s":')[1:]]
    assert 0.015 <= delays[0] <= 0.025
    assert delays[0] < delays[1] < delays[2]
    assert max(delays) <= 0.125


def test_a_child_that_was_healthy_is_restarted_at_once_again(programs: Programs) -> None:
    up = programs.start("up", "load=plain", HEALTHY_S="0")
    before = None
    for _ in range(4):
        [before] = programs.ready("load", but=before)
        # The supervisor notices readiness by itself, a moment after us.
        until(lambda: programs.file("all-ready"), "ready")
        time.sleep(0.1)
        os.kill(before, signal.SIGKILL)
    programs.ready("load", but=before)
    assert '"event":"keeps failing"' not in programs.said(up)


def test_wrong_configuration_ends_it_with_the_message(programs: Programs) -> None:
    up = programs.start("up", "collect=plain", "load=wrong")
    programs.ready("collect")
    (programs.runtime / "go").touch()
    assert up.wait(PATIENCE_S) == 2
    said = programs.said(up)
    assert said.count("[queue] type is wrong") == 2, "the child's line, and the last word of `up`"
    assert said.split("Error: ")[1].startswith("load cannot run with this configuration")
    assert programs.file("drained") == "collect\n"


def test_a_stop_while_starting_is_in_order(programs: Programs) -> None:
    up = programs.start("up", "load=never-ready")
    until(lambda: programs.state("load").pid, "the child")
    up.terminate()
    assert up.wait(PATIENCE_S) == 0


def test_who_is_not_ready_for_long_says_what_it_waits_for(programs: Programs) -> None:
    up = programs.start("up", "collect=plain", "load=never-ready", SLOW_START_S="1")
    programs.ready("collect")
    until(lambda: programs.state("load").waits_for, "the reason")
    assert programs.state("load").waits_for == "nobody answers at user:***@db"
    until(lambda: programs.file("not-all-ready"), "what is said of it")
    assert programs.file("not-all-ready").splitlines()[-1] == "load starting nobody answers at user:***@db"
    assert not programs.file("all-ready")
    until(lambda: '"why":"nobody answers at user:***@db"' in programs.said(up), "the warning")


def test_a_port_outlives_a_child_and_is_closed_by_a_stop(programs: Programs) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def is_open() -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", port)) == 0

    up = programs.start("up", "collect=plain", "load=slow", PORT=str(port))
    [collect, _] = programs.ready("collect", "load")
    os.kill(collect, signal.SIGKILL)
    while programs.state("collect").pid in {None, collect}:
        assert is_open()
    up.terminate()
    until(lambda: not is_open(), "the port to be closed")
    assert up.poll() is None, "load drains still, and nobody waits for that"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_the_first_signal_drains_in_order(programs: Programs, number: signal.Signals) -> None:
    up = programs.start("up", "collect=plain", "listen=plain", "load=plain")
    programs.ready("collect", "listen", "load")
    up.send_signal(number)
    assert up.wait(PATIENCE_S) == 0
    assert programs.file("drained").split() == ["collect", "listen", "load"]
    assert [state.state for state in presence.services(programs.runtime)] == ["stopped"] * 3
    assert up.stdout is not None
    assert up.stdout.read() == b"", "stdout is data"


def test_the_second_signal_interrupts(programs: Programs) -> None:
    up = programs.start("up", "load=slow")
    [load] = programs.ready("load")
    up.terminate()
    until(lambda: programs.file("drained"), "the drain")
    assert up.poll() is None
    up.terminate()
    assert up.wait(PATIENCE_S) == 1
    assert programs.file("interrupted") == "load\n"
    assert not runs(load)


def test_a_child_that_does_not_drain_is_ended(programs: Programs) -> None:
    up = programs.start("up", "load=hung", "serve=plain", UP_DRAIN_S="0.2")
    load, serve = programs.ready("load", "serve")
    up.terminate()
    assert up.wait(PATIENCE_S) == 1
    assert not runs(load)
    assert not runs(serve)
    assert "serve\n" in programs.file("drained"), "the one after it is still drained"
    assert "not drained in time" in programs.said(up)


def test_nothing_is_orphaned_when_the_supervisor_is_killed(programs: Programs) -> None:
    up = programs.start("up", "collect=plain", "load=grandchild", "serve=plain")
    pids = programs.ready("collect", "load", "serve")
    grandchild = int(programs.file("grandchild"))
    assert runs(grandchild)
    began = time.monotonic()
    up.kill()
    up.wait()
    until(lambda: not any(map(runs, [*pids, grandchild])), "the orphans to end")
    assert time.monotonic() - began < 5, "drained at once, not at the bound"
    assert sorted(programs.file("drained").split()) == ["collect", "load", "serve"]


def test_the_end_of_who_started_it_drains_it(programs: Programs) -> None:
    read, write = os.pipe()
    up = programs.start("up", "collect=plain", "load=plain", parent_fd=read)
    os.close(read)
    pids = programs.ready("collect", "load")
    os.close(write)  # as the kernel does, however a process ends
    assert up.wait(PATIENCE_S) == 0
    assert programs.file("drained").split() == ["collect", "load"]
    assert not any(map(runs, pids))


@pytest.mark.parametrize(("mode", "env"), [("hung", {}), ("plain", {"HANG_AFTERWARDS": "1"})])
def test_an_orphan_that_does_not_end_is_ended_within_its_bound(
    programs: Programs, mode: str, env: dict[str, str]
) -> None:
    up = programs.start("up", f"load={mode}", parent_fd=None, **env)
    [load] = programs.ready("load")
    up.kill()
    until(lambda: not runs(load), "the orphan to end")


def test_what_a_killed_child_leaves_behind_is_ended(programs: Programs) -> None:
    programs.start("up", "load=grandchild")
    [load] = programs.ready("load")
    grandchild = int(programs.file("grandchild"))
    os.kill(load, signal.SIGKILL)
    until(lambda: not runs(grandchild), "the grandchild to end")


def test_a_second_up_is_refused_by_pid(programs: Programs) -> None:
    first = programs.start("up", "load=plain")
    programs.ready("load")
    second = programs.start("up", "load=plain")
    assert second.wait(PATIENCE_S) == 1
    assert f"already runs for this project (pid {first.pid})" in programs.said(second)
    assert programs.state("load").state == "ready"


def test_a_service_that_somebody_else_runs_is_refused_by_pid(programs: Programs) -> None:
    programs.start("run", "load=plain")
    [pid] = programs.ready("load")
    up = programs.start("up", "load=plain")
    assert up.wait(PATIENCE_S) == 1
    assert f"load already runs for this project (pid {pid})" in programs.said(up)


def test_up_after_a_killed_one_waits_for_its_orphans(programs: Programs) -> None:
    first = programs.start("up", "load=slow")
    [orphan] = programs.ready("load")
    first.kill()
    second = programs.start("up", "load=plain")
    programs.ready("load", but=orphan)
    assert not runs(orphan)
    assert second.poll() is None


class Clock:
    """Time that passes by being looked at."""

    def __init__(self) -> None:
        self._now_s = 0.0

    def monotonic(self) -> float:
        self._now_s += 0.8
        return self._now_s

    def sleep(self, seconds: float) -> None:
        self._now_s += seconds


@pytest.mark.parametrize("drains", [True, False])
def test_an_orphan_that_has_drained_is_waited_for_until_its_lock_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drains: bool
) -> None:
    """It says that it has stopped a moment before it lets go of its lock, which then looks like one just starting."""
    first: State = "draining" if drains else "ready"
    states = iter([*[ServiceState("load", 7, first)] * 2, ServiceState("load", None, "starting"), None])
    monkeypatch.setattr(presence, "service", lambda runtime, name: next(states))
    monkeypatch.setattr("catchment.supervisor.time", Clock())
    supervisor = Supervisor(tmp_path, [], patience=Patience(orphan_s=1))
    if drains:
        supervisor._await_leftover("load")
        assert list(states) == []
    else:
        with pytest.raises(Abort, match="already runs"):
            supervisor._await_leftover("load")


def test_its_memory_stays_small(programs: Programs) -> None:
    up = programs.start("up", "load=plain")
    programs.ready("load")
    assert psutil.Process(up.pid).memory_info().rss < 30e6
    assert not [path for path in _mapped(up.pid) if "duckdb" in path or "zstd" in path or "ssl" in path]


def _mapped(pid: int) -> list[str]:
    try:
        return [mapping.path for mapping in psutil.Process(pid).memory_maps()]
    except (AttributeError, psutil.AccessDenied):  # macOS tells it to root alone
        return []


def test_ctrl_c_on_a_terminal_reaches_the_children_through_the_supervisor_alone(programs: Programs) -> None:
    ours, theirs = pty.openpty()
    program = [sys.executable, str(PROGRAM), "up", str(programs.runtime), "collect=plain", "load=plain"]
    up = subprocess.Popen(
        program,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - no thread runs here
    )
    os.close(theirs)
    try:
        programs.ready("collect", "load")
        os.write(ours, b"\x03")
        assert up.wait(PATIENCE_S) == 0
        assert programs.file("drained").split() == ["collect", "load"]
        shown = os.read(ours, 100_000).decode()
        assert " info    load: running mode=plain" in shown, "children write for people too"
        assert '"event"' not in shown
    finally:
        up.kill()
        up.wait()
        os.close(ours)
