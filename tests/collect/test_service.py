"""The collector as a process: what it answers 200 survives kill -9 of everything, and it stops in order."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from catchment.testing.content import rows
from tests.crash.running import PATIENCE_S, REPOSITORY, Running, make_project, opened_warehouse, until
from tests.servers.ports import free_port

KEY = "the-key"
EVENTS = 20_000
CLIENTS = 4
KILLS = 14
LARGEST_BATCH = 40


class Collecting(Running):
    """A project with a source, and its processes."""

    def __init__(self, folder: Path, more: str = "") -> None:
        self.port = free_port()
        settings = f'[load]\nmax_age_s = 0.2\n[collect]\nlisten = "127.0.0.1:{self.port}"\nrequests_per_s = 0\n{more}'
        super().__init__(make_project(folder, f'{settings}[collect.sources.site]\nwrite_key = "{KEY}"\n'))

    def process(self, service: str) -> psutil.Process | None:
        """The child of `up` that runs a service, if there is one at the moment."""
        assert self._up is not None
        try:
            children = psutil.Process(self._up.pid).children()
            return next((child for child in children if child.cmdline()[-1:] == [service]), None)
        except psutil.NoSuchProcess:
            return None

    def kill(self, service: str) -> None:
        until(lambda: self.process(service), f"a process of {service}")
        process = self.process(service)
        if process is not None:
            process.kill()

    def post(self, connection: http.client.HTTPConnection, body: Any) -> int:
        """The status of a batch's answer."""
        connection.request("POST", "/v1/batch", json.dumps(body), {"X-Write-Key": KEY})
        answer = connection.getresponse()
        answer.read()
        return answer.status

    def connect(self) -> http.client.HTTPConnection:
        return self.connect_to(self.port)

    @staticmethod
    def connect_to(port: int) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)

    def connect_raw(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)

    def is_collecting(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@contextlib.contextmanager
def alone(made: Collecting, process: subprocess.Popen[bytes]) -> Iterator[None]:
    """While this process, which is no child of `up`, collects; it stops in order at the end."""
    try:
        until(made.is_collecting, "the collector")
        yield
    finally:
        process.terminate()
        assert process.wait(PATIENCE_S) == 0
        made.close()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Collecting]:
    made = Collecting(tmp_path / "project")
    try:
        made.start_up()
        until(made.is_collecting, "the collector")
        yield made
    finally:
        made.close()


class Client(threading.Thread):
    """Sends its share of events in batches, each again until it is answered 200, as an SDK does."""

    def __init__(self, running: Collecting, number: int, events: int) -> None:
        super().__init__(daemon=True)
        self._running = running
        self._number = number
        self._events = events
        self.acknowledged = 0
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            self._send()
        except BaseException as error:
            self.failure = error

    def _send(self) -> None:
        rng = random.Random(self._number)
        connection = self._running.connect()
        while self.acknowledged < self._events:
            size = min(rng.randint(1, LARGEST_BATCH), self._events - self.acknowledged)
            calls = [event(self._number, self.acknowledged + n) for n in range(size)]
            while True:
                try:
                    status = self._running.post(connection, {"batch": calls})
                except (OSError, http.client.HTTPException):
                    connection.close()
                    connection = self._running.connect()
                    time.sleep(0.02)
                    continue
                assert status in {200, 503}, status
                if status == 200:
                    break
            self.acknowledged += size
        connection.close()


def event(client: int, number: int) -> dict[str, Any]:
    return {
        "type": "track",
        "event": f"Event {number % 5}",
        "messageId": f"{client}-{number}",
        "userId": f"u{number % 50}",
        "properties": {"number": number, "text": "😀" * (number % 3)},
    }


