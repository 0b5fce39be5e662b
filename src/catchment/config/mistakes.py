"""What is wrong with a project's files: every mistake with its place and its remedy, all of them at once."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from catchment.errors import UsageError


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake. `line` and `column` are 0 where none is known; `key` is empty where the whole file is meant, or a
    place in it."""

    file: str
    line: int
    key: str
    message: str
    hint: str = ""
    column: int = 0

    @property
    def order(self) -> tuple[str, int, int, str, str]:
        """Mistakes are said in this order: by file and place."""
        return (self.file, self.line, self.column, self.key, self.message)

    def __str__(self) -> str:
        numbers = [number for number in (self.line, self.column) if number]
        place = ":".join([self.file, *map(str, numbers)]) + ": "
        subject = f"{self.key}: " if self.key else ""
        remedy = f"\n  Try: {self.hint}" if self.hint else ""
        return f"{place}{subject}{self.message}{remedy}"


class ConfigError(UsageError):
    """The project's files have mistakes; `mistakes` has them all, in the order of file and line."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = tuple(in_order(mistakes))
        count = len(self.mistakes)
        title = f"{count} mistakes in the project's files" if count > 1 else "a mistake in the project's files"
        super().__init__("\n".join([title, *map(str, self.mistakes)]))


def in_order(mistakes: Iterable[Mistake]) -> list[Mistake]:
    """Each once, by file and place."""
    return sorted(set(mistakes), key=lambda mistake: mistake.order)


def did_you_mean(word: str, known: Collection[str]) -> str:
    """The nearest spelling as a hint, else all that is known where that is little, else nothing."""
    nearest = get_close_matches(word, known, n=1)
    if nearest or len(known) == 1:
        return [*nearest, *known][0]
    return "one of " + ", ".join(sorted(known)) if 0 < len(known) <= 12 else ""
