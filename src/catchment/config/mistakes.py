"""What is wrong with a project's files: every mistake with its place and its remedy, all of them at once."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from catchment.errors import UsageError


@dataclass(frozen=True, slots=True, order=True)
class Mistake:
    """One mistake. `line` is 0 where none is known; `key` is empty where the whole file is meant."""

    file: str
    line: int
    key: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: " if self.line else f"{self.file}: "
        subject = f"{self.key}: " if self.key else ""
        remedy = f"\n  Try: {self.hint}" if self.hint else ""
        return f"{place}{subject}{self.message}{remedy}"


class ConfigError(UsageError):
    """The project's files have mistakes; `mistakes` has them all, in the order of file and line."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = tuple(sorted(set(mistakes)))
        count = len(self.mistakes)
        title = f"{count} mistakes in the project's files" if count > 1 else "a mistake in the project's files"
        super().__init__("\n".join([title, *map(str, self.mistakes)]))


def did_you_mean(word: str, known: Collection[str]) -> str:
    """The nearest spelling as a hint, else all that is known where that is little, else nothing."""
    nearest = get_close_matches(word, known, n=1)
    if nearest or len(known) == 1:
        return [*nearest, *known][0]
    return "one of " + ", ".join(sorted(known)) if 0 < len(known) <= 12 else ""
