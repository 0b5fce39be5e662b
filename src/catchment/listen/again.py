"""Dead letters of what was heard, filed once more: as they were, or mended."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from catchment.listen.config import ListenConfig
from catchment.listen.letters import heard_again, listener_of
from catchment.listen.transform import Outcome, Transformation
from catchment.sources import Heard


def refiled(
    body: bytes, origin: str, received_at: datetime, letter: str, config: ListenConfig, root: Path, window: timedelta
) -> tuple[Heard, Outcome]:
    """The message of a letter with `body`, which the letter has or should have had, and what becomes of it by the
    listener's settings as they are now. Raises `Malformed` if it would be a dead letter again, `UsageError`, and what
    the schema registry does."""
    heard = heard_again(origin, body, received_at, letter)
    return heard, Transformation(listener_of(origin), config, root, window).filed(heard)
