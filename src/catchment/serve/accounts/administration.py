"""What an admin does with accounts, on a page or by `catchment admin`: each in one transaction, with its row in the
audit. It works beside a server that runs, since both read the state at every request."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import quote

from catchment.errors import UsageError
from catchment.serve.accounts.emails import normal_email
from catchment.serve.config import ServeConfig
from catchment.state import State, Transaction
from catchment.state.audit import Audit, Entry
from catchment.state.links import Links, Purpose
from catchment.state.secrets import new_secret
from catchment.state.sessions import Sessions
from catchment.state.tokens import Tokens
from catchment.state.users import Account, Role, Users

VALID: Final[dict[Purpose, timedelta]] = {
    "first": timedelta(hours=1),
    "invite": timedelta(days=7),
    "reset": timedelta(hours=24),
    "sign_in": timedelta(minutes=15),
}
MAX_NAME_CHARACTERS = 100
MAX_GROUP_CHARACTERS = 100
MAX_GROUPS = 100


@dataclass(frozen=True, slots=True)
class By:
    """Who does it, for the audit."""

    email: str
    via: str
    address: str
    user_id: str | None = None


COMMAND: Final = By("", "command", "")
"""Somebody at the machine itself, who may read the project's files."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A one-time link made for an account: `secret` is shown once."""

    account: Account
    secret: str
    expires_at: datetime


def link_path(secret: str) -> str:
    """Where a one-time link leads, below the base path."""
    return f"/sign-in/link?token={quote(secret)}"


def link_url(config: ServeConfig, secret: str, address: str | None = None) -> str:
    """The whole link. `address` is where the server is reached, such as http://127.0.0.1:8080, with or without the
    base path; it counts where no `public_url` is set."""
    scheme = "https" if config.tls_certificate else "http"
    start = (config.public_url or address or f"{scheme}://{config.listen}").rstrip("/")
    return f"{start.removesuffix(config.base_path)}{config.base_path}{link_path(secret)}"


def first_link(state: State, now: datetime) -> str | None:
    """The secret of a link that makes the first admin; None where there is one. Earlier ones no longer count."""
    with state.writing() as transaction:
        if Users(transaction).active_admins():
            return None
        Links(transaction).forget_first()
        secret = new_secret()
        Links(transaction).add(secret, "first", None, now, now + VALID["first"])
        return secret


def users(state: State) -> list[Account]:
    """Everyone by email, the revoked included."""
    with state.reading() as transaction:
        return Users(transaction).all()


def find(state: State, email: str) -> Account:
    """By the email. Raises `UsageError` where there is nobody."""
    with state.reading() as transaction:
        return _found(transaction, email)


def invite(
    state: State, email: str, now: datetime, by: By, *, role: Role, name: str = "", groups: Collection[str] = ()
) -> Sent:
    """A new user, and the link by which that person chooses a password. One who was invited and has not come yet gets
    another link, and what is said now counts. Raises `UsageError` for an email that is none, or has signed in."""
    email = normal_email(email, must_be_one=True)
    with state.writing() as transaction:
        repository = Users(transaction)
        account = repository.by_email(email)
        if account is None:
            account = repository.add(email, name_of(name, email), role, _groups(groups), now)
        elif account.password_hash is not None or account.signed_in_at is not None:
            raise UsageError(f"{email} is a user already", f"catchment admin user reset {email}")
        else:
            repository.set_role(account.id, role)
            repository.set_groups(account.id, _groups(groups))
            repository.set_revoked(account.id, None)
        _note(transaction, "invite", account, now, by, f"as {role}")
        return _send(transaction, account, "invite", now)


def reset(state: State, email: str, now: datetime, by: By) -> Sent:
    """A link by which a user chooses another password; the present one holds until then. Raises `UsageError`."""
    with state.writing() as transaction:
        account = _found(transaction, email)
        if account.revoked_at is not None:
            raise UsageError(f"{account.email} is revoked", f"catchment admin user restore {account.email}")
        _note(transaction, "reset", account, now, by)
        return _send(transaction, account, "reset", now)


