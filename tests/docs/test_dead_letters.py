from __future__ import annotations

from pathlib import Path

from catchment.record import REASONS

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "mend-dead-letters.md"


def test_every_reason_is_on_the_page_as_the_code_has_it() -> None:
    page = PAGE.read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert rows == [f"| `{reason}` | {meaning} |" for reason, meaning in REASONS.items()]
