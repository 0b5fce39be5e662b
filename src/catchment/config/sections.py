"""The sections of a project file, and those that do not exist yet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated
from zoneinfo import available_timezones

import msgspec
from msgspec import Meta

from catchment.collect.config import CollectConfig
from catchment.config.mistakes import did_you_mean
from catchment.listen.config import ListenConfig
from catchment.load.config import LoadConfig
from catchment.load.retention import RetentionConfig
from catchment.queues.outbox_config import OutboxConfig
from catchment.serve.config import ServeConfig

MAX_PROJECT_NAME = 100


def _check_timezone(name: str) -> None:
    if name == "UTC":
        return
    known = available_timezones()
    if not known:
        raise ValueError('must be "UTC" on a machine without time zone data', "pip install tzdata")
    if name not in known:
        raise ValueError("must be a time zone's name", did_you_mean(name, known) or 'such as "America/Los_Angeles"')


class ProjectConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The project as a whole."""

    name: Annotated[
        str, Meta(max_length=MAX_PROJECT_NAME, description="What the project is called; empty: as its folder is.")
    ] = ""
    timezone: Annotated[
        str,
        Meta(
            description='For schedules and dashboards, such as "America/Los_Angeles"; data is kept in UTC.',
            extra={"check": _check_timezone},
        ),
    ] = "UTC"


class MetricsConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The private port on which each service answers /healthz, /readyz and /metrics."""

    host: Annotated[str, Meta(min_length=1, description="The address to listen on; keep it from the public.")] = (
        "127.0.0.1"
    )
    ports: Annotated[
        dict[str, Annotated[int, Meta(ge=0, le=65535)]],
        Meta(description="A fixed port by name of service, such as `load = 9101`; a free one where none is given."),
    ] = {}

    def port(self, service: str) -> int:
        """The port of a service; 0 for any that is free."""
        return self.ports.get(service, 0)


SECTIONS: Mapping[str, type[msgspec.Struct]] = {
    "project": ProjectConfig,
    "outbox": OutboxConfig,
    "load": LoadConfig,
    "retention": RetentionConfig,
    "collect": CollectConfig,
    "serve": ServeConfig,
    "metrics": MetricsConfig,
}
"""Sections whose settings are always the same."""

ADAPTER_SECTIONS: Mapping[str, tuple[str, str]] = {
    "queue": ("sqlite", "Where messages wait durably until they are loaded."),
    "archive": ("disk", "Where everything ever loaded is kept as it was received."),
    "warehouse": ("duckdb", "Where tables live and are asked in SQL."),
    "state": (
        "sqlite",
        "Where accounts, drafts and the audit are kept: `sqlite` in the project, `postgres` for several machines.",
    ),
}
"""Sections with a `type`, whose other settings are that adapter's own: the default type, and what it is for."""

NAMED_SECTIONS: Mapping[str, tuple[str, type[msgspec.Struct], str]] = {
    "listen": ("source", ListenConfig, "An exchange, a topic or a queue of the company that is tapped."),
}
"""Sections of which there are several, each with a name, a `type`, and settings that all types have: the adapters'
kind, these settings, and what it is for."""

FORWARD = "forward"
"""Within a listener: a queue's settings, with those of `ForwardConfig`."""

SECTION_ORDER = (
    "project", "queue", "outbox", "archive", "warehouse", "state", "load", "retention", "collect", "listen", "serve",
    "metrics",
)  # fmt: skip

NOT_YET: Mapping[str, tuple[str, ...]] = {
    "extract": (),
    "schedule": (),
    "monitor": (),
    "notify": (),
    "tasks": (),
    "warehouse.type": ("redshift",),
}
"""What is designed and not built: a whole section, or these values of a setting."""
