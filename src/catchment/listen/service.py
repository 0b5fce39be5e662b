"""`listen`, the service: every listener of the project in a thread of its own."""

from __future__ import annotations

from collections.abc import Sequence

from catchment.listen.listener import Listener
from catchment.service import Health, Stop


class ListenService:
    """The `listen` service of one project."""

    name = "listen"

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self._listeners = listeners

    def health(self) -> Health:
        """Ready while all listen, and what they hear can be kept; else it says which do not, and why."""
        troubles = [f"{each.name}: {each.trouble}" for each in self._listeners if each.trouble]
        is_ready = not troubles and all(each.is_ready for each in self._listeners)
        return Health(ok=True, ready=is_ready, detail="; ".join(troubles))

    def run(self, stop: Stop) -> None:
        """See `Service`. Closes nothing that it was given."""
        threads = [stop.start(f"listen {each.name}", lambda each=each: each.run(stop)) for each in self._listeners]  # type: ignore[misc]
        stop.wait()
        for thread in threads:
            thread.join(timeout=max(0.0, min(stop.remaining_s, 3600)))
