"""Clients that do not play by the rules, or do not read what they are told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.collect.asking import APP_KEY
from tests.collect.serving import serving, until


def test_a_tunnel_is_refused() -> None:
    with serving() as server:
        assert server.ask(b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n").startswith(b"HTTP/1.1 405 ")


@pytest.mark.parametrize("endless", [b"0\r\nX: ", b"5;"], ids=["trailer", "chunk's extension"])
def test_what_follows_a_body_has_bounds(endless: bytes) -> None:
    with serving() as server, server.connect() as client:
        client.send(b"POST /v1/track HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + endless)
        for _ in range(40):
            client.send(b"x" * 1_000)
        assert client.answer()[0] == 431


def test_hundreds_of_requests_in_one_read_are_no_long_header() -> None:
    with serving() as server, server.connect() as client:
        client.send(b"GET /healthz HTTP/1.1\r\nX: 1\r\n\r\n" * 5_000)
        for _ in range(5_000):
            assert client.answer()[0] == 200


def test_whoever_does_not_read_answers_is_not_read_from() -> None:
    """And is let go in the end, though its last answers were never read."""
    some = b"GET /healthz HTTP/1.1\r\n\r\n" * 1_000
    with serving(header_timeout_s=0.5, idle_timeout_s=0.5) as server, server.connect() as client:
        client.socket.settimeout(1)
        sent = 0
        try:
            while sent < 200_000_000:
                sent += client.socket.send(some)
        except (TimeoutError, ConnectionError):
            pass
        assert sent < 100_000_000
        until(lambda: not server.server.connections, "the connection to be closed")


def test_bodies_that_do_not_end_share_a_bound() -> None:
    head = b"POST /v1/track HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n"
    with serving(max_pending_bytes=1_000_000) as server:
        slow = [server.connect() for _ in range(3)]
        for client in slow:
            client.send(head + b"x" * 300_000)
        until(lambda: server.server.body_bytes == 900_000, "their bodies")
        with server.connect() as one_more:
            one_more.send(head + b"x" * 300_000)
            assert one_more.answer()[0] == 503
            assert server.server.body_bytes == 900_000  # what is refused is not held
        for client in slow:
            client.socket.close()
        until(lambda: server.server.body_bytes == 0, "the bodies to be forgotten")
        call = json.dumps({"event": "E"}).encode()
        asked = b"POST /v1/track HTTP/1.1\r\nConnection: close\r\nX-Write-Key: %b\r\nContent-Length: %d\r\n\r\n%b"
        assert server.ask(asked % (APP_KEY.encode(), len(call), call)).startswith(b"HTTP/1.1 200 ")
        assert server.server.body_bytes == 0


def test_a_mistake_of_ours_ends_its_connection_and_is_told(caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: object) -> Any:
        raise ZeroDivisionError

    with serving() as server:
        server.server.handle = fail
        assert server.ask(b"GET /healthz HTTP/1.1\r\n\r\n") == b""
    assert "a request could not be handled" in caplog.text


def test_whoever_goes_on_sending_hears_why_it_was_refused() -> None:
    """And is let go once it has sent for too long."""
    with serving() as server, server.connect() as client:
        head = b"POST /v1/track HTTP/1.1\r\nContent-Length: 20000000\r\n\r\n"
        client.socket.sendall(head + b"x" * 20_000_000)
        assert client.answer()[0] == 413
        assert client.rest() == b""
        until(lambda: not server.server.connections, "the connection to be closed")


def test_what_comes_with_a_refused_request_is_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    """Found by `test_fuzz`: the second one was told to continue after the last word had been said."""
    refused = b"POST /v1/track HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: 1\r\n\r\n1"
    asking = b"POST /v1/track HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n1"
    with serving() as server:
        answer = server.ask(refused + asking)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert caplog.text == ""