def sign_in_link(state: State, email: str, now: datetime, by: By, *, role: Role, name: str = "") -> Sent:
    """A link that signs a user in at once, who is made where there is none: for a demo on one's own machine."""
    email = normal_email(email, must_be_one=True)
    with state.writing() as transaction:
        repository = Users(transaction)
        account = repository.by_email(email) or repository.add(email, name_of(name, email), role, (), now)
        if account.revoked_at is not None:
            raise UsageError(f"{email} is revoked", f"catchment admin user restore {email}")
        _note(transaction, "sign-in link", account, now, by)
        return _send(transaction, account, "sign_in", now)


def change(
    state: State,
    email: str,
    now: datetime,
    by: By,
    *,
    role: Role | None = None,
    groups: Collection[str] | None = None,
    name: str | None = None,
) -> Account:
    """What is given; in force from the next request. Raises `UsageError`, also where no admin would be left."""
    with state.writing() as transaction:
        account = _found(transaction, email)
        repository = Users(transaction)
        words = []
        if role is not None and role != account.role:
            repository.set_role(account.id, role)
            _keep_an_admin(repository, account)
            words.append(f"role {account.role} -> {role}")
        if groups is not None and set(groups) != set(account.groups):
            repository.set_groups(account.id, _groups(groups))
            words.append(f"groups {', '.join(account.groups) or 'none'} -> {', '.join(sorted(groups)) or 'none'}")
        if name is not None and _name(name) and _name(name) != account.name:
            repository.set_name(account.id, _name(name))
            words.append("name")
        if words:
            _note(transaction, "change user", account, now, by, "; ".join(words))
        return repository.get(account.id) or account


def revoke(state: State, email: str, now: datetime, by: By) -> Account:
    """From now on the user cannot sign in; sessions, tokens and links end. Raises `UsageError`, also for the last
    admin."""
    with state.writing() as transaction:
        account = _found(transaction, email)
        if account.revoked_at is None:
            Users(transaction).set_revoked(account.id, now)
            _keep_an_admin(Users(transaction), account)
        Sessions(transaction).end_all(account.id)
        Tokens(transaction).revoke_all(account.id)
        Links(transaction).forget_of(account.id)
        _note(transaction, "revoke", account, now, by)
        return Users(transaction).get(account.id) or account


def restore(state: State, email: str, now: datetime, by: By) -> Account:
    """One who was revoked may sign in again, as before. Raises `UsageError`."""
    with state.writing() as transaction:
        account = _found(transaction, email)
        Users(transaction).set_revoked(account.id, None)
        _note(transaction, "restore", account, now, by)
        return Users(transaction).get(account.id) or account


def _found(transaction: Transaction, email: str) -> Account:
    account = Users(transaction).by_email(normal_email(email))
    if account is None:
        raise UsageError(f"there is no user {normal_email(email)}", "catchment admin user list")
    return account


def _keep_an_admin(repository: Users, account: Account) -> None:
    """Not where nobody has come yet: whoever invites at the machine itself may change it."""
    has_come = account.password_hash is not None or account.signed_in_at is not None
    if account.role == "admin" and has_come and not repository.active_admins():
        raise UsageError(f"{account.email} is the last admin", "make another one first")


def _send(transaction: Transaction, account: Account, purpose: Purpose, now: datetime) -> Sent:
    links = Links(transaction)
    links.forget_expired(now)
    links.forget_of(account.id)
    secret, expires_at = new_secret(), now + VALID[purpose]
    links.add(secret, purpose, account.id, now, expires_at)
    return Sent(Users(transaction).get(account.id) or account, secret, expires_at)


def _note(transaction: Transaction, action: str, account: Account, now: datetime, by: By, words: str = "") -> None:
    about = f"{account.email}: {words}" if words else account.email
    Audit(transaction).add(Entry(now, action, "done", by.user_id, by.email, by.via, by.address, about))


def _name(name: str) -> str:
    return " ".join(name.split())[:MAX_NAME_CHARACTERS]


def name_of(name: str, email: str) -> str:
    """What a user is called who may have said nothing."""
    return _name(name) or email.partition("@")[0]


def _groups(groups: Collection[str]) -> list[str]:
    """Raises `UsageError` for what cannot be a group's name."""
    found = sorted({" ".join(group.split()) for group in groups} - {""})
    if len(found) > MAX_GROUPS or any(len(group) > MAX_GROUP_CHARACTERS for group in found):
        raise UsageError(
            f"at most {MAX_GROUPS} groups of at most {MAX_GROUP_CHARACTERS} characters", "fewer, or shorter ones"
        )
    return found
