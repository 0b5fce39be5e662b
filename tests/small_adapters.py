"""Small adapters without a driver behind them, in place of Catchment's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar

import msgspec
import pytest
from msgspec import Meta

from catchment import registry, secret


class SmallQueue:
    """A queue for tests of what surrounds one."""

    class Config(msgspec.Struct, frozen=True, kw_only=True):
        """Its settings."""

        max_bytes: Annotated[int, Meta(ge=1_000_000, description="How much may wait.")] = 10 * 2**30
        url: Annotated[str, Meta(description="Where it is.")] = "here"
        hosts: Annotated[list[str], Meta(description="Several places.")] = []

    is_embedded = True

    def __init__(self, config: Config, folder: Path) -> None:
        self.config = config
        self.folder = folder


class SmallStore:
    """An archive or a warehouse for tests of what surrounds one."""

    class Config(msgspec.Struct, frozen=True, kw_only=True):
        """Its settings."""

        path: Annotated[str, Meta(description="Where its files lie; empty: in the project.")] = ""

    def __init__(self, config: Config, folder: Path) -> None:
        self.config = config
        self.folder = folder


class SmallState:
    """A state for tests of what surrounds one."""

    class Config(msgspec.Struct, frozen=True, kw_only=True):
        """It has no settings."""

    def __init__(self, config: Config, folder: Path) -> None:
        self.folder = folder


class SmallSource:
    """A source for tests of what surrounds one."""

    class Config(msgspec.Struct, frozen=True, kw_only=True):
        """Its settings."""

        ABOUT: ClassVar[tuple[str, ...]] = ("topic", "timestamp")

        place: Annotated[str, Meta(description="Where it is.")] = "there"

    def __init__(self, config: Config, folder: Path, name: str) -> None:
        self.config = config


class NeedsUrl:
    """A warehouse that cannot do without a setting."""

    class Config(msgspec.Struct, frozen=True, kw_only=True):
        """Its settings."""

        url: Annotated[str, Meta(description="The address, such as postgres://host/database.")]
        threads: Annotated[int, Meta(ge=1, description="How many.")] = 1

    def __init__(self, config: Config, folder: Path) -> None:
        self.config = config
        self.folder = folder


class NoAdapter:
    """A class that forgot its Config."""


@pytest.fixture
def small_adapters(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Registers the adapters above instead of Catchment's own."""
    own = (
        registry.Adapter("queue", "sqlite", "tests.small_adapters:SmallQueue"),
        registry.Adapter("source", "small", "tests.small_adapters:SmallSource"),
        registry.Adapter("archive", "disk", "tests.small_adapters:SmallStore"),
        registry.Adapter("warehouse", "duckdb", "tests.small_adapters:SmallStore"),
        registry.Adapter("warehouse", "needy", "tests.small_adapters:NeedsUrl"),
        registry.Adapter("state", "sqlite", "tests.small_adapters:SmallState"),
    )
    monkeypatch.setattr(registry, "ADAPTERS", own)
    registry.adapter_class.cache_clear()
    yield own
    registry.adapter_class.cache_clear()


@pytest.fixture(autouse=True)
def no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has secrets of its own."""
    monkeypatch.setattr(secret, "_forms", set())
    monkeypatch.setattr(secret, "_pattern", None)
