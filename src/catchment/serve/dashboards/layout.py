"""Where front matter, prose and fences lie in a dashboard's file, line by line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

LANGUAGES = ("sql", "vega-lite")
"""The languages of fences that are ours; others are code in the prose."""

_OPENING = re.compile(r" {0,3}(?P<marks>`{3,}|~{3,})[ \t]*(?P<language>[^\s`]*)(?P<rest>[^`]*)\Z")
_COMMENT = re.compile(r" {0,3}<!--")
_FRONT_END = re.compile(r"(?:---|\.\.\.)[ \t]*\Z")


@dataclass(frozen=True, slots=True)
class FrontLines:
    """The front matter: its YAML is the lines from `start` (from 1) and before `end`; `body` is the line behind."""

    start: int
    end: int
    body: int
    is_closed: bool


@dataclass(frozen=True, slots=True)
class FenceLines:
    """A fence: lines `start` to `end`, both with backticks; where it is not closed, `end` is its last line."""

    start: int
    end: int
    language: Literal["sql", "vega-lite"]
    info: int
    """Where, in its first line, what stands behind the language begins."""
    is_closed: bool


@dataclass(frozen=True, slots=True)
class ProseLines:
    """Prose: lines `start` to `end`, both in, the first and last of them not blank."""

    start: int
    end: int


def front_lines(lines: list[str]) -> FrontLines | None:
    """Where the front matter is; None where the file does not begin with a line of ---."""
    if not lines or lines[0].rstrip() != "---":
        return None
    first_other = None  # where the prose begins, should no line of --- come
    for number, line in enumerate(lines[1:], 2):
        if _FRONT_END.match(line):
            return FrontLines(2, number, number + 1, True)
        if first_other is None and not line.strip():
            first_other = number
        if _OPENING.match(line):
            first_other = first_other or number
            break
    body = first_other or len(lines) + 1
    return FrontLines(2, body, body, False)


def body_parts(lines: list[str], first: int) -> Iterator[FenceLines | ProseLines]:
    """Fences and the prose between them, from the line `first` on."""
    prose_start = number = first
    while number <= len(lines):
        opening = _OPENING.match(lines[number - 1])
        if opening is None:
            number = _comment_end(lines, number) + 1
            continue
        marks, language = opening["marks"], opening["language"].lower()
        if language not in LANGUAGES:
            number = _foreign_end(lines, number, marks) + 1
            continue
        yield from _prose(lines, prose_start, number - 1)
        end, is_closed = _end(lines, number, marks)
        name: Literal["sql", "vega-lite"] = "sql" if language == "sql" else "vega-lite"
        yield FenceLines(number, end, name, opening.end("language"), is_closed)
        prose_start = number = end + 1
    yield from _prose(lines, prose_start, len(lines))


def _prose(lines: list[str], start: int, end: int) -> Iterator[ProseLines]:
    while start <= end and not lines[start - 1].strip():
        start += 1
    while end >= start and not lines[end - 1].strip():
        end -= 1
    if start <= end:
        yield ProseLines(start, end)


def _end(lines: list[str], start: int, marks: str) -> tuple[int, bool]:
    """A fence's last line. The first line of another fence of ours ends it too: nothing in SQL looks like one."""
    for number in range(start + 1, len(lines) + 1):
        line = lines[number - 1]
        if _closes(line, marks):
            return number, True
        opening = _OPENING.match(line)
        if opening and opening["language"].lower() in LANGUAGES:
            return number - 1, False
    return len(lines), False


def _foreign_end(lines: list[str], start: int, marks: str) -> int:
    """The last line of code in the prose; as Markdown has it, the file's where it is not closed."""
    for number in range(start + 1, len(lines) + 1):
        if _closes(lines[number - 1], marks):
            return number
    return len(lines)


def _closes(line: str, marks: str) -> bool:
    stripped = line.strip()
    indent = len(line) - len(line.lstrip(" "))
    return indent < 4 and len(stripped) >= len(marks) and stripped == marks[0] * len(stripped)


def _comment_end(lines: list[str], start: int) -> int:
    """The line on which a comment that begins on this one ends; the line itself where none begins."""
    if not _COMMENT.match(lines[start - 1]):
        return start
    for number in range(start, len(lines) + 1):
        if "-->" in lines[number - 1]:
            return number
    return len(lines)
