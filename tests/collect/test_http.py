"""HTTP from raw sockets: every limit, broken and hostile requests, the order of answers."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from catchment.collect.http import MAX_HEADERS, MAX_UNANSWERED
from catchment.collect.server import FULL_GROUP_BYTES
from catchment.errors import QueueFull, StorageError
from tests.collect.asking import APP_KEY
from tests.collect.serving import Serving, serving, until

CALL = {"event": "E", "userId": "u1"}


def request(call: Any = None, *, path: str = "/v1/track", head: str = "", close: bool = True) -> bytes:
    body = json.dumps(CALL if call is None else call).encode()
    end = "Connection: close\r\n" if close else ""
    return (
        f"POST {path} HTTP/1.1\r\nHost: a\r\nX-Write-Key: {APP_KEY}\r\n{head}{end}Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


@pytest.fixture(scope="module")
def server() -> Iterator[Serving]:
    with serving() as started:
        yield started


def status(answer: bytes) -> int:
    return int(answer[9:12])


def test_a_call_is_kept_and_answered(server: Serving) -> None:
    before = len(server.kept.lines)
    answer = server.ask(request())
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"connection: close" in answer
    assert len(server.kept.lines) == before + 2


def test_byte_by_byte(server: Serving) -> None:
    with server.connect() as client:
        for byte in request():
            client.send(bytes([byte]))
        assert status(client.rest()) == 200


def test_a_connection_is_kept_open(server: Serving) -> None:
    with server.connect() as client:
        for _ in range(5):
            client.send(request(close=False))
            assert client.answer()[0] == 200


def test_http_1_0_ends_with_its_answer(server: Serving) -> None:
    assert status(server.ask(request(close=False).replace(b"HTTP/1.1", b"HTTP/1.0"))) == 200


def test_chunked(server: Serving) -> None:
    body = json.dumps(CALL).encode()
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:5], body[5:])) + b"0\r\n\r\n"
    head = (
        f"POST /v1/track HTTP/1.1\r\nX-Write-Key: {APP_KEY}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    )
    assert status(server.ask(head.encode() + chunks)) == 200


def test_expect_is_answered_before_the_body_comes(server: Serving) -> None:
    head, _, body = request(head="Expect: 100-continue\r\n").partition(b"\r\n\r\n")
    with server.connect() as client:
        client.send(head + b"\r\n\r\n")
        assert client.answer()[0] == 100
        client.send(body)
        assert client.answer()[0] == 200


def test_an_offer_of_http_2_is_passed_over(server: Serving) -> None:
    """Java's HTTP client makes one with its first request."""
    offer = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
    with server.connect() as client:
        client.send(request(head=offer, close=False))
        assert client.answer()[0] == 200
        client.send(request(close=False))
        assert client.answer()[0] == 200


# ---- the order of answers -------------------------------------------------------------


def test_requests_behind_each_other_are_answered_in_order(server: Serving) -> None:
    with server.connect() as client:
        paths = ["/v1/track", "/nothing", "/v1/track", "/v1/identify", "/nothing/else"]
        client.send(b"".join(request(path=path, close=False) for path in paths))
        assert [client.answer()[0] for _ in paths] == [200, 404, 200, 200, 404]


def test_an_answer_waits_for_the_commit_and_later_ones_wait_for_it() -> None:
    with serving() as server, server.connect() as client:
        server.kept.held = True
        client.send(request(close=False) + request(path="/nothing", close=False))
        until(lambda: len(server.kept.waiting) == 1, "the first call")
        assert not client.is_closed(0.1), "nothing comes before the commit"
        server.call(lambda: server.kept.waiting.pop()(None))
        client.socket.settimeout(20)
        assert [client.answer()[0] for _ in range(2)] == [200, 404]


def test_one_connection_cannot_have_any_number_of_requests_open() -> None:
    with serving() as server, server.connect() as client:
        server.kept.held = True
        for _ in range(4 * MAX_UNANSWERED):
            client.send(request(close=False))
        until(lambda: len(server.kept.waiting) >= MAX_UNANSWERED, "calls")

        def answer_all() -> None:
            server.kept.held = False
            for done in server.kept.waiting:
                done(None)

        server.call(answer_all)
        assert {client.answer()[0] for _ in range(4 * MAX_UNANSWERED)} == {200}
        assert len(server.kept.lines) == 8 * MAX_UNANSWERED


