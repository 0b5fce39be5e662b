"""The user of a request, and what a page asks of one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from catchment.state.users import ROLES, Account, Role

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection, Request

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class User:
    """Who is asking. `role` is what this request may: that of a token may be less than the user's own. `token` is
    the token's id, None for a browser's session."""

    id: str
    email: str
    name: str
    role: Role
    groups: frozenset[str]
    token: str | None = None

    def may(self, role: Role) -> bool:
        """Whether what asks for this role is allowed."""
        return ROLES.index(self.role) >= ROLES.index(role)

    def sees(self, groups: Collection[str]) -> bool:
        """Whether what is meant for these groups is for this user: for everybody where none is named; admins see
        everything."""
        return not groups or self.may("admin") or not self.groups.isdisjoint(groups)

    def described(self) -> dict[str, object]:
        """As programs are told who they are."""
        return {
            "id": self.id,
            "email": self.email,
            "name": self.name,
            "role": self.role,
            "groups": sorted(self.groups),
            "token": self.token,
        }


@dataclass(frozen=True, slots=True)
class Client:
    """Where a request comes from: the address behind trusted proxies, and the browser's own name."""

    address: str
    browser: str


class Forbidden(Exception):
    """The user may not; `role` is the one that may. The application answers it with 403."""

    def __init__(self, role: Role) -> None:
        super().__init__(f"needs the role {role}")
        self.role = role


def user_of(account: Account, role: Role | None = None, token: str | None = None) -> User:
    """The user of an account, with at most this role."""
    least = account.role if role is None else min(role, account.role, key=ROLES.index)
    return User(account.id, account.email, account.name, least, frozenset(account.groups), token)


def current_user(request: HTTPConnection) -> User:
    """Who is asking. On the few paths that are open to everybody there may be nobody: see `user_or_none`."""
    user = user_or_none(request)
    assert user is not None, "a page that needs a user lies outside the middleware Access"
    return user


def user_or_none(request: HTTPConnection) -> User | None:
    """Who is asking, where that is known."""
    user: User | None = request.scope.get("state", {}).get("user")
    return user


def client_of(request: HTTPConnection) -> Client:
    """Where the request comes from."""
    client: Client = request.scope["state"]["client"]
    return client


def require(
    role: Role,
) -> Callable[[Callable[Concatenate[Request, P], Awaitable[R]]], Callable[Concatenate[Request, P], Awaitable[R]]]:
    """Let in who may what this role may; `Forbidden` for others."""

    def around(
        endpoint: Callable[Concatenate[Request, P], Awaitable[R]],
    ) -> Callable[Concatenate[Request, P], Awaitable[R]]:
        @wraps(endpoint)
        async def guarded(request: Request, /, *args: P.args, **kwargs: P.kwargs) -> R:
            if not current_user(request).may(role):
                raise Forbidden(role)
            return await endpoint(request, *args, **kwargs)

        return guarded

    return around
