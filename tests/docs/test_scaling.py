"""The tables of docs/scaling.md are those that its script works out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_the_table_is_the_scripts() -> None:
    made = subprocess.run(
        [sys.executable, DOCS / "capacity.py"], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert made.count("\n") > 10
    assert made in (DOCS / "scaling.md").read_text(encoding="utf-8")
