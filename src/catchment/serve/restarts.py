"""Queries outlive a restart of the warehouse process: they run again by themselves."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

from catchment.errors import Retry, WarehouseDown, WarehouseGone

BACK_WITHIN_S: Final = 20.0
"""How long a query waits for the process to be back."""
RUNS: Final = 3
_LOOK_S = 0.1
T = TypeVar("T")


def through_restarts(ask: Callable[[], T], timeout_s: float, is_ended: Callable[[], bool]) -> T:
    """What `ask` returns, which runs a query and reads its result; run again where the warehouse process went in the
    middle, as it is restarted because of somebody else's query. Raises what `ask` does: also where the process does
    not come back, where it goes each time, and where nobody waits any more, as `is_ended` says.
    """
    back_by_s, runs = 0.0, 0
    while True:
        began_s = time.monotonic()
        try:
            return ask()
        except WarehouseGone as gone:
            runs += 1
            if is_ended() or runs == RUNS:
                raise
            if time.monotonic() - began_s >= timeout_s:  # the one because of which it was restarted
                raise Retry(f"the query took longer than {timeout_s:g} s and was ended") from gone
            back_by_s = time.monotonic() + BACK_WITHIN_S
        except WarehouseDown:
            if is_ended() or time.monotonic() >= back_by_s:
                raise
        time.sleep(_LOOK_S)
