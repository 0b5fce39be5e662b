"""Only a lock proves that a service lives; files and pids may be left over."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from catchment import presence
from catchment.errors import StorageError
from catchment.presence import Presence, ServiceState
from tests.service.conftest import PATIENCE_S, Programs, until


def test_a_service_is_seen_while_it_runs_and_after(tmp_path: Path) -> None:
    here = Presence.claim(tmp_path, "load")
    assert presence.service(tmp_path, "load") == presence.services(tmp_path)[0]
    here.update("ready", address="/run/x.sock")
    here.update("draining", metrics_address="http://127.0.0.1:1")
    [state] = presence.services(tmp_path)
    assert (state.pid, state.state, state.address) == (os.getpid(), "draining", "/run/x.sock")
    assert state.started_at
    here.close()
    here.close()
    here.update("ready")
    [state] = presence.services(tmp_path)
    assert state.state == "stopped"
    assert not state.alive


def test_a_killed_service_has_died_even_if_its_pid_is_in_use_again(programs: Programs) -> None:
    run = programs.start("run", "load=plain")
    programs.ready("load")
    run.kill()
    run.wait(PATIENCE_S)
    file = programs.runtime / "services" / "load.json"
    left = file.read_bytes()
    assert b'"ready"' in left
    file.write_bytes(left.replace(str(run.pid).encode(), str(os.getpid()).encode()))
    state = programs.state("load")
    assert (state.pid, state.state) == (None, "died")


def test_restarting_is_believed_only_while_somebody_restarts(tmp_path: Path) -> None:
    presence.note(tmp_path, "load", "restarting")
    with presence.hold(tmp_path / presence.UP_LOCK):
        assert presence.services(tmp_path) == [ServiceState("load", None, "restarting")]
    assert presence.services(tmp_path) == [ServiceState("load", None, "died")]


@pytest.mark.parametrize("content", [b"", b'{"name":"lo', b'{"name":"load","pid":1,"state":"levitating"}', b"[]"])
def test_a_file_that_says_nothing_is_no_error(tmp_path: Path, content: bytes) -> None:
    Presence.claim(tmp_path, "load").close()
    (tmp_path / "services" / "load.json").write_bytes(content)
    assert presence.services(tmp_path) == [ServiceState("load", None, "died")]


def test_nothing_ran_in_a_new_project(tmp_path: Path) -> None:
    assert presence.services(tmp_path) == []
    assert presence.service(tmp_path, "load") is None


def test_a_child_process_does_not_inherit_the_lock(tmp_path: Path) -> None:
    here = Presence.claim(tmp_path, "load")
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False)
    here.close()
    # The system closes what is not inherited while the child starts, some of it after Popen has returned.
    until(lambda: presence.holder(tmp_path / "services" / "load.lock") is None)
    child.communicate(b"\n")


def test_a_reader_that_is_kept_waiting_takes_no_name_away(tmp_path: Path) -> None:
    """As on a machine so busy that one who looks does not run again for a while."""
    Presence.claim(tmp_path, "load").close()
    reader = os.open(tmp_path / presence.SERVICES / "load.lock", os.O_RDONLY)
    fcntl.flock(reader, fcntl.LOCK_SH)
    threading.Timer(1, os.close, [reader]).start()
    with closing(Presence.claim(tmp_path, "load")):
        assert [each.name for each in presence.services(tmp_path)] == ["load"]


def test_a_lock_tells_its_holder(tmp_path: Path) -> None:
    lock = tmp_path / "up.lock"
    with presence.hold(lock) as first:
        assert first is None
        with presence.hold(lock) as second:
            assert second == os.getpid()
    assert presence.holder(lock) is None


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot make the folder"):
        Presence.claim(tmp_path / "file", "load")
