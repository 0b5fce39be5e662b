"""The settings of loading: `[load]` and `[load.tables."schema.table"]` of the project file."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from catchment.naming import identifier
from catchment.record import check_table_setting
from catchment.warehouses.shape import METADATA, ColumnType

Contract = Literal["evolve", "freeze", "reject"]

_MINUTE = timedelta(minutes=1)


EVERY_TABLE = ".*"
"""How the name of a schema's settings ends."""


def _check_tables(name: str) -> None:
    check_table_setting(f"{name.removesuffix(EVERY_TABLE)}.any" if name.endswith(EVERY_TABLE) else name)


def _check_column_name(name: str) -> None:
    if identifier(name) != name or name in METADATA:
        raise ValueError("must be a column's name in lower case", "such as order_total")


TablesName = Annotated[str, Meta(extra={"check": _check_tables})]


class ColumnConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What the project says of one field and its column."""

    type: (
        Annotated[
            ColumnType,
            Meta(
                description="The column's type, rather than what the first values want. A value of another type is"
                " kept in `_rescued`; a `varchar` takes any value, as its JSON text where it is none."
            ),
        ]
        | None
    ) = None
    not_null: Annotated[
        bool, Meta(description="A record without a value for it is a dead letter, whatever the contract.")
    ] = False
    rename: (
        Annotated[
            str,
            Meta(
                description="The column's name, for a column that is not there yet.",
                extra={"check": _check_column_name},
            ),
        ]
        | None
    ) = None
    description: Annotated[str, Meta(description="What it means, for people.")] = ""


class TableLoadConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What one table does differently; what is left out is as in `[load]`."""

    contract: Annotated[Contract, Meta(description="What happens to a field that the table does not have.")] | None = (
        None
    )
    columns: Annotated[
        dict[str, ColumnConfig],
        Meta(description="Columns by their fields' names in the records: they are made whatever the contract."),
    ] = {}
    drop: Annotated[
        list[Annotated[str, Meta(min_length=1)]],
        Meta(description="Fields that never reach the warehouse. The archive has them, as it was received."),
    ] = []
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
        Meta(
            description="What happens to a field that the table does not have, or to a value that its column does not"
            " take: `evolve` adds or widens the column, `freeze` keeps the value in `_rescued`, `reject` makes the"
            " record a dead letter."
        ),
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
        dict[TablesName, TableLoadConfig],
        Meta(description="Tables that differ, by name: `schema.table`, or `schema.*` for all of a schema."),
    ] = {}

    def says_of(self, table: str) -> list[TableLoadConfig]:
        """What is said of one table alone, the more general first: of its schema, of itself."""
        names = (table.partition(".")[0] + EVERY_TABLE, table)
        return [self.tables[name] for name in names if name in self.tables]

    def for_table(self, table: str) -> TableSettings:
        """The settings of one table: its own, else those of its schema, else these."""
        settings = TableSettings(self.contract, self.max_rejected_share, self.max_columns)
        for own in self.says_of(table):
            settings = settings.with_(own)
        return settings


@dataclass(frozen=True, slots=True)
class TableSettings:
    """What holds for one table."""

    contract: Contract
    max_rejected_share: float
    max_columns: int
    columns: dict[str, ColumnConfig] = field(default_factory=dict)
    drop: tuple[str, ...] = ()

    def with_(self, own: TableLoadConfig) -> TableSettings:
        """The same with what something more particular says; columns and dropped fields add up."""
        return TableSettings(
            self.contract if own.contract is None else own.contract,
            self.max_rejected_share if own.max_rejected_share is None else own.max_rejected_share,
            self.max_columns if own.max_columns is None else own.max_columns,
            {**self.columns, **own.columns},
            (*self.drop, *own.drop),
        )
