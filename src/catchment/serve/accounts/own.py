"""What users do with their own accounts: passwords, sessions, tokens."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from catchment.errors import UsageError
from catchment.serve.accounts.accounts import Accounts, Refused
from catchment.serve.accounts.passwords import check_password
from catchment.serve.accounts.user import Client, Forbidden, User
from catchment.state import Transaction
from catchment.state.audit import Audit, Entry
from catchment.state.secrets import new_secret
from catchment.state.sessions import Session, Sessions
from catchment.state.tokens import Token, Tokens
from catchment.state.users import Role, Users

TOKEN_PREFIX = "catchment_"  # noqa: S105 - by which scanners of repositories know it
MAX_TOKENS = 50
MAX_DAYS = 3_660
MAX_NAME_CHARACTERS = 100


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token just made. `secret` is shown now and never again."""

    id: str
    secret: str
    role: Role
    expires_at: datetime | None


def make_token(accounts: Accounts, user: User, client: Client, name: str, role: Role, days: int | None) -> NewToken:
    """For a program that asks in the user's name, for so many days or for good. Raises `UsageError`; `Forbidden` for
    more than the user may."""
    if not user.may(role):
        raise Forbidden(role)
    name = " ".join(name.split())
    if not 0 < len(name) <= MAX_NAME_CHARACTERS:
        raise UsageError(f"a token's name has 1 to {MAX_NAME_CHARACTERS} characters", "what it is for")
    if days is not None and not 0 < days <= MAX_DAYS:
        raise UsageError(f"a token holds for 1 to {MAX_DAYS:,} days", "90, say, or none: for good")
    now = accounts.clock()
    expires_at = None if days is None else now + timedelta(days=days)
    secret = new_secret(TOKEN_PREFIX)
    with accounts.state.writing() as transaction:
        tokens = Tokens(transaction)
        if len(tokens.of_user(user.id)) >= MAX_TOKENS:
            raise UsageError(f"you have {MAX_TOKENS} tokens already", "revoke those that nobody uses")
        token_id = tokens.add(secret, user.id, name, role, now, expires_at)
        _note(transaction, "make token", user, client, now, f"{name} as {role}")
    return NewToken(token_id, secret, role, expires_at)


def tokens_of(accounts: Accounts, user: User) -> list[Token]:
    """The user's tokens, the newest first."""
    with accounts.state.reading() as transaction:
        return Tokens(transaction).of_user(user.id)


def revoke_token(accounts: Accounts, user: User, client: Client, token_id: str) -> bool:
    """End one of the user's; whether there was one."""
    with accounts.state.writing() as transaction:
        was_there = Tokens(transaction).revoke(user.id, token_id)
        if was_there:
            _note(transaction, "revoke token", user, client, accounts.clock(), token_id)
        return was_there


def sessions_of(accounts: Accounts, user: User) -> list[Session]:
    """Where the user is signed in, the last used first."""
    with accounts.state.reading() as transaction:
        return Sessions(transaction).of_user(user.id)


def end_session(accounts: Accounts, user: User, client: Client, session_id: str) -> bool:
    """Sign out elsewhere; whether there was such a session of the user's."""
    with accounts.state.writing() as transaction:
        was_there = Sessions(transaction).end_one(user.id, session_id)
        if was_there:
            _note(transaction, "sign-out", user, client, accounts.clock(), "elsewhere")
        return was_there


def end_other_sessions(accounts: Accounts, user: User, client: Client, secret: str | None) -> int:
    """Sign out everywhere but here; how many there were."""
    with accounts.state.writing() as transaction:
        count = Sessions(transaction).end_all(user.id, but=secret)
        _note(transaction, "sign-out", user, client, accounts.clock(), "everywhere else")
        return count


async def change_password(
    accounts: Accounts, user: User, client: Client, old: str, new: str, secret: str | None
) -> None:
    """Take another password and end all other sessions. Raises `Refused` where `old` is not the present one, or there
    is none: then a link by an admin makes one, since who finds a browser open must not. Raises `TooMany`,
    `WeakPassword`."""
    check_password(new, user.email)
    await accounts.verify(user.email, old, client)
    password_hash = await accounts.hashing(accounts.passwords.hash, new)

    def change() -> None:
        with accounts.state.writing() as transaction:
            account = Users(transaction).get(user.id)
            if account is None or account.revoked_at is not None:
                raise Refused
            Users(transaction).set_password_hash(user.id, password_hash)
            Sessions(transaction).end_all(user.id, but=secret)
            _note(transaction, "change password", user, client, accounts.clock())

    await accounts.run(change)


def _note(transaction: Transaction, action: str, user: User, client: Client, now: datetime, about: str = "") -> None:
    Audit(transaction).add(Entry(now, action, "done", user.id, user.email, "session", client.address, about))
