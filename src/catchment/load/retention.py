"""How long things are kept: `[retention]` and `[retention.tables."schema.table"]` of the project file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated

import msgspec
from msgspec import Meta

from catchment.load.config import EVERY_TABLE, TablesName
from catchment.load.others import others_of
from catchment.record import CORRECTIONS, DEAD_LETTERS, OWN_SCHEMA, earlier

FOREVER = timedelta.max
"""Written "forever"."""
_DAY = timedelta(days=1)
_KEPT = {"forever": True, "at_least": _DAY}
_NOTHING_BEFORE = datetime.min.replace(tzinfo=UTC)


class TableRetentionConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What one table keeps for longer or shorter; what is left out is as in `[retention]`."""

    archive: Annotated[timedelta, Meta(description="As `archive` above.", extra=_KEPT)] | None = None
    rows: (
        Annotated[
            timedelta,
            Meta(description="As `rows` above. Rows of a mirrored table go only where it is named here.", extra=_KEPT),
        ]
        | None
    ) = None
    dead_letters: Annotated[timedelta, Meta(description="As `dead_letters` above.", extra=_KEPT)] | None = None
    ledger: Annotated[timedelta, Meta(description="As `ledger` above.", extra=_KEPT)] | None = None


class RetentionConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How long things are kept, by the time they were received; what is older is removed, about hourly."""

    archive: Annotated[
        timedelta,
        Meta(
            description="Archive files of hours that ended longer ago are removed, once their rows are. Of a mirrored"
            " table the newest version of each key stays.",
            extra=_KEPT,
        ),
    ] = FOREVER
    rows: Annotated[
        timedelta,
        Meta(
            description="Rows received longer ago are removed from the warehouse; of mirrored tables none are.",
            extra=_KEPT,
        ),
    ] = FOREVER
    dead_letters: Annotated[
        timedelta,
        Meta(
            description="Dead letters received longer ago are removed, settled or not; in no case are they kept longer"
            " than `rows` and `archive` say.",
            extra=_KEPT,
        ),
    ] = FOREVER
    ledger: Annotated[
        timedelta,
        Meta(
            description="The ledger's entries of files that retention has removed stay so long after that. Those of"
            " files that the archive has always stay.",
            extra=_KEPT,
        ),
    ] = timedelta(days=7)
    tables: Annotated[
        dict[TablesName, TableRetentionConfig],
        Meta(description="Tables that differ, by name: `schema.table`, or `schema.*` for all of a schema."),
    ] = {}

    def says_of(self, table: str) -> list[TableRetentionConfig]:
        """What is said of one table alone, the more general first: of its schema, of itself."""
        names = (table.partition(".")[0] + EVERY_TABLE, table)
        return [self.tables[name] for name in dict.fromkeys(names) if name in self.tables]

    def for_table(self, table: str) -> Kept:
        """What holds for one table: what is said of it, else of its schema, else of all."""
        kept = Kept(self.archive, self.rows, self.dead_letters, self.ledger)
        for own in self.says_of(table):
            kept = kept.with_(own)
        return kept

    def contradictions(self, dedupe_window: timedelta) -> Iterator[tuple[tuple[str, ...], str, str]]:
        """What cannot hold together: where, what is wrong, and how to mend it."""
        for name in self.tables:
            if name.partition(".")[0] == OWN_SCHEMA:
                wrong = "Catchment's own tables are kept as long as any other needs them"
                yield ("retention", "tables", name), wrong, "leave it out"
        for where, own, kept in self._scopes():
            for name in ("rows", "archive"):
                value = getattr(own, name)
                if value is not None and value < dedupe_window:
                    wrong = "must not be shorter than `load.dedupe_window`"
                    yield (*where, name), f"{wrong}: else a client's retry is a row once more", ""
            if kept.archive < kept.rows != FOREVER:
                archive, rows = _days(kept.archive), _days(kept.rows)
                wrong = f"the archive is kept {archive}, and rows {rows}: a restore would lose some"
                yield (*where, "archive"), wrong, f'rows = "{archive}", or "forever" for mirrored tables'

    def _scopes(self) -> Iterator[tuple[tuple[str, ...], RetentionConfig | TableRetentionConfig, Kept]]:
        yield ("retention",), self, Kept(self.archive, self.rows, self.dead_letters, self.ledger)
        for name, own in self.tables.items():
            yield ("retention", "tables", name), own, self.for_table(name)

    @property
    def kept(self) -> list[Kept]:
        """What is said anywhere."""
        return [kept for _, _, kept in self._scopes()]


@dataclass(frozen=True, slots=True)
class Kept:
    """How long what one table has is kept, as it is written."""

    archive: timedelta
    rows: timedelta
    dead_letters: timedelta
    ledger: timedelta

    def with_(self, own: TableRetentionConfig) -> Kept:
        """The same with what something more particular says."""
        return Kept(
            self.archive if own.archive is None else own.archive,
            self.rows if own.rows is None else own.rows,
            self.dead_letters if own.dead_letters is None else own.dead_letters,
            self.ledger if own.ledger is None else own.ledger,
        )

    @property
    def letters(self) -> timedelta:
        """How long dead letters are kept: a retried one would be a row too old, and a restore would not find it."""
        return min(self.dead_letters, self.rows, self.archive)


@dataclass(frozen=True, slots=True)
class Retention:
    """Where what is kept begins. Whatever a setting may say, the archive is not shorter than what comes from it."""

    config: RetentionConfig

    @property
    def keeps_everything(self) -> bool:
        """Whether nothing is ever removed."""
        return all(kept.archive == kept.rows == kept.dead_letters == FOREVER for kept in self.config.kept)

    def rows_from(self, table: str, now: datetime, *, is_keyed: bool) -> datetime:
        """Rows received before that are removed, and loaded no more."""
        return _before(now, self._rows(table, is_keyed=is_keyed))

    def letters_from(self, table: str, now: datetime) -> datetime:
        """The same of the dead letters of a table; of what could not be told to be of any, the table is empty."""
        return _before(now, self.config.for_table(table).letters)

    def latest_letters_from(self, now: datetime) -> datetime:
        """No table's dead letters that were received since then are removed."""
        return _before(now, min(kept.letters for kept in self.config.kept))

    def archive_from(self, table: str, now: datetime, *, is_keyed: bool) -> datetime:
        """Archive files of hours that ended before that are removed."""
        if table == CORRECTIONS:
            return _NOTHING_BEFORE
        if table == DEAD_LETTERS:
            return _before(now, max(kept.archive for kept in self.config.kept))
        kept = self.config.for_table(table)
        if is_keyed:
            return _before(now, kept.archive)
        others = others_of(table.partition(".")[0])  # where its rows are if there was no room for it
        rows = [self._rows(each, is_keyed=False) for each in (table, others)]
        return _before(now, max(kept.archive, *rows))

    def ledger_until(self, table: str, now: datetime) -> datetime:
        """Entries of files that retention removed before that are forgotten."""
        return _before(now, self.config.for_table(table).ledger)

    def _rows(self, table: str, *, is_keyed: bool) -> timedelta:
        if table == CORRECTIONS:
            return FOREVER
        if table == DEAD_LETTERS:
            return max(kept.letters for kept in self.config.kept)
        if is_keyed:  # what its source still has must not vanish unasked
            own = self.config.tables.get(table)
            return FOREVER if own is None or own.rows is None else own.rows
        return self.config.for_table(table).rows


def _before(now: datetime, kept: timedelta) -> datetime:
    return earlier(now, kept)


def _days(kept: timedelta) -> str:
    return "forever" if kept == FOREVER else f"{kept / _DAY:g} days"
