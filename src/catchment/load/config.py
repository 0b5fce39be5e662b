"""The settings of loading: `[load]` and `[load.tables."schema.table"]` of the project file."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from catchment.record import TableName

Contract = Literal["evolve"]

_MINUTE = timedelta(minutes=1)


class TableLoadConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What one table does differently; what is left out is as in `[load]`."""

    contract: Annotated[Contract, Meta(description="What happens to a field that the table does not have.")] | None = (
        None
    )
    max_rejected_share: (
        Annotated[float, Meta(ge=0, le=1, description="Loading of the table halts when more than this is rejected.")]
        | None
    ) = None
    max_columns: (
        Annotated[int, Meta(ge=0, description="Fields beyond so many columns of the table are kept in `_rescued`.")]
        | None
    ) = None


class LoadConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How records go from the queue into the archive and the warehouse."""

    max_age_s: (
        Annotated[
            float,
            Meta(
                gt=0,
                le=3600,
                description="A round closes when its first record is this old, in seconds; while loading takes much of"
                " a core, up to 3 s later. Else 0.5 with the archive on disk, 60 with S3.",
            ),
        ]
        | None
    ) = None
    max_rows: Annotated[int, Meta(ge=1, description="A round closes at this many records.")] = 250_000
    max_bytes: Annotated[
        int, Meta(ge=1_000_000, description="A round closes at this size of messages as received: compressed.")
    ] = 64_000_000
    contract: Annotated[
        Contract,
        Meta(description="What happens to a field that the table does not have: `evolve` adds the column."),
    ] = "evolve"
    dedupe_window: Annotated[
        timedelta,
        Meta(
            description="How far back a copy of a record is looked for: a client's retry after that doubles it.",
            extra={"at_least": _MINUTE},
        ),
    ] = timedelta(days=7)
    max_rejected_share: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description="Loading of a table halts, until `catchment dead-letters resume`, when more than this"
            " share of its records is rejected.",
        ),
    ] = 0.5
    min_rejected: Annotated[
        int, Meta(ge=1, description="With fewer records of a table rejected than this, its loading goes on.")
    ] = 100
    rewrite_after: Annotated[
        timedelta,
        Meta(
            description="Files under `incoming/` become one per table and hour once they are this old.",
            extra={"at_least": _MINUTE},
        ),
    ] = timedelta(hours=1)
    loader_threads: Annotated[
        int, Meta(ge=1, le=64, description="How many tables load at the same time; each is pinned to a thread.")
    ] = 2
    max_tables: Annotated[
        int,
        Meta(
            ge=1,
            description="A schema with so many tables gets no more: records of further ones go to its `other_events`."
            " Tables named in `[load.tables]` are always made.",
        ),
    ] = 500
    max_new_tables_per_minute: Annotated[
        int,
        Meta(
            ge=1,
            description="New tables that a schema gets a minute on average, and five times as many at once; records of"
            " further ones wait in the archive.",
        ),
    ] = 20
    max_columns: Annotated[
        int, Meta(ge=0, description="Fields beyond so many columns of a table are kept in `_rescued`.")
    ] = 300
    tables: Annotated[
        dict[TableName, TableLoadConfig], Meta(description="Tables that differ, by name: `schema.table`.")
    ] = {}

    def for_table(self, table: str) -> LoadConfig:
        """The settings of one table: its own where it has some, else these."""
        own = self.tables.get(table)
        if own is None:
            return self
        differing = {name: value for name, value in msgspec.structs.asdict(own).items() if value is not None}
        return msgspec.structs.replace(self, **differing)