def test_a_client_that_goes_before_its_answer_harms_nobody() -> None:
    with serving() as server:
        server.kept.held = True
        with server.connect() as client:
            client.send(request(close=False))
            until(lambda: server.kept.waiting, "the call")
        server.call(lambda: server.kept.waiting.pop()(None))
        until(lambda: not server.server.connections, "the connection to go")
        server.kept.held = False
        assert status(server.ask(request())) == 200


# ---- when nothing can be kept ---------------------------------------------------------


@pytest.mark.parametrize("error", [QueueFull("the queue is full"), StorageError("no space left on /somewhere")])
def test_what_cannot_be_kept_is_never_answered_with_success(error: Exception) -> None:
    with serving() as server:
        server.kept.error = error  # type: ignore[assignment]
        answer = server.ask(request(head="Origin: https://x.example\r\n"))
        assert status(answer) == 503
        assert b"retry-after: 2" in answer
        assert b"access-control-allow-origin: https://x.example" in answer
        assert b"/somewhere" not in answer
        server.kept.error = None
        assert status(server.ask(request())) == 200


def test_what_comes_while_a_full_group_is_committed_waits_unparsed() -> None:
    with serving() as server, server.connect() as first, server.connect() as second, server.connect() as gone:
        server.kept.pending_bytes = FULL_GROUP_BYTES
        for client in (first, second, gone):
            client.send(request(close=False))
        until(lambda: len(server.server.held) == 3, "what has come")
        gone.socket.close()
        assert server.kept.lines == []
        server.kept.pending_bytes = 0
        server.call(server.server.release)
        assert [client.answer()[0] for client in (first, second)] == [200, 200]
        assert not server.server.held
        assert server.server.held_bytes == 0
        first.send(request(close=False))
        assert first.answer()[0] == 200


def test_a_commit_makes_room_for_those_who_wait() -> None:
    with serving() as server, server.connect() as busy, server.connect() as waiting:
        server.kept.held = True
        busy.send(request(close=False))
        until(lambda: server.kept.waiting, "the call")
        server.kept.pending_bytes = FULL_GROUP_BYTES
        waiting.send(request(close=False))
        until(lambda: server.server.held, "what has come")
        server.kept.held, server.kept.pending_bytes = False, 0
        server.call(lambda: server.kept.waiting.pop()(None))
        assert [client.answer()[0] for client in (busy, waiting)] == [200, 200]


def test_too_much_at_once_is_told_to_come_again() -> None:
    with serving(max_pending_bytes=1_000_000) as server:
        server.kept.pending_bytes = FULL_GROUP_BYTES + 1
        many = [server.connect() for _ in range(40)]
        for client in many:
            client.socket.settimeout(0.1)
            with suppress(OSError):
                client.socket.sendall(request(close=False) * 1_500)  # of which a connection waits after the first part
        until(lambda: server.server.refused, "an answer")
        assert 500_000 < server.server.held_bytes <= 1_000_000
        assert server.kept.lines == []
        for client in many:
            client.socket.close()


def test_who_waits_too_long_is_told_to_come_again() -> None:
    with serving(body_timeout_s=0.2) as server:
        server.kept.pending_bytes = FULL_GROUP_BYTES
        answer = server.ask(request(close=False))
        assert status(answer) == 503
        assert b"retry-after: 2" in answer
        assert server.server.held_bytes == 0
        server.kept.pending_bytes = 0
        assert status(server.ask(request())) == 200
        assert len(server.kept.lines) == 2


# ---- limits ---------------------------------------------------------------------------


@pytest.mark.parametrize("head", [
    f"X-Long: {'x' * 20_000}\r\n",
    "".join(f"X-{n}: {'y' * 100}\r\n" for n in range(180)),
    "".join(f"X-{n}: y\r\n" for n in range(MAX_HEADERS + 5)),
], ids=["one long header", "many headers", "too many headers"])  # fmt: skip
def test_a_head_has_bounds(server: Serving, head: str) -> None:
    assert status(server.ask(request(head=head))) == 431


def test_a_long_target_is_part_of_the_head(server: Serving) -> None:
    assert status(server.ask(request(path="/" + "x" * 20_000))) == 431


def test_a_header_without_an_end_is_refused_before_it_ends(server: Serving) -> None:
    with server.connect() as client:
        client.send(b"POST /v1/track HTTP/1.1\r\nX-Endless: ")
        for _ in range(40):
            client.send(b"x" * 1_000)
        assert status(client.rest()) == 431


def test_a_large_body_is_refused_before_it_comes(server: Serving) -> None:
    with server.connect() as client:
        client.send(b"POST /v1/track HTTP/1.1\r\nContent-Length: 1048577\r\n\r\n")
        assert client.answer()[0] == 413


