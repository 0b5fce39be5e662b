"""The real pages on a real warehouse and a real state, asked in-process by people of each role."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Coroutine, Iterator, Mapping, MutableMapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote
from zoneinfo import ZoneInfo

import pytest
from starlette.types import ASGIApp

from catchment.serve.accounts import Role, administration
from catchment.serve.accounts.administration import COMMAND
from catchment.serve.config import ServeConfig
from catchment.serve.web import app as serve_app
from catchment.serve.web.app import Parts, application
from catchment.serve.web.site import Site
from catchment.state.sqlite import SqliteState
from catchment.warehouses import Warehouse
from tests.accounts.asking import HOST, Answer, Browser
from tests.load.loading import Rig

PASSWORD = "four words of a kind"
T = TypeVar("T")


class Loop:
    """An event loop in a thread of its own, as a server has one."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


@dataclass
class Person(Browser):
    """A browser on that loop. `token` is sent where there is one."""

    loop: Loop | None = None
    token: str = ""

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
        assert self.loop is not None
        answer = self.loop.run(self.asked(method, target, form=form, body=body, headers=headers, raw=raw))
        for name, line in answer.headers:
            if name == "set-cookie":
                self._keep(line)
        return answer

    async def asked(
        self,
        method: str,
        target: str,
        *,
        form: Mapping[str, str] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        raw: bytes | None = None,
        gone: asyncio.Event | None = None,
        began: asyncio.Event | None = None,
    ) -> Answer:
        """One request; the connection is closed when `gone` is set."""
        given = {"host": self.host, "accept": "text/html"}
        if self.site is not None:
            given["sec-fetch-site"] = self.site
        data = raw or b""
        if form is not None:
            data = "&".join(f"{key}={quote(value)}" for key, value in form.items()).encode()
            given["content-type"] = "application/x-www-form-urlencoded"
        elif body is not None:
            data, given["content-type"] = json.dumps(body).encode(), "application/json"
        if self.token:
            given["authorization"] = f"Bearer {self.token}"
        given |= headers or {}
        if self.cookies:
            given["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        pieces = [data[at : at + 65_536] for at in range(0, len(data), 65_536)] or [b""]
        answer = Answer(0, [], b"")
        gone = gone or asyncio.Event()
        body_pieces: list[bytes] = []

        async def receive() -> MutableMapping[str, Any]:
            if pieces:
                return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                answer.headers = [(name.decode(), value.decode("latin-1")) for name, value in message["headers"]]
            else:
                body_pieces.append(message.get("body", b""))
                if began is not None:
                    began.set()

        path, _, query = target.partition("?")
        scope = self._scope("http", path, given) | {
            "method": method,
            "query_string": query.encode(),
            "path": path,
            "raw_path": quote(path).encode(),
        }
        with suppress(ConnectionResetError):
            await self.app(scope, receive, send)
        answer.body = b"".join(body_pieces)
        return answer


@dataclass
class World:
    """The application, its folder, and what lies behind it."""

    root: Path
    rig: Rig
    state: SqliteState
    config: ServeConfig
    loop: Loop
    app: Any = None
    site: Any = None
    is_down: bool = False
    people: dict[str, Person] = field(default_factory=dict)

    def board(self, name: str, text: str) -> None:
        path = self.root / "dashboards" / f"{name}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def person(self, role: Role | None, groups: tuple[str, ...] = ()) -> Person:
        """Somebody of that role who has signed in; of none, nobody."""
        key = f"{role}.{'.'.join(groups)}"
        if key in self.people:
            return self.people[key]
        person = Person(self.app, loop=self.loop)
        if role is not None:
            from catchment.record import now

            email = f"{role}-{'-'.join(groups) or 'none'}@acme.example"
            sent = administration.invite(self.state, email, now(), COMMAND, role=role, groups=groups)
            answer = person.ask("POST", "/sign-in/link", form={"token": sent.secret, "password": PASSWORD})
            assert answer.status == 303, answer.body
        self.people[key] = person
        return person

    def program(self, role: Role) -> Person:
        """A program with a token of somebody of that role."""
        made = self.person(role).ask("POST", "/api/account/tokens", body={"name": "script", "role": role, "days": 1})
        return Person(self.app, loop=self.loop, token=made.json["secret"], site=None)

    def audit(self) -> list[dict[str, Any]]:
        """All that is written down of queries."""
        with self.state.reading() as transaction:
            rows = transaction.rows(
                "SELECT sql, outcome, about, who FROM audit WHERE action = 'query' ORDER BY id", ()
            )
        return [dict(zip(("sql", "outcome", "about", "who"), row, strict=True)) for row in rows]


@contextmanager
def serving(
    root: Path, zone: str = "UTC", warehouse: Any = None, dialect: str = "duckdb", **config: Any
) -> Iterator[World]:
    """The pages of a project in a folder, on DuckDB unless another warehouse is given, with its dialect."""
    rig = Rig(root, warehouse=warehouse)
    state = SqliteState(SqliteState.Config(), root / ".catchment")
    settings = ServeConfig(public_url=f"https://{HOST}", **config)
    loop = Loop()
    world = World(root, rig, state, settings, loop)

    def open_warehouse() -> Warehouse:
        from catchment.errors import WarehouseDown

        if world.is_down:
            raise WarehouseDown("the warehouse is not running")
        return Unclosed(world)

    parts = Parts("acme", ZoneInfo(zone), settings, root, root / ".catchment", state, open_warehouse, dialect)
    made = application(parts)
    with pytest.MonkeyPatch.context() as patch:
        wrapped = serve_app.wrapped

        def noted(site: Site) -> ASGIApp:
            world.site = site
            return wrapped(site)

        patch.setattr(serve_app, "wrapped", noted)
        world.app = loop.run(made.__aenter__())
    try:
        yield world
    finally:
        loop.run(made.__aexit__(None, None, None))
        loop.close()
        rig.close()
        state.close()


class Unclosed:
    """The rig's warehouse, which the pages do not close; gone where the world says so."""

    def __init__(self, world: World) -> None:
        self._world = world

    def __getattr__(self, name: str) -> Any:
        from catchment.errors import WarehouseDown

        if self._world.is_down:
            raise WarehouseDown("the warehouse is not running")
        return getattr(self._world.rig.warehouse, name)

    def close(self) -> None:
        """It is the rig's."""


def scripts(answer: Answer) -> list[dict[str, Any]]:
    """All that a page says to its script."""
    found = re.findall(rb'<script type="application/json" class="payload">(.*?)</script>', answer.body, re.DOTALL)
    return [json.loads(each) for each in found]


def payloads(answer: Answer) -> dict[str, Any]:
    """The tiles in a page by their ids."""
    return {each["id"]: each for each in scripts(answer) if "id" in each}


def lines(answer: Answer) -> list[Any]:
    """A body of lines of JSON."""
    return [json.loads(line) for line in answer.body.splitlines()]
