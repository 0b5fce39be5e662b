"""A publisher of the crash tests: `python -m tests.crash.publisher FOLDER NUMBER`.

It sends what its notes do not have as confirmed, and notes it when `publish` has returned. The notes are appended
without fsync: they outlive kill -9, which is what they are for.
"""

from __future__ import annotations

import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from catchment.config import load_project
from catchment.errors import Retry
from catchment.queues import Queue
from tests.crash.traffic import Shipment, Traffic

TRAFFIC = "traffic.json"
ALLOWED = "allowed"
PAUSE_S = 0.01


class Notes:
    """Numbers of shipments, one a line, in a file that outlives its writer."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def numbers(self) -> list[int]:
        """What was noted so far. A line cut short was never returned from."""
        text = self._path.read_bytes() if self._path.exists() else b""
        return [int(line) for line in text.split(b"\n")[:-1]]

    def append(self, numbers: list[int]) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(descriptor, b"".join(b"%d\n" % number for number in numbers))
        finally:
            os.close(descriptor)


def confirmed(folder: Path, publisher: int) -> Notes:
    """What `publish` has returned from."""
    return Notes(folder / f"confirmed-{publisher}")


def tried(folder: Path, publisher: int) -> Notes:
    """What was begun to be published, once for each time."""
    return Notes(folder / f"tried-{publisher}")


def allow(folder: Path, share: float) -> None:
    """Every publisher waits when it has sent this share of its shipments, until it is allowed more; without a word
    it sends all."""
    written = folder / f"{ALLOWED}.new"
    written.write_text(str(share))
    written.replace(folder / ALLOWED)


def allowed(shipments: int, share: float) -> int:
    """How many of its shipments a publisher sends: fewer than all while the share is less than one."""
    return int(shipments * share)


def traffic_of(folder: Path, publisher: int) -> Traffic:
    """What this publisher is to send, as the test wrote it down."""
    every = msgspec.json.decode((folder / TRAFFIC).read_bytes(), type=list[Traffic])
    return next(traffic for traffic in every if traffic.publisher == publisher)


def main(folder: Path, publisher: int) -> None:
    """Publish until all is confirmed."""
    traffic = traffic_of(folder, publisher)
    done, begun = confirmed(folder, publisher), tried(folder, publisher)
    has = set(done.numbers())
    queue = load_project(folder, None).queue.open()
    lost_answers: list[Shipment] = []
    shipments = traffic.shipments()
    left = [each for each in shipments if each.number not in has]
    for sent, shipment in enumerate(left, start=len(shipments) - len(left)):
        await_allowance(folder, len(shipments), sent)
        publish(queue, traffic, shipment, begun)
        done.append([shipment.number])
        if shipment.twice:
            lost_answers.append(shipment)
        if len(lost_answers) > 3:
            again = lost_answers.pop(0)
            publish(queue, traffic, again, begun)
        time.sleep(PAUSE_S)
    queue.close()


def await_allowance(folder: Path, shipments: int, sent: int) -> None:
    """Until one more than it has sent may be sent."""
    path = folder / ALLOWED
    while path.exists() and sent >= allowed(shipments, float(path.read_text())):
        time.sleep(PAUSE_S)


def publish(queue: Queue, traffic: Traffic, shipment: Shipment, begun: Notes) -> None:
    """Again and again while the broker is away."""
    while True:
        begun.append([shipment.number])
        try:
            queue.publish(traffic.messages(shipment, datetime.now(UTC)))
            return
        except Retry:
            time.sleep(0.2)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
