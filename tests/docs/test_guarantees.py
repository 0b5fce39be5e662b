"""Every test that docs/guarantees.md calls as its witness exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMED = re.findall(r"`([\w/]+\.py)::(\w+)`", (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8"))


def test_each_promise_has_one() -> None:
    page = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
    promises = re.split(r"^## ", page, flags=re.M)[1:6]
    assert [section.split(".")[0] for section in promises] == ["1", "2", "3", "4", "5"]
    assert all(".py::test_" in section for section in promises)


def test_each_line_of_the_table_of_retries_has_one() -> None:
    page = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
    section = re.split(r"^## ", page.partition("## A client that sends again")[2], flags=re.M)[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")][1:]
    assert len(lines) > 10
    assert [line for line in lines if not re.search(r"\| `[\w/]+\.py::test_\w+` \|$", line)] == []


def test_each_line_of_the_table_of_queues_has_one() -> None:
    page = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
    section = re.split(r"^## ", page.partition("## What was done to queues")[2], flags=re.M)[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")][1:]
    assert len(lines) > 20
    assert [line for line in lines if not re.search(r"\| `[\w/]+\.py::test_\w+` \|$", line)] == []
    for kind in ("RabbitMQ", "Kafka", "SQS"):
        assert any(f"| {kind} |" in line for line in lines)


@pytest.mark.parametrize(("file", "test"), NAMED, ids=[test for _, test in NAMED])
def test_it_exists(file: str, test: str) -> None:
    path = ROOT / "src" / "catchment" / file if file.startswith("testing/") else ROOT / "tests" / file
    assert f"def {test}(" in path.read_text(encoding="utf-8")
