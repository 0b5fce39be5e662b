"""A server's connections: what each is doing, whose other end has gone, and how they end."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

DEPARTED_EVERY_S = 0.1
"""So often the sockets are looked at, while somebody waits for an answer."""


class Traffic:
    """The connections there are, what each is doing, and whose other end has gone."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._connections: set[socket.socket] = set()
        self._busy: set[socket.socket] = set()
        self._leavers: dict[socket.socket, Callable[[], None]] = {}
        self._watching = False

    def count(self) -> int:
        return len(self._connections)

    def enter(self, connection: socket.socket) -> None:
        with self._changed:
            self._connections.add(connection)

    def leave(self, connection: socket.socket) -> None:
        with self._changed:
            self._connections.discard(connection)
            self._changed.notify_all()

    @contextmanager
    def request(self, connection: socket.socket) -> Iterator[None]:
        """While a request of it is answered, a connection is not cut by a drain."""
        with self._changed:
            self._busy.add(connection)
        try:
            yield
        finally:
            with self._changed:
                self._busy.discard(connection)
                self._changed.notify_all()

    @contextmanager
    def watched(self, connection: socket.socket, gone: Callable[[], None]) -> Iterator[None]:
        """Call `gone` once, from another thread, if the client goes away meanwhile, or a drain is over."""
        with self._changed:
            self._leavers[connection] = gone
            if not self._watching:
                self._watching = True
                threading.Thread(target=self._watch, name="warehouse-departures", daemon=True).start()
        try:
            yield
        finally:
            with self._changed:
                self._leavers.pop(connection, None)

    def _watch(self) -> None:
        """Look at the sockets now and then; there are few, and they are told apart from silent ones only so."""
        while True:
            with self._changed:
                if not self._leavers:
                    self._watching = False
                    return
                departed = [connection for connection in self._leavers if _departed(connection)]
                gone = [self._leavers.pop(connection) for connection in departed]
            for leave in gone:
                leave()
            time.sleep(DEPARTED_EVERY_S)

    def drain(self, drain_s: float) -> None:
        """Close idle connections now, busy ones when they are done, or at last by force."""
        with self._changed:
            for connection in self._connections - self._busy:
                _shut(connection)
            self._changed.wait_for(lambda: not self._busy, drain_s)
            gone = list(self._leavers.values())
            self._leavers.clear()
        for leave in gone:
            leave()
        with self._changed:
            # What was ended still says so to its client.
            self._changed.wait_for(lambda: not self._busy, 2.0)
            for connection in self._connections:
                _shut(connection)
            self._changed.wait_for(lambda: not self._connections, 2.0)


def _departed(connection: socket.socket) -> bool:
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    try:
        # Asked of the poll first, since recv on a socket with a timeout would wait for it.
        return bool(poll.poll(0)) and not connection.recv(1, socket.MSG_PEEK)
    except OSError:
        return True


def _shut(connection: socket.socket) -> None:
    with suppress(OSError):  # the other end was quicker
        connection.shutdown(socket.SHUT_RDWR)
