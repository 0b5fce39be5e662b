"""Files that are being written or loaded: not the sweep's to load."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable


class InFlight:
    """Names of archive files, each as often as somebody has it in hand. Thread-safe."""

    def __init__(self) -> None:
        self._names: Counter[str] = Counter()
        self._lock = threading.Lock()

    def add(self, names: Iterable[str]) -> None:
        """Before a file is there, or while it is in flight by somebody else: else the sweep may be first."""
        with self._lock:
            self._names.update(names)

    def remove(self, names: Iterable[str]) -> None:
        """Each name once less."""
        with self._lock:
            for name in names:
                self._names[name] -= 1
                if not self._names[name]:
                    del self._names[name]

    def __contains__(self, name: str) -> bool:
        with self._lock:
            return name in self._names
