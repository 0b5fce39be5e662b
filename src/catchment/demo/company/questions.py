"""What the company wants to know, as SQL over the tables that its calls become."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files

from catchment.demo.company.calls import stamp


@dataclass(frozen=True, slots=True)
class Question:
    """A question, how to read its answer (one line), and the SQL for DuckDB that gives it."""

    name: str
    title: str
    explanation: str
    sql: str


def questions(now: datetime | None = None) -> Iterator[Question]:
    """Each question, in order. `now`, in UTC, stands in for the moment at which they are asked."""
    folder = files("catchment.demo.company") / "questions"
    for file in sorted(folder.iterdir(), key=lambda each: each.name):
        if not file.name.endswith(".sql"):
            continue
        title, explanation, sql = file.read_text(encoding="utf-8").split("\n", 2)
        if now is not None:
            sql = sql.replace("now()", f"TIMESTAMPTZ '{stamp(now)}'")
        name = file.name.removesuffix(".sql").split("_", 1)[1]
        yield Question(name, title.removeprefix("-- "), explanation.removeprefix("-- "), sql.strip())
