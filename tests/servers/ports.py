"""Ports for the servers of tests."""

from __future__ import annotations

import contextlib
import random
import socket


def free_port() -> int:
    """Below those that outgoing connections are given: one of these may be taken while a server starts, or is down."""
    while True:
        port = random.randrange(12_000, 32_000)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
