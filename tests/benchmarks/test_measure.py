"""Measuring: what is counted, and that nothing is left behind."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bench import measure
from bench.measure import Check, MemoryWatch, Stopwatch, Usage, best, growth, interleaved, measured, result

SPIN = "import time\nend = time.process_time() + 0.2\nwhile time.process_time() < end: pass\n"


def usage(wall_s: float) -> Usage:
    return Usage(rows=100, wall_s=wall_s, cpu_s=1, peak_bytes=1)


def test_result_is_ok_only_if_every_must_holds() -> None:
    fine = Check("times_ceiling", 0.46, must=0.45, goal=0.5, at_least=True)
    slow = Check("p99_s", 3.1, must=3, goal=1.5)
    assert result([fine], "a peer")["ok"]
    assert not result([fine], "a peer")["goal_ok"]
    assert not result([fine, slow], "a peer")["ok"]
    assert not result([Check("times_dlt", 14.9, must=15, goal=20, at_least=True)], "dlt")["ok"]


def test_result_leads_with_the_first_check() -> None:
    told = result([Check("cpu_s", 4.25, must=None, goal=4.5), Check("p99_s", 2, must=3, goal=1)], "x", rounds=3)
    assert (told["ratio"], told["must"], told["goal"], told["ok"], told["rounds"]) == (4.25, None, 4.5, True, 3)
    assert told["checks"]["p99_s"] == {"measured": 2.0, "must": 3, "goal": 1, "ok": True}
    assert next(iter(told)) == "ratio"
    assert list(told)[-1] == "against"


def test_stopwatch_counts_children_and_this_process() -> None:
    with Stopwatch() as watch:
        subprocess.run([sys.executable, "-c", SPIN], check=True)
        exec(SPIN)
    assert watch.cpu_s >= 0.4
    assert watch.wall_s >= 0.4


def test_measured_reads_the_last_line_and_the_memory() -> None:
    program = 'x = bytearray(60_000_000)\nprint(\'words\')\nprint(\'{"rows": 5, "wall_s": 2, "cpu_s": 1.5}\')\n'
    found = measured([sys.executable, "-c", program + "import time; time.sleep(0.3)"])
    assert (found.rows, found.wall_s, found.cpu_s, found.rows_per_s) == (5, 2, 1.5, 2.5)
    assert found.peak_bytes > 60_000_000


def test_measured_tells_why_a_contender_failed() -> None:
    with pytest.raises(RuntimeError, match=r"failed with 1:\n(.|\n)*no such table"):
        measured([sys.executable, "-c", "raise SystemExit('no such table')"])


def test_rounds_are_interleaved_and_the_best_counts(capfd: pytest.CaptureFixture[str]) -> None:
    order: list[str] = []

    def contender(name: str, *walls: float) -> Usage:
        order.append(name)
        return usage(walls[order.count(name) - 1])

    taken = interleaved(2, {"ours": lambda: contender("ours", 4, 2), "peer": lambda: contender("peer", 1, 3)})
    assert order == ["ours", "peer", "ours", "peer"]
    assert best(taken["ours"]).wall_s == 2
    assert best(taken["peer"]).wall_s == 1
    said = capfd.readouterr()
    assert said.out == ""
    assert "round 2 of 2: peer" in said.err


@pytest.mark.parametrize(("share", "value"), [(0, 1), (0.5, 51), (0.99, 100), (1, 100)])
def test_percentile(share: float, value: float) -> None:
    assert measure.percentile(list(range(100, 0, -1)), share) == value


def test_percentile_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="no values"):
        measure.percentile([], 0.5)


def test_growth_compares_the_last_third_with_the_middle() -> None:
    assert growth([(at, 10) for at in range(30)]) == 1
    assert growth([(at, 10 if at < 20 else 15) for at in range(30)]) == 1.5
    assert growth([(at, at if at < 10 else 100) for at in range(30)]) == 1


def test_memory_of_a_tree_includes_its_children() -> None:
    child = f"{sys.executable} -c 'x = bytearray(80_000_000); print(1, flush=True); input()'"  # a grandchild
    with subprocess.Popen(
        ["sh", "-c", f'sh -c "{child}; true"; true'], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as shell:
        assert shell.stdout is not None
        shell.stdout.readline()
        assert len(measure.tree(shell.pid)) == 3
        assert measure.memory_bytes(shell.pid) > 80_000_000
        assert measure.tree_cpu_s(shell.pid) > 0
        shell.communicate("\n")
    assert measure.memory_bytes(shell.pid) == 0


def test_memory_watch_sees_a_peak_that_has_gone() -> None:
    with MemoryWatch(os.getpid(), every_s=0.01) as watch:
        held = bytearray(100_000_000)
        seen = len(watch.samples)
        while len(watch.samples) < seen + 3:
            time.sleep(0.01)
        del held
        seen = len(watch.samples)
        while len(watch.samples) < seen + 3:
            time.sleep(0.01)
    assert watch.peak_bytes > watch.samples[-1][1] + 80_000_000


def test_scratch_is_removed_whatever_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "CACHE", tmp_path / "cache")

    def fail() -> None:
        with measure.scratch(1) as folder:
            (folder / "some").mkdir()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert list((tmp_path / "cache").iterdir()) == []


def test_scratch_wants_the_space_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "CACHE", tmp_path)
    with pytest.raises(RuntimeError, match=r"GB free and this bench needs 1000000\.0 GB"), measure.scratch(10**15):
        pytest.fail("there is no such disk")
