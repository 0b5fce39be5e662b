"""Every adapter in one line. Third parties add theirs by entry points of the groups `catchment.queues`,
`catchment.archives` and `catchment.warehouses`: the name is the `type` of a project file, the value the class.

An adapter is a class with an attribute `Config`, the `msgspec.Struct` of its settings, and a constructor
`(config, folder)`; `folder` is the project's runtime folder, where it may keep files in a folder named as its
kind; neither may exist yet. Constructing it touches nothing. It may offer `diagnose(config, folder)` to
`catchment doctor`, a class method or static method that returns a list of `catchment.finding.Finding`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import msgspec

from catchment.errors import UsageError


@dataclass(frozen=True, slots=True)
class Adapter:
    """Where an adapter is found: `target` is module:Class, `extra` what pip installs its driver by."""

    kind: str
    name: str
    target: str
    extra: str = ""

    def load(self) -> type[Any]:
        """Import the class. Raises `UsageError` if its driver is missing or it is no adapter."""
        module, _, attribute = self.target.partition(":")
        try:
            found = getattr(import_module(module), attribute)
        except ModuleNotFoundError as error:
            if not self.extra or (error.name or "").partition(".")[0] == "catchment":
                raise
            raise UsageError(
                f"the {self.kind} {self.name} needs the module {error.name}, which is not installed",
                f"pip install 'catchment[{self.extra}]'",
            ) from error
        return _checked(found, self)


ADAPTERS = (
    Adapter("queue", "sqlite", "catchment.queues.sqlite:SqliteQueue"),
    Adapter("archive", "disk", "catchment.archives.disk:DiskArchive"),
    Adapter("warehouse", "duckdb", "catchment.warehouses.duckdb:DuckDBWarehouse"),
)


def names(kind: str) -> list[str]:
    """The types that a section of this kind may have, third parties' included."""
    ours = [adapter.name for adapter in ADAPTERS if adapter.kind == kind]
    return ours + sorted({point.name for point in _entry_points(kind)} - set(ours))


@cache
def adapter_class(kind: str, name: str) -> type[Any]:
    """The adapter's class. Raises `UsageError` for an unknown name, a missing driver, or what is no adapter."""
    for adapter in _candidates(kind, name):
        return adapter.load()
    known = names(kind)
    nearest = get_close_matches(name, known, n=1)
    hint = f'type = "{nearest[0]}"' if nearest else "one of " + ", ".join(known)
    raise UsageError(f'there is no {kind} of type "{name}"', hint)


def _candidates(kind: str, name: str) -> Iterator[Adapter]:
    """Ours first: nobody takes the name of one of them."""
    yield from (adapter for adapter in ADAPTERS if (adapter.kind, adapter.name) == (kind, name))
    yield from (Adapter(kind, name, point.value) for point in _entry_points(kind) if point.name == name)


def _entry_points(kind: str) -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=f"catchment.{kind}s"))


def _checked(found: Any, adapter: Adapter) -> type[Any]:
    config = getattr(found, "Config", None)
    if isinstance(found, type) and isinstance(config, type) and issubclass(config, msgspec.Struct):
        return found
    raise UsageError(
        f"the {adapter.kind} {adapter.name} ({adapter.target}) is no adapter: it has no Config of settings",
        "a class attribute Config, a msgspec.Struct; see catchment.registry",
    )
