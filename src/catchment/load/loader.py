"""The second step: archived parts into the warehouse, each batch once.

For each table: take the rows as they lie if the guard saw that they fit, else prepare them; hand all tables to
the warehouse in one call; answer what it says. Nothing is kept here: what is left undone is the difference
between archive and ledger, and the sweep's to find.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec

from catchment import metrics
from catchment.archives import Archive
from catchment.errors import CannotWiden, CatchmentError, Malformed, Retry, SchemaChanged, WarehouseDown
from catchment.load.changes import Changes, Tell, say
from catchment.load.config import LoadConfig
from catchment.load.contracts import Contracts
from catchment.load.files import Incoming, parse
from catchment.load.fitting import Fits
from catchment.load.guard import Memory, Sight, distinct, ids_of, look, trusted
from catchment.load.halts import Halts
from catchment.load.limits import Limits, Place
from catchment.load.others import others_of, prepare_others
from catchment.load.part_lines import entry_of, is_keyed, lines_of
from catchment.load.prepare import Prepared, prepare
from catchment.load.retention import Retention, RetentionConfig
from catchment.load.round import Held, Part
from catchment.load.stamped import Origin
from catchment.load.too_old import with_old_deleted, without_old
from catchment.load.views import Views
from catchment.log import get_log
from catchment.warehouses import Batch, DeadLetter, LatestView, Loaded, Rows, Warehouse
from catchment.warehouses.shape import Shape

_log = get_log("load")

FEW_ROWS = 64
"""Up to here rows are loaded as parameters, past DuckDB's JSON reader, and so looked at one by one."""
PLANNED_ROWS = 1_000
"""So many rows, from all packs of its first batch, tell a new table's columns."""
_ATTEMPTS = 20
_FIRST_DAY = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What other parts of the project want of the tables that the loader fills."""

    tables: frozenset[str] = frozenset()
    """Made whatever the limits."""
    views: tuple[LatestView, ...] = ()


@dataclass(frozen=True, slots=True)
class _Share:
    """What goes into one table in one load: parts of its own, or of tables that their schema has no room for."""

    table: str
    parts: Sequence[Part]
    is_others: bool = False


@dataclass(frozen=True, slots=True)
class Loader:
    """Loads parts. Calls may come from several threads; the warehouse's locks keep tables apart."""

    warehouse: Warehouse
    archive: Archive
    memory: Memory
    halts: Halts
    limits: Limits
    views: Views
    contracts: Contracts
    changes: Changes
    retention: Retention
    window: timedelta
    """The dedupe window; batches received longer ago are searched a window further back, since `early` does not
    keep what it knows forever."""

    @classmethod
    def of(
        cls,
        warehouse: Warehouse,
        archive: Archive,
        config: LoadConfig,
        wanted: Wanted | None = None,
        retention: RetentionConfig | None = None,
        *,
        paced: bool = True,
        lets_out: bool = False,
        tell: Tell = say,
    ) -> Loader:
        """One with these settings. `paced` and `lets_out` are of `Limits`; `tell` hears how tables change."""
        wanted = wanted or Wanted()
        return cls(
            warehouse,
            archive,
            Memory(),
            Halts(warehouse, config),
            Limits(warehouse, config, wanted.tables, paced, lets_out),
            Views(warehouse, wanted.views),
            Contracts(config),
            Changes(warehouse, tell),
            Retention(retention or RetentionConfig()),
            config.dedupe_window,
        )

    def look(self, table: str, plain: bytes) -> Sight | None:
        """The guard, for one pack; not for one so small that its rows may be looked at one by one: a new type for
        it, as each change of a table's columns needs one, costs far more. With no word from the warehouse nothing
        fits, so that archiving goes on."""
        if _are_few(plain) or (shape := self._shape(table)) is None:
            return None
        return look(plain, shape, self.memory.of(table), self.contracts.of(table))

    def fits_of(self, table: str) -> Fits | None:
        """How records are decoded, as others send them, that may be loaded as they lie once they are stamped."""
        if (shape := self._shape(table)) is None:
            return None
        decode = trusted(shape, self.memory.of(table), self.contracts.of(table), is_sent=True)
        return None if decode is None else Fits(decode, shape.version)

    def _shape(self, table: str) -> Shape | None:
        try:
            return self.warehouse.shape(table)
        except CatchmentError as error:
            _log.debug("cannot tell a table's columns", table=table, exc=error)
            return None

    def load(self, parts: Sequence[Part], *, past_ledger: bool = False) -> list[Loaded]:
        """Load these parts; those that have to wait (`waits`) are left for later.

        Raises `Retry` where the warehouse can't at the moment: then some may be loaded and some not.
        """
        shares = self._shares(parts)
        try:
            return self._together(shares, past_ledger)
        except WarehouseDown:
            raise
        except Retry:
            if len(shares) == 1:
                raise
        except Malformed:
            pass
        # One table spoils the transaction of all: each by itself, and rows that are refused one by one.
        return self._each_alone(shares, past_ledger)

    def waits(self, part: Part) -> bool:
        """Whether a part has to stay in the archive for now: its table is halted, or one of too many new ones."""
        return self._place(part) is Place.WAITS

    def may_wait(self, table: str) -> bool:
        """The same as far as the table's name tells."""
        if self.halts.holds(table):
            return True
        place = self.limits.place(table)
        return place is Place.WAITS or self._others_halted(place, table)

    def _place(self, part: Part) -> Place:
        if self.halts.holds(part.table):
            return Place.WAITS
        place = self.limits.place(part.table)
        if place is not Place.OWN and is_keyed(part):
            return Place.OWN
        if place is Place.WAITS and not isinstance(parse(part.name), Incoming):  # so it was loaded once
            place = self.limits.place(part.table, known=True)
        return Place.WAITS if self._others_halted(place, part.table) else place

    def _others_halted(self, place: Place, table: str) -> bool:
        return place is Place.OTHERS and self.halts.holds(others_of(table.partition(".")[0]))

    def _shares(self, parts: Sequence[Part]) -> list[_Share]:
        found: dict[tuple[str, bool], list[Part]] = {}
        for part in parts:
            match self._place(part):
                case Place.OWN:
                    found.setdefault((part.table, False), []).append(self._young(part, part.table))
                case Place.OTHERS:
                    others = others_of(part.table.partition(".")[0])
                    found.setdefault((others, True), []).append(self._young(part, others))
                case Place.WAITS:
                    continue
        return [_Share(table, some, is_others) for (table, is_others), some in found.items()]

    def _young(self, part: Part, table: str) -> Part:
        """The part as `table` takes it, by its retention: it stays a batch, with nothing in it perhaps."""
        if self.retention.keeps_everything:
            return part
        shape = self.warehouse.shape(table)
        has_key = bool(shape.key) if shape.version > 0 else is_keyed(part)
        rows_from = self.retention.rows_from(table, datetime.now(UTC), is_keyed=has_key)
        if has_key:
            return with_old_deleted(part, rows_from)
        young = without_old(part, rows_from)
        if young.rows < part.rows:
            metrics.records_too_old.add(part.rows - young.rows, table=part.table)
        return young

    def _each_alone(self, shares: Sequence[_Share], past_ledger: bool) -> list[Loaded]:
        loaded: list[Loaded] = []
        failed: Retry | None = None
        for share in shares:
            try:
                loaded += self._alone(share, past_ledger)
            except WarehouseDown:
                raise
            except Retry as error:
                _log.warning("a table could not be loaded; others go on", table=share.table, exc=error)
                failed = error
        if failed is not None:
            raise failed
        return loaded

    def _together(self, shares: Sequence[_Share], past_ledger: bool) -> list[Loaded]:
        for _ in range(_ATTEMPTS):
            batches = [self._batch(share, every_row=False) for share in shares]
            allowed = [batch for batch in batches if past_ledger or self.halts.allow(batch)]
            try:
                return self._load(allowed, past_ledger)
            except SchemaChanged:
                continue
            except CannotWiden as error:
                self.memory.learn_unwidenable(error.table, error.column)
        raise SchemaChanged(shares[0].table)

    def _alone(self, share: _Share, past_ledger: bool) -> list[Loaded]:
        try:
            return self._together([share], past_ledger)
        except Malformed as error:
            _log.warning(
                "the warehouse refused a batch; its rows are looked at one by one",
                table=share.table,
                batch=share.parts[0].name,
                error=error.detail,
            )
        return self._strictly(share, past_ledger)

    def _strictly(self, share: _Share, past_ledger: bool) -> list[Loaded]:
        """Every row looked at; where that is not enough, halves, down to the one row that spoils its batch."""
        lines = lines_of(share.parts)
        refused: dict[int, Malformed] = {}
        for _ in range(_ATTEMPTS):
            batch = self._prepare(share, lines, refused, every_row=True)
            if not past_ledger and not self.halts.allow(batch):
                return []
            try:
                return self._load([batch], past_ledger)
            except SchemaChanged:
                continue
            except CannotWiden as error:
                self.memory.learn_unwidenable(error.table, error.column)
            except Malformed:
                refused |= self._refused(share, lines, range(len(lines)))
        raise SchemaChanged(share.table)

    def _refused(self, share: _Share, lines: Sequence[Origin], span: range) -> dict[int, Malformed]:
        """Which lines the warehouse does not take, by trying: halves that load are loaded, under no name in the
        ledger, and found again by the search when the whole batch comes."""
        some = [lines[at] for at in span]
        batch = self._prepare(share, some, {}, every_row=True)
        nameless = msgspec.structs.replace(batch, names=(), entries=(), dead=())
        try:
            self.warehouse.load([nameless])
        except Malformed as error:
            if len(span) == 1:
                return {span[0]: error}
            middle = len(span) // 2
            return self._refused(share, lines, span[:middle]) | self._refused(share, lines, span[middle:])
        return {}

    def _batch(self, share: _Share, *, every_row: bool) -> Batch:
        """The parts as a batch: as they lie, or prepared."""
        parts = share.parts
        if share.is_others:
            return self._prepare(share, lines_of(parts), {}, every_row=True)
        shape = self.warehouse.shape(share.table)
        count = sum(part.rows for part in parts)
        if shape.version == 0 and count > PLANNED_ROWS and not every_row:
            shape = self._begin_table(share)
        if count <= FEW_ROWS or every_row:
            return self._prepare(share, lines_of(parts), {}, every_row=True)
        sights = [self._sight(held, shape) for part in parts for held in part.held]
        seen = [sight for sight in sights if sight is not None]
        if len(seen) < len(sights):
            return self._prepare(share, lines_of(parts), {}, every_row=False)
        is_distinct = distinct(seen)
        urls = tuple(self.archive.url(part.name) for part in parts if part.alone)
        if len(urls) == len(parts) and all(map(self.warehouse.reads, urls)):
            data: bytes | tuple[str, ...] = urls
        else:
            data = b"".join(held.pack.plain() for part in parts for held in part.held)
        return Batch(
            names=tuple(part.name for part in parts),
            table=shape.table,
            rows=(Rows(data, count),),
            record_count=count,
            first_received_at=min(sight.first_received_at for sight in seen),
            last_received_at=max(sight.last_received_at for sight in seen),
            search_from=self._search_from(
                min(sight.search_from for sight in seen), min(sight.first_received_at for sight in seen)
            ),
            shape_version=shape.version,
            distinct=is_distinct,
            ids=ids_of(seen) if is_distinct else None,
            early=any(sight.early for sight in seen),
        )

    def _begin_table(self, share: _Share) -> Shape:
        """Give a new table its columns, by some rows of each pack: then the guard tells at once which packs fit, and
        only the others are looked at row by row, in a hundred times the time."""
        packs = [(part.name, held.pack) for part in share.parts for held in part.held]
        each = max(1, PLANNED_ROWS // len(packs))
        lines = [
            Origin(line, name, number)
            for name, pack in packs
            for number, line in enumerate(pack.plain().split(b"\n", each)[:each], start=1)
            if line
        ]
        planned = self._prepare(share, lines, {}, every_row=False)
        no_rows = msgspec.structs.replace(planned, names=(), rows=(), dead=(), record_count=0)
        with contextlib.suppress(SchemaChanged):  # another process was first
            self.warehouse.load([no_rows])
        return self.warehouse.shape(planned.table)

    def _sight(self, held: Held, shape: Shape) -> Sight | None:
        """What the guard saw of a pack; it looks once more if the table has changed since, or had not fitted."""
        if held.sight is not None and held.sight.shape_version == shape.version:
            return held.sight
        return look(held.pack.plain(), shape, self.memory.of(shape.table), self.contracts.of(shape.table))

    def _prepare(
        self, share: _Share, lines: Sequence[Origin], refused: dict[int, Malformed], *, every_row: bool
    ) -> Batch:
        table = share.table
        shape: Shape = self.warehouse.shape(table)
        prepared: Prepared
        if share.is_others:
            prepared = prepare_others(lines, shape, self.contracts, refused=refused, now=datetime.now(UTC))
        else:
            prepared = prepare(
                lines,
                shape,
                self.memory.of(table),
                refused=refused,
                contract=self.contracts.of(table),
                every_row=every_row,
                now=datetime.now(UTC),
            )
        if prepared.always_null:
            self.memory.learn_null(table, prepared.always_null)
        dead = self._young_letters(prepared.dead)
        no_room = {each.field for each in prepared.notes if each.kind == "no room"}
        if no_room:
            self.limits.say_full(table, no_room)
        return Batch(
            names=() if share.is_others else tuple(part.name for part in share.parts),
            entries=tuple(entry_of(part) for part in share.parts) if share.is_others else (),
            table=table,
            rows=prepared.rows,
            record_count=len(lines) - (len(prepared.dead) - len(dead)),
            first_received_at=prepared.first_received_at,
            last_received_at=prepared.last_received_at,
            search_from=self._search_from(prepared.search_from, prepared.first_received_at),
            shape_version=shape.version,
            changes=prepared.changes,
            key=prepared.shape.key,
            early=prepared.early,
            dead=dead,
            noted=self.changes.new(table, prepared.notes),
        )

    def _young_letters(self, dead: tuple[DeadLetter, ...]) -> tuple[DeadLetter, ...]:
        if not dead or self.retention.keeps_everything:
            return dead
        now = datetime.now(UTC)
        return tuple(each for each in dead if each.received_at >= self.retention.letters_from(each.table, now))

    def _search_from(self, own: datetime, first_received_at: datetime) -> datetime:
        if first_received_at > datetime.now(UTC) - self.window:
            return own
        return min(own, max(first_received_at, _FIRST_DAY + self.window) - self.window)

    def _load(self, batches: Sequence[Batch], past_ledger: bool) -> list[Loaded]:
        loaded = self.warehouse.load(batches, past_ledger=past_ledger)
        for batch, each in zip(batches, loaded, strict=True):
            if not each.skipped:
                self.changes.told(batch.noted)
                self.views.refresh(each.table)
                if not past_ledger:  # what is loaded again has been judged
                    self.halts.note(each)
                metrics.records_loaded.add(each.inserted, table=each.table)
                metrics.records_duplicate.add(each.duplicates, table=each.table)
                metrics.records_dead.add(each.dead, table=each.table)
        return loaded


def _are_few(plain: bytes) -> bool:
    """Whether these are no more than `FEW_ROWS` lines. Counting all of a large pack takes as long as an eighth of
    what the guard does."""
    end = -1
    for _ in range(FEW_ROWS + 1):
        end = plain.find(b"\n", end + 1)
        if end < 0:
            return True
    return False
