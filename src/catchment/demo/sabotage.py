"""The accidents: the warehouse process is killed, as by a power cut of its own, while it is loading."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, field

from catchment.presence import ServiceState


@dataclass(frozen=True, slots=True)
class Sight:
    """The warehouse at a glance."""

    loaded_rows: int
    unloaded_batches: int


@dataclass(slots=True)
class Saboteur:
    """Kills `times` processes, each once and each in the middle of its work.

    The first once `after_rows` are loaded and another batch lies in the archive and not in the warehouse; each
    further one after something more was loaded, or when all is sent and still not loaded.
    """

    times: int
    after_rows: int
    killed: list[int] = field(default_factory=list)
    _loaded_rows: int = 0

    @property
    def done(self) -> bool:
        """Whether there is nothing more to be afraid of."""
        return len(self.killed) >= self.times

    def look(self, process: ServiceState, sight: Sight, *, all_sent: bool) -> bool:
        """Kill the process if this is the moment; whether it was."""
        if self.done or process.pid in self.killed or not sight.unloaded_batches:
            return False
        if sight.loaded_rows < self.after_rows:
            return False
        if self.killed and sight.loaded_rows <= self._loaded_rows and not all_sent:
            return False
        return self.kill(process, sight)

    def kill(self, process: ServiceState, sight: Sight) -> bool:
        """Kill it, whatever it does; whether it was there to be killed."""
        if process.pid is None or process.pid in self.killed:
            return False
        try:
            os.kill(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        self.killed.append(process.pid)
        self._loaded_rows = sight.loaded_rows
        return True
