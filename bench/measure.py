"""Measuring: interleaved rounds, processes' time and memory, places to write, and the line that is printed."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".catchment-bench"
"""Beside the project rather than in /tmp, which may be memory: an fsync there costs nothing and proves nothing."""
SAMPLE_S = 0.05


@dataclass(frozen=True, slots=True)
class Check:
    """One figure with what it must and should be, in its own unit; more is better where `at_least`."""

    name: str
    measured: float
    must: float | None
    goal: float | None
    at_least: bool = False

    def holds(self, bound: float | None) -> bool:
        """Whether the figure keeps to the bound; no bound is always kept."""
        if bound is None:
            return True
        return self.measured >= bound if self.at_least else self.measured <= bound


def result(checks: Sequence[Check], against: str, **more: Any) -> dict[str, Any]:
    """What a bench returns: the first check's figure is the `ratio`; `ok` says that every must holds.

    Against a peer the ratio is a multiple of the peer's figure; against a bare limit it is the figure itself,
    in the unit that its name ends in.
    """
    first = checks[0]
    return {
        "ratio": _rounded(first.measured),
        "must": first.must,
        "goal": first.goal,
        "ok": all(check.holds(check.must) for check in checks),
        "goal_ok": all(check.holds(check.goal) for check in checks),
        "checks": {
            check.name: {
                "measured": _rounded(check.measured),
                "must": check.must,
                "goal": check.goal,
                "ok": check.holds(check.must),
            }
            for check in checks
        },
        **more,
        "against": against,
    }


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


@dataclass(frozen=True, slots=True)
class Usage:
    """What a contender took. `wall_s` and `cpu_s` cover its timed part alone, peak memory its whole life."""

    rows: int
    wall_s: float
    cpu_s: float
    peak_bytes: int

    @property
    def rows_per_s(self) -> float:
        """Rows of the timed part by its wall time."""
        return self.rows / self.wall_s

    def told(self) -> dict[str, float]:
        """For the printed line."""
        return {
            "rows_per_s": round(self.rows_per_s),
            "wall_s": round(self.wall_s, 2),
            "cpu_s": round(self.cpu_s, 2),
            "cpu_s_per_million": round(self.cpu_s / self.rows * 1e6, 2),
            "peak_mb": round(self.peak_bytes / 1e6),
        }


class Stopwatch:
    """Wall and CPU time of a `with` block, all threads and all children waited for within it included."""

    def __enter__(self) -> Stopwatch:
        self._wall, self._cpu = time.perf_counter(), _cpu_s()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall_s, self.cpu_s = time.perf_counter() - self._wall, _cpu_s() - self._cpu

    def tell(self, rows: int) -> None:
        """Print what `measured` reads."""
        print(json.dumps({"rows": rows, "wall_s": self.wall_s, "cpu_s": self.cpu_s}))


def _cpu_s() -> float:
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def measured(command: Sequence[str | Path], env: Mapping[str, str] | None = None) -> Usage:
    """Run a contender, whose last line is what `Stopwatch.tell` prints, and watch its memory.

    Raises `RuntimeError` with the end of its stderr when it fails.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=ROOT, env={**os.environ, **(env or {})}
        )
        with MemoryWatch(process.pid) as memory:
            code = process.wait()
        out.seek(0)
        err.seek(0)
        if code != 0:
            raise RuntimeError(f"{' '.join(map(str, command))} failed with {code}:\n{err.read()[-2_000:]}")
        said = json.loads(out.read().strip().splitlines()[-1])
    return Usage(said["rows"], said["wall_s"], said["cpu_s"], memory.peak_bytes)


def interleaved(rounds: int, contenders: Mapping[str, Callable[[], Usage]]) -> dict[str, list[Usage]]:
    """Each contender once a round, so that a busy minute of the machine is shared by all."""
    taken: dict[str, list[Usage]] = {name: [] for name in contenders}
    for at in range(rounds):
        for name, run in contenders.items():
            usage = run()
            taken[name].append(usage)
            progress(f"round {at + 1} of {rounds}: {name} {usage.told()}")
    return taken


def best(usages: Sequence[Usage]) -> Usage:
    """The fastest: what disturbs a run only ever makes it slower."""
    return max(usages, key=lambda usage: usage.rows_per_s)


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` (0 to 1) of the values do not exceed. Raises `ValueError` without any."""
    if not values:
        raise ValueError("no values were measured")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def tree(pid: int) -> list[psutil.Process]:
    """The process and all its descendants; empty once it has gone."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def memory_bytes(pid: int) -> int:
    """Memory of a process tree: shared pages count once (PSS) where the system tells, else RSS."""
    total = 0
    for process in tree(pid):
        # A process may end between being listed and being asked.
        with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            full = process.memory_full_info()
            total += getattr(full, "pss", full.rss)
    return total


def tree_cpu_s(pid: int) -> float:
    """CPU time of a living process tree so far, children that ended within it included."""
    total = 0.0
    for process in tree(pid):
        with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            total += sum(process.cpu_times()[:4])
    return total


class MemoryWatch:
    """Memory of a process tree while a `with` block runs: the peak, and every sample with its time."""

    def __init__(self, pid: int, every_s: float = SAMPLE_S) -> None:
        self.samples: list[tuple[float, int]] = []
        self._pid, self._every_s = pid, every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    @property
    def peak_bytes(self) -> int:
        """The highest sample."""
        return max((size for _, size in self.samples), default=0)

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            self.samples.append((time.monotonic(), memory_bytes(self._pid)))
            if self._stop.wait(self._every_s):
                return


def growth(samples: Sequence[tuple[float, int]]) -> float:
    """Memory in the last third of the time by that in the middle third: 1 where it is flat."""
    first, last = samples[0][0], samples[-1][0]
    third = (last - first) / 3
    middle = [size for at, size in samples if first + third <= at < last - third]
    end = [size for at, size in samples if at >= last - third]
    return statistics.median(end) / statistics.median(middle)


@contextlib.contextmanager
def scratch(need_bytes: int) -> Iterator[Path]:
    """A new folder on the project's disk, removed at the end. Raises `RuntimeError` without the space."""
    CACHE.mkdir(exist_ok=True)
    free = shutil.disk_usage(CACHE).free
    if free < need_bytes:
        raise RuntimeError(f"{CACHE} has {free / 1e9:.1f} GB free and this bench needs {need_bytes / 1e9:.1f} GB")
    folder = Path(tempfile.mkdtemp(prefix="scratch-", dir=CACHE))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def progress(text: str) -> None:
    """Words go to stderr: stdout is one JSON line a bench."""
    print(text, file=sys.stderr, flush=True)
