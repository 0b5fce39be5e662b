"""`python -m bench`: one JSON line each, and exit codes that a CI can use."""

import ast
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from bench import __main__ as main
from bench.measure import ROOT, Check, result

FOLDER = ROOT / "bench"


def test_an_unknown_bench_is_refused_before_any_runs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main, "load", pytest.fail)
    assert main.main(["memory", "memori"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "no such bench: memori\n  Try: load-duckdb, " in said.err


def _broken() -> dict[str, Any]:
    raise RuntimeError("no disk")


def test_one_line_each_and_a_broken_bench_stops_no_other(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    benches = {
        "load-duckdb": lambda: result([Check("times_ceiling", 0.5, 0.45, 0.5, at_least=True)], "DuckDB"),
        "queue": _broken,
        "memory": lambda: result([Check("idle_mb", 201, 200, 150)], "its own limit"),
    }
    monkeypatch.setattr(main, "load", lambda name: SimpleNamespace(__doc__="…", run=benches[name]))
    assert main.main(list(benches)) == 3
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["bench"], line["ok"]) for line in lines] == [
        ("load-duckdb", True),
        ("queue", False),
        ("memory", False),
    ]
    assert lines[1]["error"] == "no disk"
    assert main.main(["load-duckdb"]) == 0
    assert main.main(["queue", "load-duckdb"]) == 3


def _defines_run(module: Path) -> bool:
    return any(isinstance(each, ast.FunctionDef) and each.name == "run" for each in ast.parse(module.read_text()).body)


def test_every_module_with_a_run_is_a_bench_and_says_what_it_does() -> None:
    benches = [path for path in sorted(FOLDER.glob("*.py")) if _defines_run(path)]
    assert len(benches) >= 6
    for path in benches:
        assert path.stem.replace("_", "-") in main.NAMES
        said = ast.get_docstring(ast.parse(path.read_text()))
        assert said
        assert said.splitlines()[0].endswith(".")
