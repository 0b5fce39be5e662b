"""Every adapter in one line. Third parties add theirs by entry points of the groups `catchment.queues`,
`catchment.sources`, `catchment.archives`, `catchment.warehouses` and `catchment.states`: the name is the `type` of a
project file, the value the class.

An adapter is a class with a constructor `(config, folder)`, and `Config`, the `msgspec.Struct` of its settings: an
attribute of the class, or beside it in its module, or, where its driver is heavy, in a module of its own that is
named here: a project is then read without loading the driver. `folder` is the project's runtime folder, which may
not exist yet. A warehouse that one process owns and others ask through says `is_embedded = True`, and takes
`readable`, the folders whose files it may read. A queue on this machine's own disk says `is_embedded = True`, and has
no outbox in front. An adapter may offer `diagnose(config, folder)` to `catchment doctor`, a class or static method
that returns a list of `catchment.finding.Finding`, and must where constructing it disturbs one that runs. A source
takes `name`, that of its listener, in its constructor and in `diagnose`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

import msgspec

from catchment.errors import UsageError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


@dataclass(frozen=True, slots=True)
class Adapter:
    """Where an adapter is found: `target` is module:Class, `extra` what pip installs its driver by, `settings`
    module:Struct where these lie apart."""

    kind: str
    name: str
    target: str
    extra: str = ""
    settings: str = ""

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
        config_type(found)
        return cast(type[Any], found)

    def load_settings(self) -> type[msgspec.Struct]:
        """The type of its settings. Raises `UsageError` as `load` does."""
        if not self.settings:
            return config_type(self.load())
        module, _, attribute = self.settings.partition(":")
        return cast(type[msgspec.Struct], getattr(import_module(module), attribute))


ADAPTERS = (
    Adapter("queue", "sqlite", "catchment.queues.sqlite:SqliteQueue"),
    Adapter(
        "queue",
        "rabbitmq",
        "catchment.queues.rabbitmq:RabbitMQQueue",
        extra="rabbitmq",
        settings="catchment.queues.rabbitmq_config:RabbitMQConfig",
    ),
    Adapter(
        "queue",
        "kafka",
        "catchment.queues.kafka:KafkaQueue",
        extra="kafka",
        settings="catchment.queues.kafka_config:KafkaConfig",
    ),
    Adapter(
        "queue",
        "sqs",
        "catchment.queues.sqs:SqsQueue",
        extra="sqs",
        settings="catchment.queues.sqs_config:SqsConfig",
    ),
    Adapter(
        "source",
        "rabbitmq",
        "catchment.sources.rabbitmq:RabbitMQTap",
        extra="rabbitmq",
        settings="catchment.sources.rabbitmq_config:RabbitMQTapConfig",
    ),
    Adapter(
        "source",
        "kafka",
        "catchment.sources.kafka:KafkaTap",
        extra="kafka",
        settings="catchment.sources.kafka_config:KafkaTapConfig",
    ),
    Adapter(
        "source",
        "sqs",
        "catchment.sources.sqs:SqsTap",
        extra="sqs",
        settings="catchment.sources.sqs_config:SqsTapConfig",
    ),
    Adapter("archive", "disk", "catchment.archives.disk:DiskArchive"),
    Adapter(
        "archive",
        "s3",
        "catchment.archives.s3:S3Archive",
        extra="s3",
        settings="catchment.archives.s3_config:S3Config",
    ),
    Adapter(
        "warehouse",
        "duckdb",
        "catchment.warehouses.duckdb:DuckDBWarehouse",
        settings="catchment.warehouses.duckdb_config:DuckDBConfig",
    ),
    Adapter(
        "warehouse",
        "postgres",
        "catchment.warehouses.postgres:PostgresWarehouse",
        extra="postgres",
        settings="catchment.warehouses.postgres_config:PostgresConfig",
    ),
    Adapter("state", "sqlite", "catchment.state.sqlite:SqliteState"),
    Adapter(
        "state",
        "postgres",
        "catchment.state.postgres:PostgresState",
        extra="postgres",
        settings="catchment.state.postgres_config:PostgresStateConfig",
    ),
)


def names(kind: str) -> list[str]:
    """The types that a section of this kind may have, third parties' included."""
    ours = [adapter.name for adapter in ADAPTERS if adapter.kind == kind]
    return ours + sorted({point.name for point in _entry_points(kind)} - set(ours))


@cache
def adapter_class(kind: str, name: str) -> type[Any]:
    """The adapter's class. Raises `UsageError` for an unknown name, a missing driver, or what is no adapter."""
    return _find(kind, name).load()


def settings_type(kind: str, name: str) -> type[msgspec.Struct]:
    """The type of an adapter's settings, without loading its driver where that is heavy. Raises as `adapter_class`."""
    return _find(kind, name).load_settings()


def _find(kind: str, name: str) -> Adapter:
    for adapter in _candidates(kind, name):
        return adapter
    known = names(kind)
    nearest = get_close_matches(name, known, n=1)
    hint = f'type = "{nearest[0]}"' if nearest else "one of " + ", ".join(known)
    raise UsageError(f'there is no {kind} of type "{name}"', hint)


def _candidates(kind: str, name: str) -> Iterator[Adapter]:
    """Ours first: nobody takes the name of one of them."""
    yield from (adapter for adapter in ADAPTERS if (adapter.kind, adapter.name) == (kind, name))
    yield from (Adapter(kind, name, point.value) for point in _entry_points(kind) if point.name == name)


def _entry_points(kind: str) -> tuple[EntryPoint, ...]:
    from importlib.metadata import entry_points  # 3 MB, which a project of our own adapters never needs

    return tuple(entry_points(group=f"catchment.{kind}s"))


def config_type(adapter: type[Any]) -> type[msgspec.Struct]:
    """The struct of an adapter's settings. Raises `UsageError` if it has none."""
    beside = getattr(sys.modules[adapter.__module__], "Config", None)
    config = getattr(adapter, "Config", beside)
    if isinstance(config, type) and issubclass(config, msgspec.Struct):
        return config
    raise UsageError(
        f"{adapter.__module__}:{adapter.__qualname__} is no adapter: it has no Config of settings",
        "Config, a msgspec.Struct, in the class or beside it; see catchment.registry",
    )
