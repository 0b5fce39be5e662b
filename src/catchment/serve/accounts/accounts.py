"""Signing in and out, and knowing again who has."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ParamSpec, TypeVar

from catchment.addresses import own_network
from catchment.record import now as utc_now
from catchment.serve.accounts.emails import normal_email
from catchment.serve.accounts.passwords import Passwords, check_password
from catchment.serve.accounts.user import Client, User, user_of
from catchment.serve.config import ServeConfig
from catchment.state import State, Transaction, one
from catchment.state.attempts import Attempts
from catchment.state.audit import Audit, Entry
from catchment.state.links import Link, Links
from catchment.state.secrets import MAX_CHARACTERS, new_secret
from catchment.state.sessions import Session, Sessions
from catchment.state.tokens import Tokens
from catchment.state.users import Account, Users

P = ParamSpec("P")
R = TypeVar("R")

CLOCK_TOLERANCE = timedelta(minutes=5)
"""What began later than this from now is from before the clock was set back. How long it would still hold nobody can
say, so it holds no longer."""
TOUCH_EVERY = timedelta(minutes=1)
ATTEMPTS_WINDOW = timedelta(minutes=15)
MAX_ATTEMPTS_HERE = 5
"""At one account, from one address."""
MAX_ATTEMPTS_OF_ADDRESS = 30
"""At all accounts together."""
MAX_ATTEMPTS_AT_ACCOUNT = 50
"""From all addresses together; where the user has a session from, people are not counted: else anybody could lock
anybody out."""
_HASHING_THREADS = 2
"""Each hash takes a core and 19 MiB."""
MAX_HASHES_WAITING = 100
_HASHES_WAIT_S = 5
_STATE_THREADS = 4


class Refused(Exception):
    """Not signed in. Says no more than that: not whether there is such a user."""


class TooMany(Refused):
    """Too many attempts; the next one may be in `wait_s` seconds."""

    def __init__(self, wait_s: int) -> None:
        super().__init__()
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True)
class SignedIn:
    """What a browser is given: the secret for its cookie, and how long it may keep it."""

    secret: str
    max_age_s: int
    user: User


@dataclass(frozen=True, slots=True)
class OpenLink:
    """What a one-time link that still counts is for. `email` is None for the first admin's, who says it."""

    purpose: str
    email: str | None

    @property
    def wants_password(self) -> bool:
        """Whether whoever uses it chooses a password."""
        return self.purpose != "sign_in"


