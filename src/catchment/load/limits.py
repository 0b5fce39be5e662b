"""How many tables a schema may have, and how fast new ones may come: whoever knows a public write key names events,
and so tables, and must not bury the warehouse under them.

A table beyond the rate waits, unloaded, in the archive; beyond the number its records share one table of the schema
(`others`). What the project names is let through, and so are keyed tables, which come of mirrored databases alone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from enum import Enum, auto

from catchment import metrics
from catchment.load.config import LoadConfig
from catchment.load.others import others_of
from catchment.log import get_log
from catchment.record import OWN_SCHEMA
from catchment.warehouses import Warehouse
from catchment.warehouses.rows import rows_of

_log = get_log("load")

BURST_MINUTES = 5
"""So many minutes' new tables may come at once: a company with 60 names on its first day notices nothing."""


MAX_REMEMBERED = 10_000


class Place(Enum):
    """Where records of a table go."""

    OWN = auto()
    """To it: it is there, or may be made."""
    OTHERS = auto()
    """To the table that those beyond the limit share."""
    WAITS = auto()
    """Nowhere for now: too many tables are new."""


@dataclass(slots=True)
class _Schema:
    """The tables that are there or were let in, and how many more may be now."""

    names: set[str]
    tokens: float
    filled_s: float
    said: set[Place] = field(default_factory=set)


@dataclass(slots=True)
class Limits:
    """Lets tables in. Safe for several threads; what was let in once stays so."""

    warehouse: Warehouse
    config: LoadConfig
    always: Collection[str] = ()
    """Tables that are made whatever the limits, besides those that the configuration names."""
    paced: bool = True
    """False: as fast as may be, as when the archive is loaded again."""
    lets_out: bool = False
    """Whether a table of which rows went to the others may be made now: for a replay, which brings all of them."""
    clock: Callable[[], float] = time.monotonic
    _schemas: dict[str, _Schema] = field(default_factory=dict)
    _full: dict[str, None] = field(default_factory=dict)
    _elsewhere: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def place(self, table: str, *, known: bool = False) -> Place:
        """Where its records go as of now. `known` says that it had been let in before, by a warehouse that is no
        more: then it does not wait.

        Raises `Retry` where the warehouse can't tell.
        """
        schema = table.partition(".")[0]
        if schema == OWN_SCHEMA or table in self.config.tables or table in self.always:
            return Place.OWN
        with self._lock:
            state = self._state(schema)
            if table in state.names or self.warehouse.shape(table).version > 0:
                state.names.add(table)
                return Place.OWN
            if len(state.names) - (others_of(schema) in state.names) >= self.config.max_tables:
                self._say(schema, state, Place.OTHERS, table)
                return Place.OTHERS
            if not self.lets_out and self._was_elsewhere(table):
                return Place.OTHERS
            if self.paced and not known and not self._take_token(state):
                self._say(schema, state, Place.WAITS, table)
                return Place.WAITS
            state.names.add(table)
        return Place.OWN

    def max_columns(self, table: str) -> int:
        """How many columns it may have, metadata aside."""
        return self.config.for_table(table).max_columns

    def say_full(self, table: str, fields: Collection[str]) -> None:
        """A table met these fields that it has no room for."""
        if table not in self._full:
            self._full[table] = None
            metrics.tables_full.set(len(self._full))
            _log.warning(
                "a table has as many columns as it may; further fields are kept in _rescued",
                table=table,
                max_columns=self.max_columns(table),
                first=min(fields),
            )

    def _state(self, schema: str) -> _Schema:
        state = self._schemas.get(schema)
        if state is None:
            names = set(self.warehouse.tables(schema))
            state = _Schema(names, self._burst, self.clock())
            self._schemas[schema] = state
        return state

    def _was_elsewhere(self, table: str) -> bool:
        """Whether rows of a table that is not there were loaded: among the others. They stay together, or what is
        delivered again after a crash, to a schema with a table less, would be in two tables."""
        if table in self._elsewhere:
            return True
        if self.warehouse.shape(others_of(table.partition(".")[0])).version == 0:
            return False
        found = bool(rows_of(self.warehouse, "SELECT 1 FROM catchment.ledger WHERE table_name = $1 LIMIT 1", [table]))
        if found:
            if len(self._elsewhere) >= MAX_REMEMBERED:
                self._elsewhere.clear()
            self._elsewhere.add(table)
        return found

    @property
    def _burst(self) -> float:
        return float(BURST_MINUTES * self.config.max_new_tables_per_minute)

    def _take_token(self, state: _Schema) -> bool:
        now_s = self.clock()
        gained = (now_s - state.filled_s) / 60 * self.config.max_new_tables_per_minute
        state.tokens = min(self._burst, state.tokens + gained)
        state.filled_s = now_s
        if state.tokens < 1:
            return False
        state.tokens -= 1
        if state.tokens > self._burst / 2:
            state.said.discard(Place.WAITS)  # it is over; another flood is said again
        return True

    def _say(self, schema: str, state: _Schema, place: Place, table: str) -> None:
        """Once, since a flood of names must not be one of words."""
        if place in state.said:
            return
        state.said.add(place)
        if place is Place.OTHERS:
            metrics.schemas_full.set(sum(Place.OTHERS in each.said for each in self._schemas.values()))
            _log.warning(
                "a schema has as many tables as it may; records of further ones go to one table",
                schema=schema,
                table=others_of(schema),
                max_tables=self.config.max_tables,
                first=table,
            )
        else:
            _log.warning(
                "too many tables of a schema are new; records of further ones wait in the archive",
                schema=schema,
                max_new_tables_per_minute=self.config.max_new_tables_per_minute,
                first=table,
            )
