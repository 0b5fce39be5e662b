"""What would be filed of some messages, without hearing them for good."""

from __future__ import annotations

from collections.abc import Iterator

from catchment.listen.transform import Outcome, Transformation
from catchment.sources import Tap


def preview(tap: Tap, transformation: Transformation, limit: int, wait_s: float) -> Iterator[Outcome]:
    """What becomes of at most `limit` messages, as they come within `wait_s` seconds. Raises as `Tap.receive`, and as
    the schema registry does."""
    for heard in tap.peek(limit, wait_s):
        yield transformation.outcome(heard)
