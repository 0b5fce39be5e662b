"""What all connections of a collector share: what they may hold together, and their end."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from catchment.collect.config import CollectConfig
from catchment.collect.handler import Answer, Request
from catchment.collect.http import Connection
from catchment.errors import CatchmentError
from catchment.record import Line

FULL_GROUP_BYTES = 1_000_000
"""With so much waiting for its commit, what else comes in is not even parsed until that has gone to disk: decoded,
events take up several times their size."""


class Commit(Protocol):
    """Makes lines durable; see `commit.GroupCommit`."""

    @property
    def pending_bytes(self) -> int:
        """What waits for its commit."""

    def submit(
        self, lines: list[Line], events: int, rejected: int, done: Callable[[CatchmentError | None], None]
    ) -> None:
        """Call `done` once they are durable."""


@dataclass(slots=True)
class Server:
    """What all connections share."""

    config: CollectConfig
    handle: Callable[[Request], Answer]
    commit: Commit
    connections: set[Connection] = field(default_factory=set)
    draining: bool = False
    refused: int = 0
    """Requests answered with an error; whoever reads it may set it back."""
    body_bytes: int = 0
    """Of bodies that are not whole yet, over all connections."""
    held: deque[Connection] = field(default_factory=deque)
    """Connections whose data waits to be parsed, first come first."""
    held_bytes: int = 0

    def connect(self) -> Connection:
        """A protocol for one more connection."""
        return Connection(self)

    def must_hold(self, size_bytes: int) -> bool:
        """Whether so much data has to wait. What is beyond all bounds does not: it is answered 503 at once."""
        if not self.held and self.commit.pending_bytes < FULL_GROUP_BYTES:
            return False
        return self.held_bytes + size_bytes <= self.config.max_pending_bytes

    def release(self) -> None:
        """Go on with connections that had to wait, as far as there is room again."""
        while self.held and self.commit.pending_bytes < FULL_GROUP_BYTES:
            self.held.popleft().go_on()

    def close_late(self) -> None:
        """End connections that are past their deadline. To be called every second or so."""
        now_s = time.monotonic()
        for connection in [each for each in self.connections if each.deadline_s < now_s]:
            connection.expire()
        self.release()

    def drain(self) -> None:
        """From now on an answer is a connection's last, and says so."""
        self.draining = True

    def close_idle(self) -> None:
        """Close connections that have no request on its way."""
        for connection in list(self.connections):
            connection.close_if_idle()

    def abort(self) -> None:
        """Close everything as it is."""
        for connection in list(self.connections):
            connection.abort()
