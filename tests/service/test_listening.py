"""Sockets that somebody else holds: `up` for its children, systemd for what it starts."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from catchment.errors import Abort, UsageError
from catchment.listening import FDS_ENV, Port, bind, inherited


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (FDS_ENV, "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.fixture
def held() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


def test_a_supervisors_sockets_are_taken_once_and_not_passed_on(
    held: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    fd = os.dup(held.fileno())
    os.set_inheritable(fd, True)
    monkeypatch.setenv(FDS_ENV, str(fd))
    [taken] = inherited()
    with taken:
        assert taken.getsockname() == held.getsockname()
        assert not taken.get_inheritable()
    assert inherited() == []


@pytest.mark.parametrize(("pid", "count"), [("1", "1"), ("", "1"), ("mine", ""), ("mine", "0")])
def test_what_systemd_gave_to_somebody_else_is_not_taken(
    monkeypatch: pytest.MonkeyPatch, pid: str, count: str
) -> None:
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()) if pid == "mine" else pid)
    monkeypatch.setenv("LISTEN_FDS", count)
    assert inherited() == []


def test_what_is_no_socket_of_tcp_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        monkeypatch.setenv(FDS_ENV, str(os.dup(other.fileno())))
        with pytest.raises(UsageError, match="none of TCP"):
            inherited()
    read, write = os.pipe()
    os.close(write)
    monkeypatch.setenv(FDS_ENV, str(read))
    with pytest.raises(UsageError, match="is no socket"):
        inherited()
    os.close(read)


def test_an_open_port_lets_clients_wait_and_a_closed_one_refuses_them() -> None:
    with bind("127.0.0.1", 0) as probe:
        number = probe.getsockname()[1]
    port = Port("127.0.0.1", number)
    port.open()
    with socket.create_connection(("127.0.0.1", number), timeout=5):
        pass
    port.close()
    port.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", number), timeout=5)


def test_an_address_that_cannot_be_had_is_said(held: socket.socket) -> None:
    port = held.getsockname()[1]
    with pytest.raises(Abort, match=rf"cannot listen on 127\.0\.0\.1:{port}: Address already in use"):
        bind("127.0.0.1", port)
    with pytest.raises(Abort, match=r"192\.0\.2\.1:1: Cannot assign"):
        bind("192.0.2.1", 1)
