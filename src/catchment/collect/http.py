"""HTTP/1.1 for the public internet: parsed by httptools, with every limit at the parser, so that nothing is held in
memory that will be refused.

A connection may send its next requests before it has the first answer; answers go out in the order of the requests.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

import httptools

from catchment.collect import answers
from catchment.collect.handler import Answer, Request
from catchment.errors import CatchmentError, QueueFull
from catchment.log import get_log

if TYPE_CHECKING:
    from catchment.collect.server import Server

MAX_UNANSWERED = 64
"""Requests of one connection that may wait for their answers; then it is not read from until they have gone."""
MAX_HEADERS = 200
_COME_AGAIN_S = 2.0
_LINGER_S = 5.0

_log = get_log("collect")

_ONCE = frozenset({b"content-length", b"transfer-encoding", b"host", b"authorization"})
"""Headers of which two would let two readers see two requests."""

_HEAD, _BODY, _IDLE = "head", "body", "idle"


class _Slot:
    """The place of one answer in the order of a connection's answers."""

    __slots__ = ("keep_alive", "response")

    def __init__(self, keep_alive: bool) -> None:
        self.keep_alive = keep_alive
        self.response: bytes | None = None


class Connection(asyncio.Protocol):
    """One connection. Its parser calls the methods `on_…`."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._config = server.config
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._peer = ""
        self._unanswered: deque[_Slot] = deque()
        self._closing = False
        self._paused = False
        self._blocked = False
        self._held = b""
        self._body_bytes = 0
        self._state = _IDLE
        self.deadline_s = time.monotonic() + self._config.header_timeout_s
        self._forget_request()

    def _forget_request(self) -> None:
        self._target = b""
        self._headers: dict[bytes, bytes] = {}
        self._head_bytes = 0
        self._unseen_bytes = 0
        self._body: list[bytes] = []
        self._server.body_bytes -= self._body_bytes
        self._body_bytes = 0
        self._is_offer = False

    # ---- the connection ---------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As `asyncio.Protocol`."""
        self._transport = opened = cast(asyncio.Transport, transport)  # uvloop's are none by type
        server = self._server
        if len(server.connections) >= self._config.max_connections:
            self._closing = True
            opened.abort()
            return
        server.connections.add(self)
        peer = opened.get_extra_info("peername")
        self._peer = str(peer[0]) if isinstance(peer, tuple) else ""

    def connection_lost(self, exc: Exception | None) -> None:
        """As `asyncio.Protocol`. What is being committed goes on: its client will send it again, under its ids."""
        self._closing = True
        self._transport = None
        self._server.connections.discard(self)
        self._take_held()
        self._forget_request()

    def pause_writing(self) -> None:
        """The client does not read its answers: read no more of its requests."""
        self._blocked = True
        self._pause(True)

    def resume_writing(self) -> None:
        """It reads again."""
        self._blocked = False
        self._pause(self._must_wait())

    def _must_wait(self) -> bool:
        return self._blocked or bool(self._held) or len(self._unanswered) >= MAX_UNANSWERED

    def data_received(self, data: bytes) -> None:
        """As `asyncio.Protocol`."""
        if self._closing:
            return
        if self._held or self._server.must_hold(len(data)):
            self._hold(data)
        else:
            self._parse(data)

    def _hold(self, data: bytes) -> None:
        """Let the data wait: the client is not read from meanwhile."""
        if not self._held:
            self._server.held.append(self)
            self.deadline_s = time.monotonic() + self._config.body_timeout_s
        self._held += data
        self._server.held_bytes += len(data)
        self._pause(True)

    def _take_held(self) -> bytes:
        data, self._held = self._held, b""
        self._server.held_bytes -= len(data)
        return data

    def go_on(self) -> None:
        """Parse what had to wait, and read on."""
        data = self._take_held()
        if data and not self._closing:
            self._parse(data)
            self._pause(self._must_wait())

    def _parse(self, data: bytes) -> None:
        self._unseen_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # Whoever offers another protocol, as Java's client does, gets this one: the parser takes what follows
            # for the other, so another parser reads the request again, less its offer.
            if self._parser.get_method() == b"CONNECT":
                self._refuse(answers.failure(405, "this is no proxy"))
                return
            head = self._head_without_offer()
            self._parser = httptools.HttpRequestParser(self)
            self._forget_request()
            self._parse(head + data[upgrade.args[0] :])
            return
        except httptools.HttpParserCallbackError as error:  # a mistake of ours: an answer may never come
            _log.error("a request could not be handled", exc=error.__context__ or error)
            self.abort()
        except httptools.HttpParserError:
            self._refuse(answers.failure(400, "this is no request of HTTP 1.1"))
        if self._unseen_bytes > self._config.max_header_bytes and self._state is not _IDLE:
            # A header or trailer of which the parser has not told yet, since it does not end.
            self._refuse(self._head_too_large())

    def _head_without_offer(self) -> bytes:
        method = self._parser.get_method()
        headers = [
            b"%b: %b\r\n" % header
            for header in self._headers.items()
            if header[0] not in {b"connection", b"upgrade", b"http2-settings"}
        ]
        return b"%b %b HTTP/1.1\r\n%b\r\n" % (method, self._target, b"".join(headers))

    def eof_received(self) -> bool:
        """The client sends no more: answer what it has sent, then close."""
        self._closing = True
        return bool(self._unanswered)

    # ---- what the parser calls --------------------------------------------------------

    def on_message_begin(self) -> None:
        """A request begins."""
        self._state = _HEAD
        self.deadline_s = time.monotonic() + self._config.header_timeout_s

    def on_url(self, url: bytes) -> None:
        """The target, perhaps in parts."""
        self._head_bytes += len(url)
        self._target = self._target + url if self._target else url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        headers = self._headers
        name = name.lower()
        self._head_bytes += len(name) + len(value) + 4
        if name in headers:
            if name in _ONCE:
                self._refuse(answers.failure(400, f"the header {name.decode('latin-1')} is there twice"))
                return
            value = headers[name] + b", " + value
        headers[name] = value
        self._unseen_bytes = 0
        if self._head_bytes > self._config.max_header_bytes:
            self._refuse(self._head_too_large())
        elif len(headers) > MAX_HEADERS:
            self._refuse(answers.failure(431, f"a request may have {MAX_HEADERS} headers"))

    def _head_too_large(self) -> bytes:
        return answers.failure(431, f"the head of a request may have {self._config.max_header_bytes:,} bytes")

    def on_headers_complete(self) -> None:
        """The head is whole: refuse what is too large before any of it is read."""
        if self._closing:  # the request before it was refused, and the parser reads on to the end of what has come
            return
        headers = self._headers
        if b"upgrade" in headers and self._parser.should_upgrade():
            self._is_offer = True
            return
        self._state = _BODY
        self.deadline_s = time.monotonic() + self._config.body_timeout_s
        length = headers.get(b"content-length")
        if length is not None and b"transfer-encoding" in headers:
            self._refuse(answers.failure(400, "content-length and transfer-encoding cannot both tell the length"))
        elif length is not None and int(length) > self._config.max_body_bytes:
            self._refuse(self._too_large())
        elif self._head_bytes > self._config.max_header_bytes:
            self._refuse(self._head_too_large())
        elif b"expect" in headers and headers[b"expect"].lower() == b"100-continue" and not self._unanswered:
            self._write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        if self._closing:
            return
        self._unseen_bytes = 0
        self._body_bytes += len(body)
        self._server.body_bytes += len(body)
        if self._body_bytes > self._config.max_body_bytes:
            self._refuse(self._too_large())
        elif self._server.body_bytes > self._config.max_pending_bytes:
            self._refuse(_come_again("too much is being sent at once", b""))
        else:
            self._body.append(body)

    def _too_large(self) -> bytes:
        return answers.failure(413, f"a body may have {self._config.max_body_bytes:,} bytes")

    def on_message_complete(self) -> None:
        """The request is whole: handle it."""
        if self._is_offer:
            return
        now_s = time.monotonic()
        self._state = _IDLE
        self.deadline_s = now_s + self._config.idle_timeout_s
        if self._closing:
            return
        slot = _Slot(self._parser.should_keep_alive() and not self._server.draining)
        self._unanswered.append(slot)
        request = Request(
            self._parser.get_method(),
            self._target,
            self._headers,
            self._body[0] if len(self._body) == 1 else b"".join(self._body),
            self._peer,
            datetime.now(UTC),
            now_s,
        )
        self._forget_request()
        self._handle(request, slot)
        if len(self._unanswered) >= MAX_UNANSWERED:
            self._pause(True)

    # ---- answering --------------------------------------------------------------------

    def _handle(self, request: Request, slot: _Slot) -> None:
        answer = self._server.handle(request)
        commit = self._server.commit
        if not answer.lines:
            self._answered(slot, answer.response)
        elif self._server.held_bytes + commit.pending_bytes > self._config.max_pending_bytes:
            self._answered(slot, _come_again("too much waits to be kept", answer.cors))
        else:
            commit.submit(
                answer.lines, answer.events, answer.rejected, lambda error: self._committed(slot, answer, error)
            )

    def _committed(self, slot: _Slot, answer: Answer, error: CatchmentError | None) -> None:
        if error is None:
            self._answered(slot, answer.response)
        else:
            why = "the queue is full" if isinstance(error, QueueFull) else "it cannot be kept at the moment"
            self._answered(slot, _come_again(why, answer.cors))
        if self._server.held:
            self._server.release()

    def _answered(self, slot: _Slot, response: bytes) -> None:
        """Send every answer whose turn it is."""
        if not response.startswith(b"HTTP/1.1 2"):
            self._server.refused += 1
        slot.response = response
        unanswered = self._unanswered
        while unanswered and (ready := unanswered[0].response) is not None:
            keep_alive = unanswered.popleft().keep_alive and not self._server.draining
            self._write(ready if keep_alive else _last(ready))
            if not keep_alive:
                unanswered.clear()
                self._finish()
                return
        if self._closing and not unanswered:
            self._finish()
        elif self._paused:
            self._pause(self._must_wait())

    def _refuse(self, response: bytes) -> None:
        """Answer with an error and close, whatever else is on its way."""
        if self._closing:
            return
        self._server.refused += 1
        self._closing = True
        self._forget_request()
        slot = _Slot(keep_alive=False)
        slot.response = response
        self._unanswered.append(slot)
        if len(self._unanswered) == 1:
            self._unanswered.clear()
            self._write(_last(response))
            self._linger()

    def expire(self) -> None:
        """The deadline has passed: of a request's head or body, or of waiting for one."""
        if self._closing and not self._unanswered:
            self.abort()  # it does not read its last answer
        elif self._unanswered:
            self.deadline_s = time.monotonic() + self._config.idle_timeout_s  # it is us who are slow
        elif self._held:
            self._take_held()
            self._refuse(_come_again("too much waits to be kept", b""))
        elif self._state is _IDLE:
            self._finish()
        else:
            self._refuse(answers.failure(408, f"the {self._state} of the request did not come in time"))

    def close_if_idle(self) -> None:
        """Close unless a request is on its way or waits for its answer."""
        if not self._unanswered and not self._held and self._state is _IDLE:
            self._finish()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def _finish(self) -> None:
        self._closing = True
        if self._transport is not None:
            self.deadline_s = time.monotonic() + self._config.header_timeout_s
            self._transport.close()

    def _linger(self) -> None:
        """Say no more, and pass over what still comes: a client that is sending would see a close as a reset, before
        it has read why."""
        if self._transport is not None and self._transport.can_write_eof():
            self.deadline_s = time.monotonic() + _LINGER_S
            self._transport.write_eof()
        else:
            self._finish()

    def _pause(self, wanted: bool) -> None:
        if self._transport is None or wanted == self._paused:
            return
        self._paused = wanted
        if wanted:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()


def _last(response: bytes) -> bytes:
    """The same answer, saying that the connection ends with it."""
    return response.replace(b"\r\n", b"\r\nconnection: close\r\n", 1)


def _come_again(why: str, cors: bytes) -> bytes:
    return answers.failure(503, why, answers.retry_after(_COME_AGAIN_S) + cors)
