"""How long a round stays open: short while loading is light, up to 3 s once it takes 0.3 of a core.

Many small loads cost more than a few larger ones: a statement for a table costs the same for 3 rows and for 30.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

LONGEST_S = 3.0
SHARE_OF_A_CORE = 0.3
_WINDOW_S = 5.0


class Pace:
    """Measures what loading costs and stretches the age of rounds. Thread-safe."""

    def __init__(self, shortest_s: float) -> None:
        self._shortest_s = shortest_s
        self._age_s = shortest_s
        self._lock = threading.Lock()
        self._spent_s = 0.0
        self._since_s = time.monotonic()

    def age_s(self) -> float:
        """The age at which the next round closes."""
        with self._lock:
            elapsed_s = time.monotonic() - self._since_s
            if elapsed_s >= _WINDOW_S / 5:
                self._adjust(self._spent_s / elapsed_s)
                if elapsed_s >= _WINDOW_S:
                    # Older times count half: a burst is forgotten within seconds.
                    self._spent_s /= 2
                    self._since_s += elapsed_s / 2
            return self._age_s

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Count the CPU time that the block takes in this thread."""
        started_s = time.thread_time()
        try:
            yield
        finally:
            with self._lock:
                self._spent_s += time.thread_time() - started_s

    def _adjust(self, share: float) -> None:
        longest_s = max(LONGEST_S, self._shortest_s)
        if share > SHARE_OF_A_CORE:
            self._age_s = min(longest_s, self._age_s * min(2.0, share / SHARE_OF_A_CORE))
        elif share < SHARE_OF_A_CORE * 0.7:
            self._age_s = max(self._shortest_s, self._age_s * 0.9)
