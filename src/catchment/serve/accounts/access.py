"""The middleware around everything: nobody gets past it whom it does not know, but to the few open paths.

Pure ASGI, so that it covers websockets and mounted applications too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import quote

import msgspec

from catchment.errors import CatchmentError
from catchment.log import get_log
from catchment.serve.accounts.accounts import Accounts
from catchment.serve.accounts.cookies import session_secret
from catchment.serve.accounts.user import User
from catchment.serve.accounts.visit import Site, Visit
from catchment.serve.config import ServeConfig

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN_PATHS = frozenset({
    "/sign-in", "/sign-in/link", "/sign-in/company", "/sign-in/company/back", "/sign-out", "/healthz", "/favicon.ico",
})  # fmt: skip
OPEN_FOLDER = "/static/"
_log = get_log("serve")
_MAX_BACK_CHARACTERS = 1_500
_CLOSE_CODES = {401: 4401, 403: 4403, 503: 1013}


class Access:
    """Puts `user` (a `User`, or None on open paths), `client` and `visit` into the request's state, or refuses:
    programs hear 401 or 403 as JSON, people are sent to sign in, with the way back."""

    def __init__(self, app: Application, accounts: Accounts, config: ServeConfig) -> None:
        self._app = app
        self._accounts = accounts
        self._site = Site(config)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        visit = Visit.of(scope, self._site)
        # A program's token is no cookie: no browser sends it by itself, so nobody can make one send it.
        if visit.is_unsafe and visit.bearer is None and visit.is_from_elsewhere:
            await _refuse(visit, send, 403, "this request comes from another site")
            return
        try:
            user = await self._known(visit)
        except CatchmentError as error:
            _log.error("accounts cannot be read, so nobody is let in", exc=error)
            await _refuse(visit, send, 503, "accounts cannot be read at the moment; try again")
            return
        if user is None and not is_open(visit.path):
            await self._ask_to_sign_in(visit, send)
            return
        state = scope.setdefault("state", {})
        state["user"], state["client"], state["visit"] = user, visit.client, visit
        await self._app(scope, receive, send)

    async def _known(self, visit: Visit) -> User | None:
        if visit.bearer is not None:
            return await self._accounts.of_token(visit.bearer)
        secret = session_secret(visit, self._accounts.instance)
        return await self._accounts.of_session(secret) if secret else None

    async def _ask_to_sign_in(self, visit: Visit, send: Send) -> None:
        if not visit.wants_page:
            await _refuse(visit, send, 401, "sign in, or send a token: Authorization: Bearer catchment_…")
            return
        where = self._site.url("/sign-in")
        if len(visit.target) <= _MAX_BACK_CHARACTERS and visit.path not in {"", "/"}:
            where += f"?next={quote(visit.target, safe='/')}"
        await _answer(send, 303, [(b"location", where.encode("latin-1"))], b"")


def is_open(path: str) -> bool:
    """Whether a path is for everybody. What a server in front or a file system could read in two ways is not."""
    if path in OPEN_PATHS:
        return True
    return path.startswith(OPEN_FOLDER) and "\\" not in path and not {"", ".", ".."} & set(path.split("/")[1:])


async def _refuse(visit: Visit, send: Send, status: int, words: str) -> None:
    if visit.kind == "websocket":
        # Before it is accepted, servers answer a close with 403.
        await send({"type": "websocket.close", "code": _CLOSE_CODES[status]})
        return
    headers = [(b"content-type", b"application/json")]
    if status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="catchment"'))
    await _answer(send, status, headers, msgspec.json.encode({"error": words}))


async def _answer(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    headers += [(b"content-length", str(len(body)).encode()), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
