"""Waiting for a warehouse that can't at the moment, where whoever asked would only ask again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from catchment.errors import CannotWiden, Retry, SchemaChanged

PATIENCE_S = 60.0
"""Enough for a warehouse process to be started again."""
_PAUSE_S = 0.5

T = TypeVar("T")


def patiently(call: Callable[[], T]) -> T:
    """Make a call that is safe to make again, until it succeeds or a minute has passed. What tells to look at the
    table again is raised at once."""
    give_up_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            return call()
        except (SchemaChanged, CannotWiden):
            raise
        except Retry:
            if time.monotonic() >= give_up_s:
                raise
            time.sleep(_PAUSE_S)
