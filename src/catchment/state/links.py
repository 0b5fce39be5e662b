"""One-time links: the first admin's, invitations, forgotten passwords, a demo's own."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import msgspec

from catchment.state import Row, Transaction, one
from catchment.state.moments import moment, stamp
from catchment.state.secrets import hashed

Purpose = Literal["first", "invite", "reset", "sign_in"]
"""`first` makes the first admin, who is nobody yet; `sign_in` asks for no password."""


@dataclass(frozen=True, slots=True)
class Link:
    """One that has not been used. `user_id` is None for `first` alone."""

    purpose: Purpose
    user_id: str | None
    created_at: datetime
    expires_at: datetime


class Links:
    """The table of links that have not been used."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def add(self, secret: str, purpose: Purpose, user_id: str | None, now: datetime, expires_at: datetime) -> None:
        """A new one."""
        self._transaction.run(
            "INSERT INTO links (hash, purpose, user_id, created_at, expires_at) VALUES (?, ?, ?, ?, ?)",
            (hashed(secret), purpose, user_id, stamp(now), stamp(expires_at)),
        )

    def find(self, secret: str) -> Link | None:
        """What the link is for, whether or not it still counts; it stays."""
        row = one(
            self._transaction.rows(
                "SELECT purpose, user_id, created_at, expires_at FROM links WHERE hash = ?", (hashed(secret),)
            )
        )
        return None if row is None else _link(row)

    def use_up(self, secret: str) -> bool:
        """Remove it; whether it was there: of several who come with it one hears that."""
        return bool(self._transaction.run("DELETE FROM links WHERE hash = ?", (hashed(secret),)))

    def forget_of(self, user_id: str) -> None:
        """Remove all of a user's."""
        self._transaction.run("DELETE FROM links WHERE user_id = ?", (user_id,))

    def forget_first(self) -> None:
        """Remove those that would make a first admin."""
        self._transaction.run("DELETE FROM links WHERE purpose = 'first'")

    def forget_expired(self, now: datetime) -> None:
        """Remove those that nobody has used in time."""
        self._transaction.run("DELETE FROM links WHERE expires_at <= ?", (stamp(now),))


def _link(row: Row) -> Link:
    purpose, user_id, created_at, expires_at = row
    return Link(msgspec.convert(purpose, Purpose), user_id, moment(created_at), moment(expires_at))
