"""The only collector of a project restarts again and again under `up`, and its clients do not notice."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from catchment import presence
from catchment.testing.content import rows
from tests.collect.test_service import KEY, Collecting, alone, event, make_certificate
from tests.crash.running import PATIENCE_S, REPOSITORY, opened_warehouse, until

CERTIFICATE = 'tls_certificate = "cert.pem"\ntls_key = "key.pem"\n'
CLIENTS = 3
BETWEEN_S = 0.3
SLOW_S = 0.01
"""Between a client's requests."""


class Visitor(threading.Thread):
    """Sends one event after the other until told to stop: each on a new connection, or all on one as long as it
    lasts. What fails is noted by how far it had come, and sent again."""

    def __init__(self, number: int, connect: Callable[[], http.client.HTTPConnection], *, stays: bool) -> None:
        super().__init__(daemon=True)
        self._number = number
        self._connect = connect
        self._stays = stays
        self.acknowledged = 0
        self.errors: list[tuple[str, BaseException]] = []
        """What it was at when they came: "connecting" or "asking"."""
        self.failure: BaseException | None = None
        self._done = threading.Event()

    def run(self) -> None:
        try:
            connection = self._connect()
            while not self._done.wait(SLOW_S):
                if not self._stays:
                    connection.close()
                    connection = self._connect()
                self._send(connection)
            connection.close()
        except BaseException as error:
            self.failure = error

    def _send(self, connection: http.client.HTTPConnection) -> None:
        body = json.dumps({"batch": [event(self._number, self.acknowledged)]})
        at = "connecting"
        try:
            if connection.sock is None:
                connection.connect()
            at = "asking"
            connection.request("POST", "/v1/batch", body, {"X-Write-Key": KEY})
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.errors.append((at, error))
            connection.close()
            return
        assert answer.status == 200, answer.status
        self.acknowledged += 1

    def finish(self) -> None:
        self._done.set()
        self.join(PATIENCE_S)
        assert not self.is_alive()
        assert self.failure is None, self.failure


@contextlib.contextmanager
def visited(connect: Callable[[], http.client.HTTPConnection]) -> Iterator[list[Visitor]]:
    """Clients that send all the time, the last one on a connection that stays."""
    visitors = [Visitor(number, connect, stays=number == CLIENTS) for number in range(CLIENTS + 1)]
    for visitor in visitors:
        visitor.start()
    try:
        until(lambda: all(visitor.acknowledged for visitor in visitors), "the first answers")
        yield visitors
    finally:
        for visitor in visitors:
            visitor.finish()


def restart(made: Collecting, number: signal.Signals) -> None:
    """End the collector's process, and wait until another one answers."""
    process = made.process("collect")
    assert process is not None
    process.send_signal(number)

    def is_back() -> bool:
        state = presence.service(made.project.runtime, "collect")
        return state is not None and state.state == "ready" and state.pid != process.pid

    until(is_back, "another process")
    time.sleep(BETWEEN_S)


def sent_once(made: Collecting, visitors: list[Visitor]) -> None:
    """Every acknowledged event is in the warehouse, once."""
    until(made.is_loaded, "everything to be loaded")
    made.stop_up()
    wanted = {f"{visitor._number}-{n}" for visitor in visitors for n in range(visitor.acknowledged)}
    with opened_warehouse(made.project) as warehouse:
        found = Counter(identity for (identity,) in rows(warehouse, "SELECT id FROM site.tracks"))
    assert wanted <= found.keys()
    assert set(found.values()) == {1}


