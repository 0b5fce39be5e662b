"""A network between a client and a server, to be cut by tests."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from collections.abc import Iterator


class Proxy:
    """Carries connections to a port of this machine: may cut them, refuse new ones, or swallow what is said."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._refusing = False
        self._swallowed: set[socket.socket] = set()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client = self._listening.accept()[0]
                if self._refusing:
                    client.close()
                    continue
                try:
                    server = socket.create_connection(("127.0.0.1", self._target))
                except OSError:
                    client.close()
                    continue
                with self._lock:
                    self._open |= {client, server}
                for ends in ((client, server), (server, client)):
                    threading.Thread(target=self._carry, args=ends, daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                if source not in self._swallowed:
                    target.sendall(data)
        self._close(source, target)

    def _close(self, *ends: socket.socket) -> None:
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
            with self._lock:
                self._open.discard(end)

    def cut(self, *, refuse: bool = False) -> int:
        """Break every connection; new ones are carried again, or refused until `mend`. How many were broken."""
        self._refusing = refuse
        with self._lock:
            ends = [*self._open]
        self._close(*ends)
        return len(ends) // 2

    def swallow(self) -> None:
        """Nothing of what is open arrives any more, and nobody is told; new connections are carried."""
        with self._lock:
            self._swallowed |= self._open

    def mend(self) -> None:
        """Carry new connections."""
        self._refusing = False

    def cut_for_a_while(self, rng: random.Random) -> None:
        """Once there is one, connections break, and are refused for a while; or they stay, and nothing arrives any
        more until they break."""
        # Who was cut off before may let a while pass, and comes back: until then there is nothing to cut.
        self._await_a_connection()
        if rng.random() < 0.5:
            self.swallow()
            time.sleep(rng.uniform(0, 0.4))
        self.cut(refuse=True)
        time.sleep(rng.uniform(0, 0.4))
        self.mend()

    def _await_a_connection(self, within_s: float = 60) -> None:
        until = time.monotonic() + within_s
        while not self._open:
            assert time.monotonic() < until, f"nobody connected within {within_s:g} s"
            time.sleep(0.01)

    def close(self) -> None:
        self._listening.close()
        self.cut()


@contextlib.contextmanager
def carrying(port: int) -> Iterator[Proxy]:
    """A network to this port."""
    proxy = Proxy(port)
    try:
        yield proxy
    finally:
        proxy.close()
