"""The real pages on a real warehouse and a real state, asked in-process by people of each role."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import pytest
from starlette.types import ASGIApp

from catchment.serve.accounts import Role, administration
from catchment.serve.accounts.administration import COMMAND
from catchment.serve.config import ServeConfig
from catchment.serve.tiles import recent
from catchment.serve.web import app as serve_app
from catchment.serve.web.app import Parts, application
from catchment.serve.web.site import Site
from catchment.state.audit import Audit
from catchment.state.sqlite import SqliteState
from catchment.warehouses import Warehouse
from tests.accounts.asking import HOST, Answer, Browser, exchanged
from tests.load.loading import Rig
from tests.serve.uploads.through import filing_of

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
    """A browser on that loop."""

    loop: Loop | None = None

    def ask(self, method: str, target: str, **what: Any) -> Answer:
        """One request; see `Browser.request` for what is sent."""
        assert self.loop is not None
        return self.keep(self.loop.run(self.asked(method, target, **what)))

    async def asked(
        self,
        method: str,
        target: str,
        *,
        gone: asyncio.Event | None = None,
        began: asyncio.Event | None = None,
        **what: Any,
    ) -> Answer:
        """The same within the loop; the connection is closed when `gone` is set."""
        scope, data = self.request(method, target, **what)
        return await exchanged(self.app, scope, data, gone=gone, began=began)


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

    def did(self, *actions: str) -> list[tuple[str, str, str, str, int | None]]:
        """What is written down of these actions: what, how it ended, who, on what, how many rows."""
        with self.state.reading() as transaction:
            found = Audit(transaction).latest(100, actions=actions)
        return [(each.action, each.outcome, each.who, each.about, each.rows) for each in reversed(found)]

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

    runtime = root / ".catchment"
    filing = filing_of(rig, runtime)
    parts = Parts("acme", ZoneInfo(zone), settings, root, runtime, state, open_warehouse, dialect, filing)
    made = application(parts)
    with pytest.MonkeyPatch.context() as patch:
        wrapped = serve_app.wrapped

        def noted(site: Site) -> ASGIApp:
            world.site = site
            return wrapped(site)

        patch.setattr(serve_app, "wrapped", noted)
        world.app = loop.run(made.__aenter__())
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(recent, "FOR_S", 0.0)  # what a test changes shows at once
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