@pytest.mark.parametrize(
    ("scheme", "stops", "kills"), [("http", 3, 2), pytest.param("https", 2, 0)], ids=["http", "https"]
)
def test_no_connection_is_refused_while_the_one_worker_restarts(
    tmp_path: Path, scheme: str, stops: int, kills: int
) -> None:
    """Asked to stop, it fails nobody at all; killed, it fails those alone whom it was answering."""
    is_https = scheme == "https"
    made = Collecting(tmp_path / "project", CERTIFICATE if is_https else "")
    connect = https(made) if is_https else made.connect
    try:
        made.start_up()
        until(made.is_collecting, "the collector")
        with visited(connect) as visitors:
            for _ in range(stops):
                restart(made, signal.SIGTERM)
            assert [visitor.errors for visitor in visitors] == [[]] * len(visitors)
            for _ in range(kills):
                restart(made, signal.SIGKILL)
        assert [error for visitor in visitors for at, error in visitor.errors if at == "connecting"] == []
        assert made.said().count("was stopped: restarting") == stops
        sent_once(made, visitors)
    finally:
        made.close()


def https(made: Collecting) -> Callable[[], http.client.HTTPConnection]:
    make_certificate(made.folder, "a.example")
    context = ssl.create_default_context(cafile=str(made.folder / "cert.pem"))
    context.check_hostname = False
    return lambda: http.client.HTTPSConnection("127.0.0.1", made.port, context=context, timeout=PATIENCE_S)


# ---- without `up` ---------------------------------------------------------------------


def activated(made: Collecting, held: socket.socket, command: list[str]) -> subprocess.Popen[bytes]:
    """A command of `catchment` as systemd starts it for a socket unit."""
    program = f"""
import os, sys
os.dup2({held.fileno()}, 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES="collect")
os.execv(sys.executable, [sys.executable, "-m", "catchment", *{command!r}, "-p", {str(made.folder)!r}])
"""
    return subprocess.Popen(
        [sys.executable, "-c", program], cwd=REPOSITORY, pass_fds=[held.fileno()], stderr=subprocess.DEVNULL
    )


@pytest.mark.parametrize("command", [["run", "collect"], ["up"]], ids=" ".join)
def test_who_connects_to_a_socket_of_systemd_waits_for_the_next_process(tmp_path: Path, command: list[str]) -> None:
    """The socket is not the project's own address, so that it can only be the one that was given."""
    made = Collecting(tmp_path / "project")
    with socket.create_server(("127.0.0.1", 0), backlog=64) as held:
        made.port = held.getsockname()[1]
        for number in range(2):
            early = made.connect()
            early.connect()  # nobody accepts yet
            process = activated(made, held, command)
            with contextlib.closing(early), alone(made, process):
                assert made.post(early, {"batch": [event(9, number)]}) == 200


def test_who_waits_in_the_queue_of_a_socket_of_our_own_is_answered_before_it_closes(tmp_path: Path) -> None:
    """A stopped process does not accept: what then waits comes first when it goes on, with the signal to stop."""
    made = Collecting(tmp_path / "project", "workers = 2\n")
    process = made._start("-m", "catchment", "run", "-p", str(made.folder), "collect")
    with alone(made, process):
        process.send_signal(signal.SIGSTOP)
        waiting = [made.connect_raw() for _ in range(50)]
        for each in waiting:
            each.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGCONT)
        for each in waiting:
            with each:
                assert each.recv(100).startswith(b"HTTP/1.1 200")
        assert process.wait(PATIENCE_S) == 0


def test_a_connection_without_a_request_has_a_moment_to_send_one_after_the_signal(tmp_path: Path) -> None:
    """A close at once could cross the request on its way."""
    made = Collecting(tmp_path / "project")
    process = made._start("-m", "catchment", "run", "-p", str(made.folder), "collect")
    with alone(made, process), made.connect_raw() as new, made.connect_raw() as kept, made.connect_raw() as idle:
        for each in (kept, idle):
            each.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
            assert each.recv(1_000).startswith(b"HTTP/1.1 200")
        process.send_signal(signal.SIGTERM)
        until(lambda: '"event":"draining"' in made.said(), "the signal to be heard")
        time.sleep(0.3)
        for each in (new, kept):
            each.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
            answer = each.recv(1_000)
            assert answer.startswith(b"HTTP/1.1 200")
            assert b"connection: close" in answer
        assert idle.recv(1) == b""
        assert process.wait(PATIENCE_S) == 0
