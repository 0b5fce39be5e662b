"""What is filed goes through a real queue, and is loaded by a real loader where somebody waits for it."""

from __future__ import annotations

import threading
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from catchment.load.round import Round
from catchment.queues.sqlite import Config, SqliteQueue
from catchment.serve.uploads.filing import Filing, Takes
from tests.load.loading import Rig


def queue_of(folder: Path) -> SqliteQueue:
    return SqliteQueue(Config(), folder)


def drain(rig: Rig, folder: Path) -> int:
    """Load all that waits in the queue; how many messages that were."""
    count = 0
    with closing(queue_of(folder)) as queue:
        while delivery := queue.receive(4 << 20, 0):
            taken = Round(rig.loader.look, "test")
            count += len(delivery.messages)
            [kept] = queue.keep([delivery])
            taken.add(kept)
            rig.now += timedelta(seconds=1)
            rig.loader.load(taken.close(rig.archive, rig.now))
            queue.ack([kept])
    return count


def filing_of(rig: Rig, folder: Path) -> Filing:
    """`web` is a source's schema. Asking whether all is loaded loads it."""
    lock = threading.Lock()

    def is_loaded(table: str, before_s: float) -> bool:
        del table, before_s
        with lock:
            drain(rig, folder)
        return True

    return Filing(
        open_queue=lambda: queue_of(folder),
        is_loaded=is_loaded,
        is_loading=lambda: True,
        writer_of=lambda table: "web" if table.startswith("web.") else "",
        contract_of=lambda table: Takes(),
    )
