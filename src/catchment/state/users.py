"""Who may sign in, and as what."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal, get_args

import msgspec

from catchment.record import uuid7
from catchment.state import Row, Transaction, one
from catchment.state.moments import moment, moment_or_none, stamp

Role = Literal["viewer", "analyst", "admin"]
ROLES: Final[Sequence[Role]] = get_args(Role)
"""From least to most: each may what those before it may."""

_COLUMNS = (
    "users.id, users.email, users.name, users.role, users.groups_json, users.password_hash, users.issuer,"
    " users.subject, users.created_at, users.signed_in_at, users.revoked_at"
)


@dataclass(frozen=True, slots=True)
class Account:
    """One user. `email` is in lower case and unique; `issuer` and `subject` are how a provider knows the user.
    One who is revoked stays, for what was done in that name, and cannot sign in."""

    id: str
    email: str
    name: str
    role: Role
    groups: tuple[str, ...]
    password_hash: str | None = field(repr=False)
    issuer: str | None
    subject: str | None
    created_at: datetime
    signed_in_at: datetime | None
    revoked_at: datetime | None


class Users:
    """The table of users."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def add(self, email: str, name: str, role: Role, groups: Collection[str], now: datetime) -> Account:
        """One more; the email must be nobody's."""
        user_id = uuid7()
        self._transaction.run(
            "INSERT INTO users (id, email, name, role, groups_json, created_at) VALUES (?, ?, ?, ?, ?, ?)",
            (user_id, email, name, role, _groups_json(groups), stamp(now)),
        )
        added = self.get(user_id)
        assert added is not None
        return added

    def get(self, user_id: str) -> Account | None:
        """By id."""
        return self._one("users.id = ?", (user_id,))

    def by_email(self, email: str) -> Account | None:
        """By the email, in lower case."""
        return self._one("users.email = ?", (email,))

    def by_subject(self, issuer: str, subject: str) -> Account | None:
        """By how a provider knows the user."""
        return self._one("users.issuer = ? AND users.subject = ?", (issuer, subject))

    def all(self) -> list[Account]:
        """Everyone by email, the revoked included."""
        return list(_accounts(self._transaction.rows(f"SELECT {_COLUMNS} FROM users ORDER BY email")))

    def active_admins(self) -> int:
        """How many may change accounts."""
        [(count,)] = self._transaction.rows(
            "SELECT count(*) FROM users WHERE role = 'admin' AND revoked_at IS NULL AND"
            " (password_hash IS NOT NULL OR signed_in_at IS NOT NULL)"
        )
        return int(count)

    def set_role(self, user_id: str, role: Role) -> None:
        """What the user may."""
        self._set(user_id, "role", role)

    def set_groups(self, user_id: str, groups: Collection[str]) -> None:
        """Whose dashboards the user sees."""
        self._set(user_id, "groups_json", _groups_json(groups))

    def set_name(self, user_id: str, name: str) -> None:
        """What the user is called."""
        self._set(user_id, "name", name)

    def set_password_hash(self, user_id: str, password_hash: str | None) -> None:
        """None: the user cannot sign in by a password."""
        self._set(user_id, "password_hash", password_hash)

    def set_subject(self, user_id: str, issuer: str, subject: str) -> None:
        """How a provider knows the user from now on."""
        self._set(user_id, "issuer", issuer)
        self._set(user_id, "subject", subject)

    def set_signed_in(self, user_id: str, now: datetime) -> None:
        """When it was last."""
        self._set(user_id, "signed_in_at", stamp(now))

    def set_revoked(self, user_id: str, at: datetime | None) -> None:
        """From when on the user cannot sign in; None: again can."""
        self._set(user_id, "revoked_at", None if at is None else stamp(at))

    def _set(self, user_id: str, column: str, value: object) -> None:
        self._transaction.run(f"UPDATE users SET {column} = ? WHERE id = ?", (value, user_id))

    def _one(self, condition: str, values: Sequence[str]) -> Account | None:
        found = one(self._transaction.rows(f"SELECT {_COLUMNS} FROM users WHERE {condition}", values))
        return None if found is None else account(found)


COLUMNS: Final = _COLUMNS
"""For a repository that finds the user together with something of the user's; see `account`."""


def account(row: Row) -> Account:
    """The account in a row of `COLUMNS`."""
    user_id, email, name, role, groups, password_hash, issuer, subject, created_at, signed_in_at, revoked_at = row
    return Account(
        user_id,
        email,
        name,
        msgspec.convert(role, Role),
        tuple(msgspec.json.decode(groups, type=list[str])),
        password_hash,
        issuer,
        subject,
        moment(created_at),
        moment_or_none(signed_in_at),
        moment_or_none(revoked_at),
    )


def _accounts(rows: Sequence[Row]) -> Iterator[Account]:
    return map(account, rows)


def _groups_json(groups: Collection[str]) -> str:
    return msgspec.json.encode(sorted(set(groups))).decode()
