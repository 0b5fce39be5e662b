"""Who is signed in, and where."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from catchment.record import uuid7
from catchment.state import Row, Transaction, one
from catchment.state.moments import moment, stamp
from catchment.state.secrets import hashed
from catchment.state.users import COLUMNS, Account, account

_COLUMNS = (
    "sessions.id, sessions.created_at, sessions.seen_at, sessions.expires_at, sessions.address, sessions.browser"
)


@dataclass(frozen=True, slots=True)
class Session:
    """One browser in which a user has signed in. It ends at `expires_at` at the latest."""

    id: str
    created_at: datetime
    seen_at: datetime
    expires_at: datetime
    address: str
    browser: str


class Sessions:
    """The table of sessions."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def add(self, secret: str, user_id: str, now: datetime, expires_at: datetime, address: str, browser: str) -> None:
        """A new one, whose secret the browser keeps."""
        self._transaction.run(
            "INSERT INTO sessions (hash, id, user_id, created_at, seen_at, expires_at, address, browser)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (hashed(secret), uuid7(), user_id, stamp(now), stamp(now), stamp(expires_at), address, browser),
        )

    def find(self, secret: str) -> tuple[Session, Account] | None:
        """The session and whose it is, whether or not it still counts."""
        row = one(
            self._transaction.rows(
                f"SELECT {_COLUMNS}, {COLUMNS} FROM sessions JOIN users ON users.id = sessions.user_id"
                " WHERE sessions.hash = ?",
                (hashed(secret),),
            )
        )
        return None if row is None else (_session(row[:6]), account(row[6:]))

    def of_user(self, user_id: str) -> list[Session]:
        """The user's, the last used first."""
        rows = self._transaction.rows(
            f"SELECT {_COLUMNS} FROM sessions WHERE user_id = ? ORDER BY seen_at DESC", (user_id,)
        )
        return [_session(row) for row in rows]

    def touch(self, session_id: str, now: datetime) -> None:
        """It was used."""
        self._transaction.run("UPDATE sessions SET seen_at = ? WHERE id = ?", (stamp(now), session_id))

    def has_come_from(self, user_id: str, address: str) -> bool:
        """Whether the user has a session that began at this address."""
        return bool(
            self._transaction.rows(
                "SELECT 1 FROM sessions WHERE user_id = ? AND address = ? LIMIT 1", (user_id, address)
            )
        )

    def end(self, secret: str) -> Account | None:
        """End it, and say whose it was."""
        found = self.find(secret)
        self._transaction.run("DELETE FROM sessions WHERE hash = ?", (hashed(secret),))
        return None if found is None else found[1]

    def end_one(self, user_id: str, session_id: str) -> bool:
        """End one of the user's by its id; whether there was one."""
        return bool(self._transaction.run("DELETE FROM sessions WHERE user_id = ? AND id = ?", (user_id, session_id)))

    def end_all(self, user_id: str, but: str | None = None) -> int:
        """End all of the user's, but perhaps the one of this secret; how many there were."""
        return self._transaction.run(
            "DELETE FROM sessions WHERE user_id = ? AND hash <> ?", (user_id, "" if but is None else hashed(but))
        )

    def forget_expired(self, now: datetime) -> int:
        """Remove those that ended by themselves."""
        return self._transaction.run("DELETE FROM sessions WHERE expires_at <= ?", (stamp(now),))


def _session(row: Row) -> Session:
    session_id, created_at, seen_at, expires_at, address, browser = row
    return Session(session_id, moment(created_at), moment(seen_at), moment(expires_at), address, browser)
