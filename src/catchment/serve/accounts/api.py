"""What pages' scripts ask about accounts, as JSON: `/api/account` of the user's own, `/api/admin` of everybody's.

For people in a browser alone: a token could otherwise make itself others, or an admin's token lets whoever found it
in everywhere.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from catchment.errors import CatchmentError, UsageError
from catchment.serve.accounts import administration, own
from catchment.serve.accounts.accounts import Accounts, Refused, TooMany
from catchment.serve.accounts.administration import By, Sent, link_url
from catchment.serve.accounts.cookies import session_secret
from catchment.serve.accounts.forms import BadForm, read_as
from catchment.serve.accounts.user import Forbidden, client_of, current_user
from catchment.serve.accounts.visit import visit_of
from catchment.state.audit import Audit
from catchment.state.users import Account, Role

MAX_ENTRIES = 1_000


class NewPassword(msgspec.Struct):
    """Of one's own."""

    old: str
    new: str


class NewToken(msgspec.Struct):
    """`days` null is for good."""

    name: str
    role: Role = "viewer"
    days: int | None = 90


class NewUser(msgspec.Struct):
    """Somebody to invite."""

    email: str
    role: Role = "viewer"
    name: str = ""
    groups: list[str] = []


class Change(msgspec.Struct):
    """What is there is changed."""

    role: Role | UnsetType = UNSET
    groups: list[str] | UnsetType = UNSET
    name: Annotated[str, Meta(min_length=1)] | UnsetType = UNSET


Endpoint = Callable[[Request], Awaitable[Any]]


def of(accounts: Accounts) -> list[Route]:
    """The routes; paths are below the base path."""
    return [*_own(accounts), *_admin(accounts)]


def _own(accounts: Accounts) -> list[Route]:
    async def account(request: Request) -> Any:
        user, secret = current_user(request), session_secret(visit_of(request), accounts.instance)
        here = await accounts.run(accounts.session_id, secret or "")
        return {
            "user": user.described(),
            "sessions": [
                {**msgspec.to_builtins(each), "here": each.id == here}
                for each in await accounts.run(own.sessions_of, accounts, user)
            ],
            "tokens": await accounts.run(own.tokens_of, accounts, user),
        }

    async def password(request: Request) -> Any:
        new = await read_as(request, NewPassword)
        secret = session_secret(visit_of(request), accounts.instance)
        await own.change_password(accounts, current_user(request), client_of(request), new.old, new.new, secret)
        return {}

    async def end_session(request: Request) -> Any:
        user, client = current_user(request), client_of(request)
        found = await accounts.run(own.end_session, accounts, user, client, request.path_params["id"])
        return {} if found else None

    async def end_sessions(request: Request) -> Any:
        secret = session_secret(visit_of(request), accounts.instance)
        user, client = current_user(request), client_of(request)
        return {"ended": await accounts.run(own.end_other_sessions, accounts, user, client, secret)}

    async def make_token(request: Request) -> Any:
        new = await read_as(request, NewToken)
        user, client = current_user(request), client_of(request)
        return await accounts.run(own.make_token, accounts, user, client, new.name, new.role, new.days)

    async def revoke_token(request: Request) -> Any:
        user, client = current_user(request), client_of(request)
        found = await accounts.run(own.revoke_token, accounts, user, client, request.path_params["id"])
        return {} if found else None

    return [
        _route("GET", "/api/account", account),
        _route("POST", "/api/account/password", password),
        _route("DELETE", "/api/account/sessions", end_sessions),
        _route("DELETE", "/api/account/sessions/{id}", end_session),
        _route("POST", "/api/account/tokens", make_token),
        _route("DELETE", "/api/account/tokens/{id}", revoke_token),
    ]