def test_a_large_body_in_chunks_is_refused_on_its_way(server: Serving) -> None:
    with server.connect() as client:
        client.send(b"POST /v1/track HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(300):
            client.send(b"%x\r\n%b\r\n" % (4_096, b"x" * 4_096))
        assert status(client.rest()) == 413


def test_deadlines() -> None:
    with serving(header_timeout_s=0.3, body_timeout_s=0.3, idle_timeout_s=0.3) as server:
        with server.connect() as silent:
            assert silent.is_closed(5)
        with server.connect() as slow:
            slow.send(b"POST /v1/track HTTP/1.1\r\nHost: a\r\n")
            assert slow.answer()[0] == 408
        with server.connect() as slow:
            slow.send(b"POST /v1/track HTTP/1.1\r\nContent-Length: 10\r\n\r\n{")
            assert slow.answer()[0] == 408
        with server.connect() as idle:
            idle.send(request(close=False))
            assert idle.answer()[0] == 200
            assert idle.is_closed(5)


def test_a_slow_commit_is_not_the_clients_fault() -> None:
    with serving(idle_timeout_s=0.2) as server, server.connect() as client:
        server.kept.held = True
        client.send(request(close=False))
        assert not client.is_closed(0.6)
        client.socket.settimeout(20)
        server.call(lambda: server.kept.waiting.pop()(None))
        assert client.answer()[0] == 200


def test_connections_have_a_bound() -> None:
    with serving(max_connections=3) as server:
        clients = [server.connect() for _ in range(3)]
        for client in clients:
            client.send(request(close=False))
            assert client.answer()[0] == 200
        with server.connect() as one_more:
            assert one_more.is_closed(5)
        for client in clients:
            client.socket.close()


# ---- what is no request ---------------------------------------------------------------


@pytest.mark.parametrize("data", [
    b"nonsense\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"POST /v1/track HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /v1/track HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    b"POST /v1/track HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    b"POST /v1/track HTTP/1.1\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\n12345",
    b"POST /v1/track HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    b"POST /v1/track HTTP/1.1\r\nContent-Length: 1x\r\n\r\n1",
    b"POST /v1/track HTTP/1.1\r\nBad Header: 1\r\n\r\n",
    b"POST /v1/track HTTP/1.1\r\nX: a\r\n b\r\n\r\n",
    b"POST /v1/track HTTP/1.1\nHost: a\n\n",
    b"POST /v1/track HTTP/9.9\r\n\r\n",
    b"POST /v1/track HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
])  # fmt: skip
def test_smuggled_and_broken_requests_are_refused(server: Serving, data: bytes) -> None:
    before = len(server.kept.lines)
    answer = server.ask(data + b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert status(answer) in {400, 401, 404, 405}
    assert answer.count(b"HTTP/1.1 ") == 1, "one answer: the rest is nobody's request"
    assert len(server.kept.lines) == before


def test_random_bytes_do_no_harm(server: Serving) -> None:
    rng = random.Random(5)
    whole = request(head="X-A: b\r\n")
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 6)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        with server.connect() as client:
            client.send(bytes(data))
            client.socket.shutdown(1)
            answer = client.rest()
            assert b" 500 " not in answer[:20]
    assert status(server.ask(request())) == 200


# ---- stopping -------------------------------------------------------------------------


def test_draining_answers_what_could_not_be_parsed_yet() -> None:
    with serving() as server, server.connect() as client:
        server.kept.pending_bytes = FULL_GROUP_BYTES
        client.send(request(close=False))
        until(lambda: server.server.held, "what has come")
        server.call(server.server.drain)
        server.kept.pending_bytes = 0
        server.call(server.server.release)
        assert status(client.rest()) == 200


def test_draining_answers_what_waits_and_closes_what_is_idle() -> None:
    with serving() as server, server.connect() as busy, server.connect() as idle, server.connect() as late:
        for each in (idle, late):
            each.send(request(close=False))
            assert each.answer()[0] == 200
        server.kept.held = True
        busy.send(request(close=False))
        until(lambda: server.kept.waiting, "the call")
        server.call(server.server.drain)
        late.send(b"GET /healthz HTTP/1.1\r\n\r\n")  # before it could know: answered, and told that it was the last
        assert b"connection: close" in late.rest()
        server.call(server.server.close_idle)
        assert idle.is_closed(5)
        server.call(lambda: server.kept.waiting.pop()(None))
        answer = busy.rest()
        assert status(answer) == 200
        assert b"connection: close" in answer