def test_every_acknowledged_event_is_there_once_through_kill_9_of_everything(running: Collecting) -> None:
    clients = [Client(running, number, EVENTS // CLIENTS) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    victims = ["collect"] * 7 + ["load"] * 5 + ["up"] * 2
    random.Random(1).shuffle(victims)
    assert len(victims) == KILLS
    for number, victim in enumerate(victims, start=1):
        share = EVENTS * number / (KILLS + 1)
        until(lambda share=share: sum(c.acknowledged for c in clients) >= share, f"{share:.0f} events")  # type: ignore[misc]
        if victim == "up":
            running.kill_supervisor()
        else:
            running.kill(victim)
    for client in clients:
        client.join(PATIENCE_S)
        assert client.failure is None, client.failure
        assert not client.is_alive()
    until(running.is_loaded, "everything to be loaded")
    running.stop_up()
    wanted = Counter(f"{client}-{number}" for client in range(CLIENTS) for number in range(EVENTS // CLIENTS))
    with opened_warehouse(running.project) as warehouse:
        tracks = Counter(identity for (identity,) in rows(warehouse, "SELECT id FROM site.tracks"))
        per_event = " UNION ALL ".join(f"SELECT id FROM site.event_{n}" for n in range(5))
        events = Counter(identity for (identity,) in rows(warehouse, per_event))
        letters = rows(warehouse, "SELECT * FROM catchment.dead_letters")
    assert tracks == wanted
    assert events == wanted
    assert letters == []


def test_it_stops_in_order(running: Collecting) -> None:
    with contextlib.closing(running.connect()) as connection:
        assert running.post(connection, {"batch": [event(9, 1)]}) == 200
        running.stop_up()
    assert '"event":"died"' not in running.said()


def test_users_have_the_latest_value_of_every_trait(running: Collecting) -> None:
    def identify(identity: str, moment: str, **traits: Any) -> dict[str, Any]:
        call = {"type": "identify", "userId": "u", "messageId": identity, "timestamp": moment, "traits": traits}
        return call | {"context": {"locale": identity}}

    with contextlib.closing(running.connect()) as connection:
        calls = [
            identify("1", "2026-11-23T10:00:00Z", plan="free", address={"city": "Oslo"}),
            identify("2", "2026-11-23T12:00:00Z", plan="paid"),
        ]
        assert running.post(connection, {"batch": calls}) == 200
        until(running.is_loaded, "the first to be loaded")
        late = identify("3", "2026-11-23T11:00:00Z", plan="trial", age=7)
        assert running.post(connection, {"batch": [late]}) == 200
        until(running.is_loaded, "the late one to be loaded")
    running.stop_up()
    question = "SELECT id, plan, address_city, age, context_locale FROM site.users"
    with opened_warehouse(running.project) as warehouse:
        assert rows(warehouse, question) == [("u", "paid", "Oslo", 7, "2")]


def test_its_address_and_health_are_told(running: Collecting) -> None:
    with contextlib.closing(running.connect()) as connection:
        connection.request("GET", "/readyz")
        assert connection.getresponse().status == 200
    until(lambda: f"http://127.0.0.1:{running.port}" in running.said(), "its address")


def test_a_port_that_is_taken_is_said_plainly(tmp_path: Path, running: Collecting) -> None:
    other = Collecting(tmp_path / "other")
    toml = other.folder / "catchment.toml"
    toml.write_text(toml.read_text().replace(str(other.port), str(running.port)))
    process = other._start("-m", "catchment", "run", "-p", str(other.folder), "collect")
    assert process.wait(PATIENCE_S) == 1
    assert "cannot listen on" in other.said()
    assert "Traceback" not in other.said()
    other.close()


def test_another_port_can_be_asked_for(tmp_path: Path) -> None:
    made = Collecting(tmp_path / "project")
    made.port = free_port()
    process = made._start(
        "-m", "catchment", "run", "-p", str(made.folder), "--collect-port", str(made.port), "collect"
    )
    with alone(made, process):
        assert made.is_collecting()


def test_connections_are_not_bounded_by_what_a_system_begins_with(tmp_path: Path) -> None:
    made = Collecting(tmp_path / "project", "max_connections = 3000\n")
    command = f"ulimit -S -n 256; exec {sys.executable} -m catchment run -p {made.folder} collect"
    process = subprocess.Popen(["sh", "-c", command], cwd=REPOSITORY, stderr=subprocess.DEVNULL)
    with alone(made, process), contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(made.connect_raw()) for _ in range(600)]
        for each in sockets:
            each.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
            assert each.recv(100).startswith(b"HTTP/1.1 200")


def test_several_workers_share_the_port(tmp_path: Path) -> None:
    made = Collecting(tmp_path / "project", "workers = 3\n")
    try:
        made.start_up()
        names = ["collect", "collect-2", "collect-3"]
        until(lambda: all(f'"part":"{name}","address":"http' in made.said() for name in names), "the workers")
        for number in range(60):  # a new connection each: the kernel deals them out
            with contextlib.closing(made.connect()) as connection:
                assert made.post(connection, {"batch": [event(7, number)]}) == 200
        until(made.is_loaded, "everything to be loaded")
        made.stop_up()
        with opened_warehouse(made.project) as warehouse:
            assert rows(warehouse, "SELECT count(*), count(DISTINCT id) FROM site.tracks") == [(60, 60)]
        assert len(list((made.project.runtime / "queue").glob("*"))) > 1
    finally:
        made.close()


def test_https_with_a_certificate_that_is_renewed(tmp_path: Path) -> None:
    made = Collecting(tmp_path / "project", 'tls_certificate = "cert.pem"\ntls_key = "key.pem"\n')
    make_certificate(made.folder, "first.example")
    process = made._start("-m", "catchment", "run", "-p", str(made.folder), "collect")
    with alone(made, process):
        assert served_name(made.port) == "first.example"
        make_certificate(made.folder, "second.example")
        for name in ("cert.pem", "key.pem"):  # written within the clock's step, its time would be the same
            written = (made.folder / name).stat().st_mtime
            os.utime(made.folder / name, (written + 2, written + 2))
        until(lambda: served_name(made.port) == "second.example", "the new certificate")
        trusting = ssl.create_default_context(cafile=str(made.folder / "cert.pem"))
        trusting.check_hostname = False
        connection = http.client.HTTPSConnection("127.0.0.1", made.port, context=trusting, timeout=PATIENCE_S)
        with contextlib.closing(connection):
            assert made.post(connection, {"batch": [event(6, 1)]}) == 200


def test_a_handshake_has_the_time_of_a_head(tmp_path: Path) -> None:
    settings = 'tls_certificate = "cert.pem"\ntls_key = "key.pem"\nheader_timeout_s = 1.0\n'
    made = Collecting(tmp_path / "project", settings)
    make_certificate(made.folder, "a.example")
    process = made._start("-m", "catchment", "run", "-p", str(made.folder), "collect")
    with alone(made, process), made.connect_raw() as silent:
        silent.settimeout(20)
        with contextlib.suppress(ConnectionResetError):
            assert silent.recv(1) == b""


def test_a_certificate_that_is_none_is_said_plainly(tmp_path: Path) -> None:
    made = Collecting(tmp_path / "project", 'tls_certificate = "cert.pem"\ntls_key = "key.pem"\n')
    process = made._start("-m", "catchment", "run", "-p", str(made.folder), "collect")
    assert process.wait(PATIENCE_S) == 2
    assert "tls_certificate" in made.said()
    assert "Traceback" not in made.said()
    made.close()


def make_certificate(folder: Path, name: str) -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
         "2", "-subj", f"/CN={name}", "-keyout", "key.new", "-out", "cert.new"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    for kind in ("key", "cert"):
        (folder / f"{kind}.new").rename(folder / f"{kind}.pem")


def served_name(port: int) -> str:
    """The common name of the certificate that is served."""
    text = ssl.get_server_certificate(("127.0.0.1", port), timeout=PATIENCE_S)
    done = subprocess.run(
        ["openssl", "x509", "-noout", "-subject", "-nameopt", "multiline"],
        input=text, text=True, capture_output=True, check=True,
    )  # fmt: skip
    return done.stdout.rpartition("=")[2].strip()


def test_a_signal_lets_the_open_request_finish(running: Collecting) -> None:
    """The head has come, the body comes after the signal: it is answered, and kept."""
    body = json.dumps({"batch": [event(8, 1)]}).encode()
    with socket.create_connection(("127.0.0.1", running.port), timeout=PATIENCE_S) as client:
        client.sendall(b"POST /v1/batch HTTP/1.1\r\nX-Write-Key: %b\r\nContent-Length: %d\r\n\r\n{" % (
            KEY.encode(), len(body),
        ))  # fmt: skip
        time.sleep(0.3)
        process = running.process("collect")
        assert process is not None
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        client.sendall(body[1:])
        assert client.recv(1000).startswith(b"HTTP/1.1 200")