def _admin(accounts: Accounts) -> list[Route]:
    state = accounts.state

    async def users(request: Request) -> Any:
        return list(map(_described, await accounts.run(administration.users, state)))

    async def invite(request: Request) -> Any:
        new, by = await read_as(request, NewUser), _by(request)

        def make() -> Sent:
            return administration.invite(
                state, new.email, accounts.clock(), by, role=new.role, name=new.name, groups=new.groups
            )

        return _sent(request, accounts, await accounts.run(make))

    async def reset(request: Request) -> Any:
        email, by = request.path_params["email"], _by(request)
        return _sent(request, accounts, await accounts.run(administration.reset, state, email, accounts.clock(), by))

    async def change(request: Request) -> Any:
        new, by = await read_as(request, Change), _by(request)
        given: dict[str, Any] = msgspec.to_builtins(new)

        def make() -> Account:
            return administration.change(state, request.path_params["email"], accounts.clock(), by, **given)

        return _described(await accounts.run(make))

    def standing(do: Callable[..., Account]) -> Endpoint:
        async def endpoint(request: Request) -> Any:
            email, by = request.path_params["email"], _by(request)
            return _described(await accounts.run(do, state, email, accounts.clock(), by))

        return endpoint

    async def audit(request: Request) -> Any:
        asked = request.query_params

        def read() -> Any:
            with state.reading() as transaction:
                return Audit(transaction).latest(
                    min(_number(asked.get("limit", "100")), MAX_ENTRIES),
                    who=asked.get("user"),
                    actions=asked.getlist("action")[:20],
                    since=_moment(asked.get("since")),
                    before=_moment(asked.get("before")),
                )

        return await accounts.run(read)

    one = "/api/admin/users/{email}"
    return [
        _route("GET", "/api/admin/users", users, "admin"),
        _route("POST", "/api/admin/users", invite, "admin"),
        _route("PATCH", one, change, "admin"),
        _route("POST", f"{one}/reset", reset, "admin"),
        _route("POST", f"{one}/revoke", standing(administration.revoke), "admin"),
        _route("POST", f"{one}/restore", standing(administration.restore), "admin"),
        _route("GET", "/api/admin/audit", audit, "admin"),
    ]


def _route(method: str, path: str, endpoint: Endpoint, role: Role = "viewer") -> Route:
    """What the endpoint returns, as JSON; None is 404."""

    async def answered(request: Request) -> Response:
        user = current_user(request)
        if user.token is not None:
            return _json({"error": "accounts are for people in a browser, not for tokens"}, 403)
        try:
            if not user.may(role):
                raise Forbidden(role)
            found = await endpoint(request)
        except Forbidden as error:
            return _json({"error": f"this needs the role {error.role}", "role": error.role}, 403)
        except BadForm as error:
            return _json({"error": str(error)}, error.status)
        except TooMany as error:
            return _json({"error": "too many attempts"}, 429, {"retry-after": str(error.wait_s)})
        except Refused:
            return _json({"error": "that is not your password"}, 400)
        except CatchmentError as error:
            return _json({"error": error.message, "hint": error.hint}, 400 if isinstance(error, UsageError) else 503)
        return _json({"error": "there is none"}, 404) if found is None else _json(found)

    return Route(path, answered, methods=[method])


def _json(value: Any, status: int = 200, headers: Mapping[str, str] = {}) -> Response:
    body = msgspec.json.encode(value)
    return Response(body, status, {"cache-control": "no-store", **headers}, media_type="application/json")


def _described(account: Account) -> dict[str, Any]:
    """Without what concerns nobody: the password's hash."""
    return {
        "id": account.id,
        "email": account.email,
        "name": account.name,
        "role": account.role,
        "groups": account.groups,
        "has_password": account.password_hash is not None,
        "company": account.issuer is not None,
        "created_at": account.created_at,
        "signed_in_at": account.signed_in_at,
        "revoked_at": account.revoked_at,
    }


def _sent(request: Request, accounts: Accounts, sent: Sent) -> dict[str, Any]:
    visit = visit_of(request)
    scheme = "https" if visit.is_secure else "http"
    link = link_url(accounts.config, sent.secret, f"{scheme}://{visit.header(b'host')}")
    return {"link": link, "expires_at": sent.expires_at, "user": _described(sent.account)}


def _by(request: Request) -> By:
    user = current_user(request)
    return By(user.email, "session", client_of(request).address, user.id)


def _number(text: str) -> int:
    if not text.isdecimal() or len(text) > 9 or int(text) < 1:
        raise BadForm(400, "limit must be a whole number")
    return int(text)


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise BadForm(400, f"{text!r} is no time") from None
    if found.tzinfo is None:
        raise BadForm(400, "a time needs a zone, such as Z")
    return found
