"""The disk fills up while events come in: they are refused and not lost, and all goes on once there is space."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import random
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from catchment.testing.content import rows
from tests.collect.test_service import KEY, Collecting
from tests.crash.running import opened_warehouse, until
from tests.missing import without

AS_ROOT = [] if os.geteuid() == 0 else ["sudo", "-n"]
DISK_MB = 32
MORE_MB = 200
"""What it has once there is space again."""
EVENTS_A_BATCH = 200
TEXT_BYTES = 2_000
AFTERWARDS = 5


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A project's folder whose `.catchment` is a file system of its own."""
    folder = tmp_path / "project"
    runtime = folder / ".catchment"
    runtime.mkdir(parents=True)
    options = f"size={DISK_MB}m,uid={os.getuid()}"
    command = [*AS_ROOT, "mount", "-t", "tmpfs", "-o", options, "tmpfs", str(runtime)]
    try:
        subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        without(f"needs root, to mount a small file system: {error}")
    try:
        yield folder
    finally:
        subprocess.run([*AS_ROOT, "umount", "--lazy", str(runtime)], check=True)


def enlarge(folder: Path) -> None:
    subprocess.run([*AS_ROOT, "mount", "-o", f"remount,size={MORE_MB}m", str(folder / ".catchment")], check=True)


class Sender:
    """Sends batches that do not compress, one after the other; one that is refused is sent again."""

    def __init__(self, made: Collecting) -> None:
        self._made = made
        self._rng = random.Random(7)
        self._batch = self._next(0)
        self.batches = 0
        self.retry_after: set[str | None] = set()

    def _next(self, number: int) -> list[dict[str, Any]]:
        return [
            {
                "type": "track",
                "event": "E",
                "messageId": f"{number}-{at}",
                "properties": {"text": base64.b85encode(self._rng.randbytes(TEXT_BYTES)).decode()},
            }
            for at in range(EVENTS_A_BATCH)
        ]

    def send(self) -> int:
        with contextlib.closing(self._made.connect()) as connection:
            connection.request("POST", "/v1/batch", json.dumps({"batch": self._batch}), {"X-Write-Key": KEY})
            answer = connection.getresponse()
            answer.read()
        assert answer.status in {200, 503}, answer.status
        if answer.status == 503:
            self.retry_after.add(answer.getheader("Retry-After"))
        else:
            self.batches += 1
            self._batch = self._next(self.batches)
        return answer.status


def test_a_full_disk_refuses_events_and_recovers_by_itself(small_disk: Path) -> None:
    made = Collecting(small_disk)
    try:
        made.start_up()
        until(lambda: is_ready(made), "the collector")
        sender = Sender(made)
        until(lambda: sender.send() == 503, "the disk to be full")
        for service in ("load", "collect"):  # who starts again on a full disk has to say no as well
            made.kill(service)
        until(lambda: sender.send() == 503 and not is_ready(made), "the collector to say so")
        until(lambda: is_ready(made), "a balancer that heeds /readyz to be told to try again")
        until(lambda: sender.send() == 503 and not is_ready(made), "the collector to say so again")
        assert None not in sender.retry_after
        enlarge(small_disk)
        kept = sender.batches
        until(lambda: sender.send() == 200 and sender.batches >= kept + AFTERWARDS, "events to be kept again")
        until(lambda: is_ready(made), "the collector to be ready again")
        until(made.is_loaded, "everything to be loaded")
        made.stop_up()
        for service in ("load", "collect"):
            assert made.said().count(f'"event":"died","part":"{service}"') == 1
        with opened_warehouse(made.project) as warehouse:
            found = Counter(identity for (identity,) in rows(warehouse, "SELECT id FROM site.tracks"))
        wanted = {f"{batch}-{at}" for batch in range(sender.batches) for at in range(EVENTS_A_BATCH)}
        assert wanted - found.keys() == set()
        assert set(found.values()) == {1}
    finally:
        made.close()


def is_ready(made: Collecting) -> bool:
    try:
        with contextlib.closing(made.connect()) as connection:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
    except OSError:
        return False
