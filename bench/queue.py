# ruff: noqa: A005
"""The embedded queue, packed: against a bare write and fdatasync, and against a row per message in SQLite."""

from __future__ import annotations

import json
import multiprocessing
import operator
import os
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from catchment import pack
from catchment.queues.sqlite import Config, SqliteQueue
from catchment.queues.sqlite.publisher import Publisher
from catchment.queues.sqlite.writer import Writer
from catchment.record import Line, Stamp, decode

MUST, GOAL = 0.75, 0.9
MUST_PROCESSES, GOAL_PROCESSES = 3.0, 4.0
PUBLISHERS = 4
_ROUNDS = 21
_PACKS_A_ROUND = 40
_PROCESS_ROUNDS = 8
_BATCH_RECORDS = 1_000


def run() -> dict[str, Any]:
    """One line of `make bench`: two ratios, each with its must and goal."""
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=Path.cwd()) as name:
        folder = Path(name)
        packs = [pack.build("bench.events", event_lines(300, seed)) for seed in range(_PACKS_A_ROUND)]
        alone = _against_bare(folder / "alone", packs, count_checkpoints=False)
        living = _against_bare(folder / "living", packs, count_checkpoints=True)
        ours, peer = _processes(folder)
    ratio, ratio_processes = alone["ratio"], statistics.median(map(operator.truediv, ours, peer))
    return {
        "bench": "queue",
        "ratio": round(ratio, 2),
        "must": MUST,
        "goal": GOAL,
        "ok": ratio >= MUST and ratio_processes >= MUST_PROCESSES,
        "against": "write+fdatasync of the same packs, 1 publisher; checkpoints not counted",
        "ratio_with_checkpoints": round(living["ratio"], 2),
        "publish_ms": round(alone["ours_ms"], 3),
        "bare_ms": round(alone["bare_ms"], 3),
        "pack_bytes": statistics.mean(map(len, packs)),
        "ratio_4_processes": round(ratio_processes, 1),
        "must_4_processes": MUST_PROCESSES,
        "goal_4_processes": GOAL_PROCESSES,
        "against_4_processes": "a row per message in one SQLite file, synchronous=FULL, 1,000 rows a commit",
        "records_per_s_4_processes": round(statistics.median(ours)),
        "peer_records_per_s_4_processes": round(statistics.median(peer)),
    }


def _against_bare(folder: Path, packs: list[bytes], *, count_checkpoints: bool) -> dict[str, float]:
    """Publish and write in turns, so that whatever else the machine does hits both alike."""
    folder.mkdir()
    ours_s: list[float] = []
    bare_s: list[float] = []
    with closing(SqliteQueue(Config(), folder)) as queue, _bare_file(folder / "bare") as bare:
        queue.publish([b"warm"])
        later = None if count_checkpoints else _Afterwards(queue)
        for _ in range(_ROUNDS):
            ours_s.append(0.0)
            bare_s.append(0.0)
            for body in packs:
                began_s = time.perf_counter()
                queue.publish([body])
                published_s = time.perf_counter()
                os.write(bare, body)
                os.fdatasync(bare)
                bare_s[-1] += time.perf_counter() - published_s
                ours_s[-1] += published_s - began_s
                if later:
                    later.do()
    return {
        "ratio": statistics.median(bare / ours for bare, ours in zip(bare_s, ours_s, strict=True)),
        "ours_ms": statistics.median(ours_s) / len(packs) * 1e3,
        "bare_ms": statistics.median(bare_s) / len(packs) * 1e3,
    }


@contextmanager
def _bare_file(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    yield descriptor
    os.close(descriptor)


class _Afterwards:
    """Stands in for the publisher's housekeeper: copies the -wal between two measurements rather than during."""

    def __init__(self, queue: SqliteQueue) -> None:
        assert queue._publishing is not None
        publisher: Publisher = queue._publishing[1]
        self._writer: Writer | None = None
        publisher._housekeeper.copy = self._note  # type: ignore[method-assign]

    def _note(self, writer: Writer) -> None:
        self._writer = writer

    def do(self) -> None:
        if self._writer is not None:
            self._writer.copy_wal()
            self._writer = None


def _processes(folder: Path) -> tuple[list[float], list[float]]:
    """Records per second of four processes: packed into the queue, and as rows; in turns."""
    spawn = multiprocessing.get_context("spawn")
    pipes = [spawn.Pipe() for _ in range(PUBLISHERS)]
    workers = [
        spawn.Process(target=_work, args=(theirs, folder, seed), daemon=True) for seed, (_, theirs) in enumerate(pipes)
    ]
    for worker in workers:
        worker.start()
    ends = [ours for ours, _ in pipes]
    for end in ends:
        assert end.recv() == "ready"
    ours, peer = [], []
    for _ in range(_PROCESS_ROUNDS):
        ours.append(_together(ends, "packed", 60))
        peer.append(_together(ends, "rows", 15))
    for end, worker in zip(ends, workers, strict=True):
        end.send(None)
        worker.join()
    return ours[1:], peer[1:]  # the first round warms both up: their -wal files still grow


def _together(ends: list[Connection], how: str, batches: int) -> float:
    for end in ends:
        end.send((how, batches))
    spans = [end.recv() for end in ends]
    elapsed_s: float = max(ended_s for _, ended_s in spans) - min(began_s for began_s, _ in spans)
    return len(ends) * batches * _BATCH_RECORDS / elapsed_s


def _work(pipe: Connection, folder: Path, seed: int) -> None:
    """One of the four: publishes as told, and says when it began and ended."""
    lines = event_lines(_BATCH_RECORDS, seed)
    rows = [(line.text,) for line in lines]
    with closing(SqliteQueue(Config(), folder)) as queue, closing(_shared_rows(folder / "rows.db")) as db:
        queue.publish([b"warm"])
        pipe.send("ready")
        while order := pipe.recv():
            how, batches = order
            began_s = time.monotonic()
            for _ in range(batches):
                if how == "packed":
                    queue.publish(list(pack.packs("bench.events", lines)))
                else:
                    db.execute("BEGIN IMMEDIATE")
                    db.executemany("INSERT INTO messages (body) VALUES (?)", rows)
                    db.execute("COMMIT")
            pipe.send((began_s, time.monotonic()))


def _shared_rows(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, timeout=60)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("CREATE TABLE IF NOT EXISTS messages (id INTEGER PRIMARY KEY AUTOINCREMENT, body BLOB NOT NULL)")
    return db


def event_lines(count: int, seed: int) -> list[Line]:
    """Stamped records of about 420 bytes, as a web site would send them."""
    randomness = random.Random(seed)
    stamp = Stamp(datetime(2026, 11, 25, tzinfo=UTC), "bench")
    lines = []
    for _ in range(count):
        data = {
            "user_id": randomness.randrange(10**6),
            "event": randomness.choice(["page_view", "click", "purchase"]),
            "url": f"https://www.acme.example/p/{randomness.randrange(10**5)}?campaign={randomness.choice('abcdef')}",
            "amount": round(randomness.random() * 1_000, 2),
            "country": randomness.choice(["DE", "US", "GB", "FR"]),
            "session": f"{randomness.getrandbits(96):024x}",
            "user_agent": "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101",
        }
        record = {"table": "bench.events", "id": f"{randomness.getrandbits(128):032x}", "data": data}
        lines.append(stamp.line(decode(json.dumps(record).encode())))
    return lines
