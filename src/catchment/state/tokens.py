"""Programs' tokens."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from catchment.record import uuid7
from catchment.state import Row, Transaction, one
from catchment.state.moments import moment, moment_or_none, stamp
from catchment.state.secrets import hashed
from catchment.state.users import COLUMNS, Account, Role, account

_COLUMNS = "tokens.id, tokens.name, tokens.role, tokens.created_at, tokens.expires_at, tokens.used_at"


@dataclass(frozen=True, slots=True)
class Token:
    """A program that asks in a user's name. `role` is the most it may; `expires_at` None is for good."""

    id: str
    name: str
    role: Role
    created_at: datetime
    expires_at: datetime | None
    used_at: datetime | None

    def counts_at(self, now: datetime, tolerance: timedelta) -> bool:
        """Whether it has not expired. Of one that does, a clock set back before its making must not prolong it."""
        return self.expires_at is None or (now < self.expires_at and self.created_at <= now + tolerance)


class Tokens:
    """The table of tokens."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def add(self, secret: str, user_id: str, name: str, role: Role, now: datetime, expires_at: datetime | None) -> str:
        """A new one; its id."""
        token_id = uuid7()
        self._transaction.run(
            "INSERT INTO tokens (hash, id, user_id, name, role, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                hashed(secret), token_id, user_id, name, role, stamp(now),
                None if expires_at is None else stamp(expires_at),
            ),
        )  # fmt: skip
        return token_id

    def find(self, secret: str) -> tuple[Token, Account] | None:
        """The token and whose it is, whether or not it still counts."""
        row = one(
            self._transaction.rows(
                f"SELECT {_COLUMNS}, {COLUMNS} FROM tokens JOIN users ON users.id = tokens.user_id"
                " WHERE tokens.hash = ?",
                (hashed(secret),),
            )
        )
        return None if row is None else (_token(row[:6]), account(row[6:]))

    def of_user(self, user_id: str) -> list[Token]:
        """The user's, the newest first."""
        rows = self._transaction.rows(
            f"SELECT {_COLUMNS} FROM tokens WHERE user_id = ? ORDER BY created_at DESC, id DESC", (user_id,)
        )
        return [_token(row) for row in rows]

    def touch(self, token_id: str, now: datetime) -> None:
        """It was used."""
        self._transaction.run("UPDATE tokens SET used_at = ? WHERE id = ?", (stamp(now), token_id))

    def revoke(self, user_id: str, token_id: str) -> bool:
        """Remove one of the user's; whether there was one."""
        return bool(self._transaction.run("DELETE FROM tokens WHERE user_id = ? AND id = ?", (user_id, token_id)))

    def revoke_all(self, user_id: str) -> int:
        """Remove all of the user's; how many there were."""
        return self._transaction.run("DELETE FROM tokens WHERE user_id = ?", (user_id,))


def _token(row: Row) -> Token:
    token_id, name, role, created_at, expires_at, used_at = row
    return Token(
        token_id, name, msgspec.convert(role, Role), moment(created_at), moment_or_none(expires_at),
        moment_or_none(used_at),
    )  # fmt: skip
