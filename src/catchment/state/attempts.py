"""Attempts to sign in, counted over all processes, so that guessing stays slow."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta

from catchment.record import uuid7
from catchment.state import Transaction
from catchment.state.moments import moment, stamp


class Attempts:
    """The table of attempts. Names are kept as hashes: people type passwords where an email belongs."""

    def __init__(self, transaction: Transaction, window: timedelta) -> None:
        self._transaction = transaction
        self._window = window

    def begin(self, limits: Mapping[str, int], now: datetime) -> str | datetime:
        """Note one attempt under each name, and return its id; or, where a name has had as many as it may within the
        window, note nothing and return when there may be another one.

        Counted before the password is looked at: of a thousand that come at once no more are let through.
        """
        since = stamp(now - self._window)
        # Those of the future are from before the clock was set back: they would lock people out until then.
        self._transaction.run("DELETE FROM attempts WHERE at <= ? OR at > ?", (since, stamp(now) + 60_000_000))
        for name, limit in limits.items():
            rows = self._transaction.rows(
                "SELECT at FROM attempts WHERE name = ? ORDER BY at DESC LIMIT 1 OFFSET ?", (_key(name), limit - 1)
            )
            if rows:
                return moment(rows[0][0]) + self._window
        attempt = uuid7()
        for name in limits:
            self._transaction.run(
                "INSERT INTO attempts (id, name, at) VALUES (?, ?, ?)", (attempt, _key(name), stamp(now))
            )
        return attempt

    def forgive(self, attempt: str, names: Mapping[str, int]) -> None:
        """It was the right password: it counts for nothing."""
        for name in names:
            self._transaction.run("DELETE FROM attempts WHERE name = ? AND id = ?", (_key(name), attempt))


def _key(name: str) -> str:
    return hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()