class Accounts:
    """What stands behind the middleware and the forms. The plain methods block: call them by `run`."""

    def __init__(
        self,
        state: State,
        config: ServeConfig,
        *,
        passwords: Passwords | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.state = state
        self.config = config
        self.clock = clock
        self.passwords = passwords or Passwords()
        self._threads = ThreadPoolExecutor(_STATE_THREADS, "accounts")
        self._hashing = ThreadPoolExecutor(_HASHING_THREADS, "passwords")
        self._hashes_waiting = 0
        self._hashing.submit(self.passwords.warm_up)
        self.instance = instance(state)

    def close(self) -> None:
        """Wait for what is on its way. The state is its owner's to close."""
        self._hashing.shutdown()
        self._threads.shutdown()

    async def run(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call something that blocks on the state, in threads of its own: long queries elsewhere do not hold it up."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: call(*args, **kwargs))

    async def hashing(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call something that takes a core for a while, a few at a time. Raises `TooMany` where so many wait that
        nobody would."""
        if self._hashes_waiting >= MAX_HASHES_WAITING:
            raise TooMany(_HASHES_WAIT_S)
        self._hashes_waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._hashing, lambda: call(*args, **kwargs))
        finally:
            self._hashes_waiting -= 1

    # Knowing again

    async def of_session(self, secret: str) -> User | None:
        """Whose session it is, if it still counts."""
        if len(secret) > MAX_CHARACTERS:
            return None
        now = self.clock()
        found = await self._look_up(lambda transaction: Sessions(transaction).find(secret))
        if found is None or not self._counts(*found, now):
            return None
        session, account = found
        if now - session.seen_at >= TOUCH_EVERY:
            await self.run(self._touch, lambda transaction: Sessions(transaction).touch(session.id, now))
        return user_of(account)

    def session_id(self, secret: str) -> str | None:
        """The id of a session, by which its user may end it."""
        with self.state.reading() as transaction:
            found = Sessions(transaction).find(secret)
        return None if found is None else found[0].id

    def _counts(self, session: Session, account: Account, now: datetime) -> bool:
        return (
            account.revoked_at is None
            and session.seen_at <= now + CLOCK_TOLERANCE
            and now < session.expires_at
            and now - session.created_at < self.config.session_max
            and now - session.seen_at < self.config.session_idle
        )

    async def of_token(self, secret: str) -> User | None:
        """Whose token it is, if it still counts."""
        if len(secret) > MAX_CHARACTERS:
            return None
        now = self.clock()
        found = await self._look_up(lambda transaction: Tokens(transaction).find(secret))
        if found is None:
            return None
        token, account = found
        if account.revoked_at is not None or not token.counts_at(now, CLOCK_TOLERANCE):
            return None
        if token.used_at is None or abs(now - token.used_at) >= TOUCH_EVERY:
            await self.run(self._touch, lambda transaction: Tokens(transaction).touch(token.id, now))
        return user_of(account, token.role, token.id)

    async def _look_up(self, find: Callable[[Transaction], R]) -> R:
        """With each request: on this machine it takes less than the way to another thread."""

        def look_up() -> R:
            with self.state.reading() as transaction:
                return find(transaction)

        return look_up() if self.state.is_local else await self.run(look_up)

    def _touch(self, touch: Callable[[Transaction], None]) -> None:
        with self.state.writing() as transaction:
            touch(transaction)

    # Signing in

    async def sign_in(self, email: str, password: str, client: Client, old: str | None = None) -> SignedIn:
        """By a password. `old` is the secret of the session the browser had until now, which ends. Raises `Refused`,
        `TooMany`."""
        account = await self.verify(email, password, client)
        password_hash = account.password_hash
        assert password_hash is not None
        renewed = None
        if self.passwords.is_outdated(password_hash):
            renewed = await self.hashing(self.passwords.hash, password)

        def enter() -> SignedIn:
            with self.state.writing() as transaction:
                # Revoked, or the password changed, while it was being hashed?
                current = Users(transaction).get(account.id)
                if current is None or current.revoked_at is not None or current.password_hash != password_hash:
                    raise Refused
                if renewed is not None:
                    Users(transaction).set_password_hash(account.id, renewed)
                return self.enter(transaction, current, client, old, "password")

        return await self.run(enter)

    async def verify(self, email: str, password: str, client: Client) -> Account:
        """Whose email and password these are; wrong ones count. Raises `Refused`, `TooMany`."""
        email = normal_email(email)
        limits, attempt = await self.run(self._begin_attempt, email, client)
        account = await self.run(self._account, email)
        may = account is not None and account.revoked_at is None and self.config.sign_in.passwords
        password_hash = account.password_hash if account is not None and may else None
        if not await self.hashing(self.passwords.fits, password, password_hash) or account is None:
            await self.run(self._note_failure, email, account, client)
            raise Refused

        def forgive() -> None:
            with self.state.writing() as transaction:
                Attempts(transaction, ATTEMPTS_WINDOW).forgive(attempt, limits)

        await self.run(forgive)
        return account

    def enter(self, transaction: Transaction, account: Account, client: Client, old: str | None, how: str) -> SignedIn:
        """Begin a session with a secret of its own, and end the one before: what somebody may have planted in the
        browser is worth nothing afterwards."""
        now = self.clock()
        sessions = Sessions(transaction)
        sessions.forget_expired(now)
        if old is not None:
            sessions.end(old)
        secret = new_secret()
        expires_at = now + self.config.session_max
        sessions.add(secret, account.id, now, expires_at, client.address, client.browser)
        Users(transaction).set_signed_in(account.id, now)
        Audit(transaction).add(Entry.of("sign-in", account, now, client.address, via="session", about=how))
        return SignedIn(secret, int(self.config.session_max.total_seconds()), user_of(account))

    def sign_out(self, secret: str, client: Client) -> None:
        """End the session."""
        with self.state.writing() as transaction:
            account = Sessions(transaction).end(secret)
            if account is not None:
                Audit(transaction).add(Entry.of("sign-out", account, self.clock(), client.address, via="session"))

    def _account(self, email: str) -> Account | None:
        with self.state.reading() as transaction:
            return Users(transaction).by_email(email)

    def _begin_attempt(self, email: str, client: Client) -> tuple[dict[str, int], str]:
        now = self.clock()
        network = own_network(client.address)
        with self.state.writing() as transaction:
            limits = {
                f"here {email} {network}": MAX_ATTEMPTS_HERE,
                f"address {network}": MAX_ATTEMPTS_OF_ADDRESS,
            }
            account = Users(transaction).by_email(email)
            if account is None or not Sessions(transaction).has_come_from(account.id, client.address):
                limits[f"account {email}"] = MAX_ATTEMPTS_AT_ACCOUNT
            attempt = Attempts(transaction, ATTEMPTS_WINDOW).begin(limits, now)
        if isinstance(attempt, datetime):
            raise TooMany(max(1, int((attempt - now).total_seconds()) + 1))
        return limits, attempt

    def _note_failure(self, email: str, account: Account | None, client: Client) -> None:
        with self.state.writing() as transaction:
            Audit(transaction).add(
                Entry.of(
                    "sign-in", account, self.clock(), client.address, via="session", outcome="refused",
                    about="password" if account is not None else "password, unknown user",
                )
            )  # fmt: skip

    # One-time links

    def look_at_link(self, secret: str) -> OpenLink | None:
        """What a link is for, if it still counts. Looking does not use it up: chats and mail programs look at every
        link that is sent."""
        with self.state.reading() as transaction:
            found = self._open_link(transaction, secret)
            if found is None:
                return None
            link, account = found
            return OpenLink(link.purpose, account.email if account is not None else None)

    async def use_link(
        self,
        secret: str,
        client: Client,
        *,
        email: str = "",
        name: str = "",
        password: str = "",
        old: str | None = None,
    ) -> SignedIn:
        """By a one-time link, which is then used up. Raises `Refused`; `UsageError` where the password will not do,
        and the link stays."""
        link = await self.run(self.look_at_link, secret)
        if link is None:
            raise Refused
        email = link.email if link.email is not None else normal_email(email, must_be_one=True)
        password_hash = None
        if link.wants_password:
            check_password(password, email)
            password_hash = await self.hashing(self.passwords.hash, password)

        def enter() -> SignedIn:
            with self.state.writing() as transaction:
                found = self._open_link(transaction, secret)
                if found is None or not Links(transaction).use_up(secret):
                    raise Refused
                account = found[1] or self._first_admin(transaction, email)
                users = Users(transaction)
                if name.strip():
                    users.set_name(account.id, " ".join(name.split())[:100])
                if password_hash is not None:
                    users.set_password_hash(account.id, password_hash)
                    Sessions(transaction).end_all(account.id)
                    Links(transaction).forget_of(account.id)
                account = users.get(account.id) or account
                return self.enter(transaction, account, client, old, f"link: {found[0].purpose}")

        return await self.run(enter)

    def _open_link(self, transaction: Transaction, secret: str) -> tuple[Link, Account | None] | None:
        link = Links(transaction).find(secret) if len(secret) <= MAX_CHARACTERS else None
        now = self.clock()
        if link is None or now >= link.expires_at or link.created_at > now + CLOCK_TOLERANCE:
            return None
        users = Users(transaction)
        if link.purpose == "first":
            return None if users.active_admins() else (link, None)
        account = users.get(link.user_id or "")
        return None if account is None or account.revoked_at is not None else (link, account)

    def _first_admin(self, transaction: Transaction, email: str) -> Account:
        Links(transaction).forget_first()
        users = Users(transaction)
        account = users.by_email(email)
        if account is None:
            return users.add(email, email.partition("@")[0], "admin", (), self.clock())
        users.set_role(account.id, "admin")
        users.set_revoked(account.id, None)
        return users.get(account.id) or account


def instance(state: State) -> str:
    """A short name of this state, the same for all its processes."""
    with state.writing() as transaction:
        transaction.run(
            "INSERT INTO facts (name, value) VALUES ('instance', ?) ON CONFLICT (name) DO NOTHING",
            (secrets.token_hex(4),),
        )
        found = one(transaction.rows("SELECT value FROM facts WHERE name = 'instance'"))
        assert found is not None
        return str(found[0])
