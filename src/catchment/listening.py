"""Sockets that listen, bound here or had from who started this process.

A connection waits in the queue of its listening socket, and ends with it: while a process that has bound a socket by
itself restarts, clients are refused, and who waited is reset. So somebody who stays holds the socket: `catchment up`
for its collectors (`Port`), or systemd.
"""

from __future__ import annotations

import os
import socket
from typing import Final

from catchment.errors import Abort, UsageError

FDS_ENV: Final = "CATCHMENT_LISTEN_FDS"
"""Descriptors of sockets that our supervisor shares with us, such as `5` or `5,6`."""
BACKLOG: Final = 4_096
"""Connections that may wait to be accepted; the system may allow fewer."""

_SYSTEMD_FIRST_FD: Final = 3


class Port:
    """An address that one process holds and others accept from, one after the other or at once."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._sockets: list[socket.socket] = []

    @property
    def fds(self) -> list[int]:
        """What children have to inherit; empty unless it is open."""
        return [each.fileno() for each in self._sockets]

    def open(self) -> None:
        """Listen: from now on clients connect, and wait. The sockets are systemd's where it gave us some. Raises
        `Abort` where the address cannot be had."""
        self._sockets = inherited() or [bind(self._host, self._port)]
        for each in self._sockets:
            each.listen(BACKLOG)

    def close(self) -> None:
        """Twice does nothing."""
        for each in self._sockets:
            each.close()
        self._sockets = []


def bind(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A socket bound to the address, which does not listen yet. Where it is `shared`, others may bind the same; the
    kernel then gives each its part of the connections, for good.

    Raises `Abort` where the address cannot be had.
    """
    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        made = socket.socket(family, kind, protocol)
    except OSError as error:
        raise Abort(f"[collect] listen: {shown}: {error.strerror}", "an address of this machine") from None
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind(address)
    except OSError as error:
        made.close()
        raise Abort(
            f"cannot listen on {shown}: {error.strerror}",
            "another port as [collect] listen, or --collect-port 0",
        ) from None
    made.setblocking(False)
    return made


def inherited() -> list[socket.socket]:
    """The sockets that who started us gave us: our supervisor, or systemd by a socket unit. Empty without any.

    Taken once: our own children are to neither see nor inherit them. Raises `UsageError` for what is no TCP socket.
    """
    ours = os.environ.pop(FDS_ENV, "")
    if ours:
        return [_take(int(fd)) for fd in ours.split(",")]
    count, pid = os.environ.pop("LISTEN_FDS", ""), os.environ.pop("LISTEN_PID", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdecimal():  # meant for another process, or there are none
        return []
    return [_take(fd) for fd in range(_SYSTEMD_FIRST_FD, _SYSTEMD_FIRST_FD + int(count))]


def _take(fd: int) -> socket.socket:
    try:
        taken = socket.socket(fileno=fd)
    except OSError:
        raise UsageError(f"descriptor {fd}, given to be listened on, is no socket", "see the socket unit") from None
    if taken.type != socket.SOCK_STREAM or taken.family not in {socket.AF_INET, socket.AF_INET6}:
        taken.close()
        raise UsageError(
            "the socket given to be listened on is none of TCP", "ListenStream=HOST:PORT in the socket unit"
        )
    taken.set_inheritable(False)
    taken.setblocking(False)
    return taken
