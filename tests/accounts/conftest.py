"""A world for each test: a state of its own, a clock set by hand, an application behind the middleware."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from catchment.serve.accounts import Role, administration
from catchment.serve.accounts.administration import COMMAND
from catchment.serve.config import ServeConfig
from catchment.state.sqlite import SqliteState
from tests.accounts.asking import Browser, World

PASSWORD = "four words of a kind"
EMAIL = "ana@acme.example"


@pytest.fixture
def make_world(tmp_path: Path) -> Iterator[Callable[..., World]]:
    state = SqliteState(SqliteState.Config(), tmp_path / ".catchment")
    worlds: list[World] = []

    def make(config: ServeConfig | None = None) -> World:
        worlds.append(World(state, config))
        return worlds[-1]

    yield make
    for world in worlds:
        world.accounts.close()
    state.close()


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    return make_world()


@pytest.fixture
def ana(world: World) -> Browser:
    """An admin who has signed in."""
    return signed_in(world)


def signed_in(world: World, email: str = EMAIL, role: Role = "admin", groups: tuple[str, ...] = ()) -> Browser:
    """A browser in which a new user has signed in by the link of an invitation."""
    sent = administration.invite(world.state, email, world.clock(), COMMAND, role=role, groups=groups)
    browser = world.browser()
    answer = browser.ask(
        "POST", f"{world.config.base_path}/sign-in/link", form={"token": sent.secret, "password": PASSWORD}
    )
    assert answer.status == 303, answer.body
    return browser
