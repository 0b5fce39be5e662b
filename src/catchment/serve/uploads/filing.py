"""What serve is given to file what people upload: it knows neither the project's queue nor what else writes there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from catchment.queues import Queue
from catchment.warehouses.shape import MOST_COLUMNS

ContractMode = Literal["evolve", "freeze", "reject"]


@dataclass(frozen=True, slots=True)
class Takes:
    """What becomes of a field that a table lacks, and beyond how many columns it is kept in `_rescued` in any case."""

    mode: ContractMode = "evolve"
    max_columns: int = MOST_COLUMNS


@dataclass(frozen=True, slots=True)
class Filing:
    """The project's ways in."""

    open_queue: Callable[[], Queue]
    """Whoever opens it closes it."""
    is_loaded: Callable[[str, float], bool]
    """Whether the warehouse has what was queued for the table until then (monotonic seconds), and all dead letters.
    Raises `Abort` where loading of the table has halted."""
    is_loading: Callable[[], bool]
    """Whether a process runs here that loads what is queued."""
    writer_of: Callable[[str], str]
    """The source that writes to a table; empty where none does."""
    contract_of: Callable[[str], Takes]
    """What a table takes."""
