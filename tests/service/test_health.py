"""The private port answers its three paths, and nothing that is sent to it does harm."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from catchment import health, log, metrics
from catchment.errors import UsageError
from catchment.health import HealthServer
from catchment.service import Health

SECRET = "hunter2 and more"


class Well:
    """What the server is told; changed by the tests."""

    def __init__(self) -> None:
        self.now = {"load": Health(ok=True, ready=True)}

    def __call__(self) -> dict[str, Health]:
        return self.now


@pytest.fixture
def well() -> Well:
    return Well()


@pytest.fixture
def server(well: Well) -> Iterator[HealthServer]:
    made = HealthServer(well)
    yield made
    made.close()


def connect(server: HealthServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(server.address.rpartition(":")[2])), timeout=20)


def exchange(server: HealthServer, request: bytes) -> bytes:
    """All that comes back for these bytes; empty when the connection is simply closed."""
    with connect(server) as connection:
        answer = b""
        with suppress(OSError):  # closed on us, in the middle of it
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            while data := connection.recv(65536):
                answer += data
        return answer


def get(server: HealthServer, path: str, method: str = "GET") -> tuple[int, bytes]:
    head, _, body = exchange(server, f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()).partition(b"\r\n\r\n")
    return int(head.split()[1]), body


def test_it_tells_well_from_ill(server: HealthServer, well: Well) -> None:
    assert get(server, "/healthz")[0] == 200
    assert get(server, "/readyz?verbose")[0] == 200
    log.hide(SECRET)
    well.now["load"] = Health(ok=True, ready=False, detail=f"no answer with {SECRET}")
    assert get(server, "/healthz")[0] == 200
    status, body = get(server, "/readyz")
    assert status == 503
    assert json.loads(body)["services"]["load"]["detail"] == "no answer with ***"
    well.now["serve"] = Health(ok=False, ready=False)
    assert get(server, "/healthz")[0] == 503


def test_it_exposes_metrics(server: HealthServer) -> None:
    metrics.tables_halted.set(2)
    status, body = get(server, "/metrics")
    assert status == 200
    assert b"\ncatchment_tables_halted 2.0\n" in body
    assert b"process_resident_memory_bytes" in body or not os.path.exists("/proc")  # noqa: PTH110


def test_head_has_no_body(server: HealthServer) -> None:
    for path in health.PATHS:
        assert get(server, path, "HEAD") == (200, b"")


def test_other_paths_and_methods_are_refused(server: HealthServer) -> None:
    assert get(server, "/")[0] == 404
    assert get(server, "/healthz", "POST")[0] == 501


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\x00" * 100,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a TLS greeting
        b"GET\r\n\r\n",
        b"GET /healthz HTTP/9.9\r\n\r\n",
        b"GET /healthz HTTP/1.1 \xff\xfe\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n" + b"X: y\r\n" * 5000 + b"\r\n",
        b"GET /healthz HTTP/1.1\r\nX: " + b"y" * 1_000_000,
        b"\r\n" * 100_000,
        os.urandom(5000),
    ],
)
def test_garbage_costs_its_sender_alone(
    server: HealthServer, garbage: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    answer = exchange(server, garbage)
    assert len(answer) < 2000
    assert b" 200 " not in answer.split(b"\n")[0]
    assert get(server, "/healthz")[0] == 200
    assert capfd.readouterr() == ("", "")


def test_a_slow_sender_is_cut_off_in_the_end(server: HealthServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "MAX_REQUEST_S", 0.3)
    began = time.monotonic()
    with connect(server) as slow, suppress(ConnectionError):
        slow.settimeout(0.02)
        while time.monotonic() - began < 20:  # a byte now and then, so that no single wait is long
            slow.sendall(b"G")
            with suppress(TimeoutError):
                if slow.recv(100) == b"":
                    break
    assert time.monotonic() - began < 15


def test_silent_connections_hold_up_only_so_many(server: HealthServer) -> None:
    held = [connect(server) for _ in range(health.MAX_CONNECTIONS)]
    assert exchange(server, b"GET /healthz HTTP/1.0\r\n\r\n") == b""
    for connection in held:
        connection.close()
    give_up = time.monotonic() + 20
    while not exchange(server, b"GET /healthz HTTP/1.0\r\n\r\n"):
        assert time.monotonic() < give_up
    assert get(server, "/healthz")[0] == 200


def test_a_broken_check_is_no_answer_but_no_end(server: HealthServer, well: Well) -> None:
    well.now = None  # type: ignore[assignment]
    assert exchange(server, b"GET /healthz HTTP/1.0\r\n\r\n") == b""
    well.now = {}
    assert get(server, "/healthz")[0] == 200


def test_a_taken_port_is_said(server: HealthServer, well: Well) -> None:
    with pytest.raises(UsageError, match=r"cannot listen on 127\.0\.0\.1:"):
        HealthServer(well, port=int(server.address.rpartition(":")[2]))


def test_closing_frees_the_port_and_may_be_done_twice(well: Well) -> None:
    server = HealthServer(well)
    port = int(server.address.rpartition(":")[2])
    assert get(server, "/healthz")[0] == 200
    server.close()
    server.close()
    HealthServer(well, port=port).close()
