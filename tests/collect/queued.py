"""What waits in a project's queue, as the loader will read it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import msgspec

from catchment import pack
from catchment.config import Project
from catchment.record import decode


@dataclass(frozen=True, slots=True)
class Queued:
    """One record."""

    table: str
    id: str
    data: dict[str, Any]


def take(project: Project) -> list[Queued]:
    """Every record in the queue, which is empty afterwards."""
    found = []
    with contextlib.closing(project.queue.open()) as queue:
        while (delivery := queue.receive(16_000_000, 0.2)) is not None:
            for message in delivery.messages:
                for packed in pack.read(message.body):
                    for line in packed.plain().splitlines(keepends=True):
                        record = decode(line)
                        found.append(Queued(record.table, str(record.id), msgspec.json.decode(record.data)))
            queue.ack([delivery])
    return found
