"""How many queries of one person run at once, so that nobody takes the warehouse from all others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from catchment.errors import Retry
from catchment.serve.accounts import Role, User

AT_ONCE: Mapping[Role, int] = {"viewer": 3, "analyst": 6, "admin": 10}
"""Tiles are not counted: they are asked once for all who look."""


class Turns:
    """Counts the queries that people run by themselves: in the editor, by programs, as downloads."""

    def __init__(self, at_once: Mapping[Role, int] = AT_ONCE) -> None:
        self._at_once = at_once
        self._running: Counter[str] = Counter()

    @contextmanager
    def of(self, user: User) -> Iterator[None]:
        """While one more of the user's runs. Raises `Retry` where as many run as may."""
        most = self._at_once[user.role]
        if self._running[user.id] >= most:
            raise Retry(f"{most} of your queries are running already", "wait for one to end, or cancel it")
        self._running[user.id] += 1
        try:
            yield
        finally:
            self._running[user.id] -= 1
            if not self._running[user.id]:
                del self._running[user.id]
