"""A browser, or a program, that asks an ASGI application without a network in between."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import quote, urlencode

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket

from catchment.serve.accounts import Forbidden, api, require
from catchment.serve.accounts import routes as account_routes
from catchment.serve.accounts.access import Access, Application
from catchment.serve.accounts.accounts import Accounts
from catchment.serve.accounts.passwords import Passwords
from catchment.serve.accounts.user import user_or_none
from catchment.serve.config import ServeConfig
from catchment.state import State

METHODS = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE"]
HOST = "data.acme.example"
PIECE_BYTES = 65_536


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 30, 9, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **span: float) -> None:
        self.now += timedelta(**span)


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key == name), "")

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Browser:
    """Keeps cookies, and says where its requests come from as browsers do."""

    app: Application
    scheme: str = "https"
    host: str = HOST
    address: str = "203.0.113.7"
    site: str | None = "same-origin"
    token: str = ""
    """Sent where there is one."""
    cookies: dict[str, str] = field(default_factory=dict)
    jar: dict[str, str] = field(default_factory=dict)
    """The whole lines by which cookies were set."""

    def ask(
        self,
        method: str,
        target: str,
        *,
        form: Mapping[str, str] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        raw: bytes | None = None,
    ) -> Answer:
        """One request, of a form, of JSON, or of raw bytes."""
        scope, data = self.request(method, target, form=form, body=body, headers=headers, raw=raw)
        return self.keep(asyncio.run(exchanged(self.app, scope, data)))

    def request(
        self,
        method: str,
        target: str,
        *,
        form: Mapping[str, str] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        raw: bytes | None = None,
    ) -> tuple[dict[str, Any], bytes]:
        """What is sent: the scope, and the body."""
        given = {"host": self.host, "accept": "text/html"}
        if self.site is not None:
            given["sec-fetch-site"] = self.site
        if self.token:
            given["authorization"] = f"Bearer {self.token}"
        data = raw or b""
        if form is not None:
            data, given["content-type"] = urlencode(form).encode(), "application/x-www-form-urlencoded"
        elif body is not None:
            data, given["content-type"] = json.dumps(body).encode(), "application/json"
        given |= headers or {}
        if self.cookies:
            given.setdefault("cookie", "; ".join(f"{name}={value}" for name, value in self.cookies.items()))
        return self._scope("http", target, given) | {"method": method}, data

    def keep(self, answer: Answer) -> Answer:
        """The answer, whose cookies are kept."""
        for name, line in answer.headers:
            if name == "set-cookie":
                self._keep(line)
        return answer

    def get(self, target: str, **headers: str) -> Answer:
        return self.ask("GET", target, headers={key.replace("_", "-"): value for key, value in headers.items()})

    def websocket(self, target: str, headers: Mapping[str, str]) -> list[str]:
        """The types of what the application sends."""
        given = {"host": self.host, **headers}
        if self.cookies:
            given["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        sent: list[str] = []

        async def send(message: MutableMapping[str, Any]) -> None:
            sent.append(message["type"])

        async def receive() -> MutableMapping[str, Any]:
            return {"type": "websocket.connect"}

        scheme = "wss" if self.scheme == "https" else "ws"
        asyncio.run(self.app(self._scope("websocket", target, given) | {"scheme": scheme}, receive, send))  # type: ignore[arg-type]
        return sent

    def _scope(self, kind: str, target: str, headers: Mapping[str, str]) -> dict[str, Any]:
        path, _, query = target.partition("?")
        return {
            "type": kind,
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "scheme": self.scheme,
            "path": path,
            "raw_path": quote(path).encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers.items()],
            "client": (self.address, 50_000),
            "server": (self.host, 443),
            "state": {},
        }

    def _keep(self, line: str) -> None:
        for name, morsel in SimpleCookie(line).items():
            self.jar[name] = line
            if morsel["max-age"] == "0":
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = morsel.value


async def exchanged(
    app: Application,
    scope: dict[str, Any],
    data: bytes,
    *,
    gone: asyncio.Event | None = None,
    began: asyncio.Event | None = None,
) -> Answer:
    """What an application answers. The connection is closed when `gone` is set; `began` is, with the first bytes."""
    pieces = [data[at : at + PIECE_BYTES] for at in range(0, len(data), PIECE_BYTES)] or [b""]
    answer, received = Answer(0, [], b""), list[bytes]()

    async def receive() -> MutableMapping[str, Any]:
        if pieces:
            return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}
        await (gone or asyncio.Event()).wait()
        return {"type": "http.disconnect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = [(name.decode(), value.decode("latin-1")) for name, value in message["headers"]]
            return
        received.append(message.get("body", b""))
        if began is not None:
            began.set()

    with suppress(ConnectionResetError):  # an answer that is cut off in its middle
        await app(scope, receive, send)
    answer.body = b"".join(received)
    return answer


def where(answer: Answer) -> str:
    """Where a redirect leads."""
    assert answer.status == 303, (answer.status, answer.body)
    return answer.header("location")


async def _page(request: Request) -> Response:
    user = user_or_none(request)
    return JSONResponse({"email": user.email if user else None, "path": request.url.path})


@require("analyst")
async def _editor(request: Request) -> Response:
    return Response("editor")


async def _forbidden(request: Request, error: Exception) -> Response:
    assert isinstance(error, Forbidden)
    return JSONResponse({"needs": error.role}, 403)


async def _socket(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.close()


async def _mounted(scope: Any, receive: Any, send: Any) -> None:
    await Response("mounted")(scope, receive, send)


def application(accounts: Accounts, config: ServeConfig) -> Application:
    """Pages of all kinds within the middleware."""
    routes = [
        *account_routes.of(accounts),
        *api.of(accounts),
        Route("/sql", _editor),
        Mount("/apps", app=_mounted),
        WebSocketRoute("/socket", _socket),
        Route("/{rest:path}", _page, methods=METHODS),
    ]
    inner: Any = Starlette(
        routes=[Mount(config.base_path, routes=routes)] if config.base_path else routes,
        exception_handlers={Forbidden: _forbidden},
    )
    return Access(inner, accounts, config)


class World:
    """A state, a clock that is set by hand unless another is given, and an application on them."""

    def __init__(
        self, state: State, config: ServeConfig | None = None, *, clock: Callable[[], datetime] | None = None
    ) -> None:
        self.state = state
        self.clock = Clock()
        self.config = config or ServeConfig(public_url=f"https://{HOST}")
        self.accounts = Accounts(
            state, self.config, passwords=Passwords(memory_kib=8, passes=1), clock=clock or self.clock
        )
        self.app = application(self.accounts, self.config)

    def browser(self, **how: Any) -> Browser:
        return Browser(self.app, **how)
