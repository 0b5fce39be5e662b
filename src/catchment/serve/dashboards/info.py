"""The first line of a fence, behind its language: KIND [id] ["Title"] key=value key="a b" flag."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from catchment.serve.dashboards.board import Kind, Link, Options
from catchment.serve.dashboards.options import CHARTS, KINDS, OptionOf, options_of
from catchment.serve.dashboards.spelling import listed, meant, nearest

Note = Callable[[int, str], None]
"""Takes a mistake: its offset in the line, and what it is."""

MAX_LINE = 2_000

_ID = re.compile(r"[A-Za-z_][\w-]*\Z")
_QUERY_ID = re.compile(r"[a-z_][a-z0-9_]*\Z")


@dataclass(frozen=True, slots=True)
class Word:
    """One word: `key` as far as a `=` outside of quotes, `value` behind it (None without `=`), quotes taken off."""

    key: str
    value: str | None
    start: int
    is_quoted: bool

    @property
    def text(self) -> str:
        """The word as it would be said in an error."""
        return self.key if self.value is None else f"{self.key}={self.value}"


@dataclass(slots=True)
class Info:
    """What a first line says. `kind` and `id` are None where it says none, or none that exists."""

    kind: Kind | None = None
    id: str | None = None
    title: str | None = None
    width: int | None = None
    options: Options = field(default_factory=Options)
    offsets: dict[str, int] = field(default_factory=dict)
    """Where kind, id, title and each option begins in the line."""


def read_info(line: str, start: int, kind: Kind | None, filters: Mapping[str, str] | None, note: Note) -> Info:
    """Read the line from `start` on, which is behind the language. `kind` is given where the language is one.

    `filters` has their types by name; None where it is not known which there are.
    """
    info = Info(kind=kind)
    if len(line) > MAX_LINE:
        note(start, f"at most {MAX_LINE:,} characters in a fence's first line")
        return info
    words = split(line, start, note)
    if kind is None:
        words = _kind(words, info, start, note)
    reading = _Reading(info, filters, note)
    for at, word in enumerate(words):
        reading.take(word, is_first=at == 0)
    reading.finish()
    return info


def _kind(words: list[Word], info: Info, end: int, note: Note) -> list[Word]:
    """Takes the kind from the words, and returns the others."""
    if not words or words[0].is_quoted or words[0].value is not None:
        note(words[0].start if words else end, f"a kind is missing{listed(KINDS, 'kinds')}")
        return words
    word, *others = words
    info.offsets["kind"] = word.start
    if word.key in KINDS:
        info.kind = cast("Kind", word.key)
    else:
        near = nearest(word.key, KINDS)
        remedy = f"; did you mean {near}?" if near else listed(KINDS, "kinds")
        note(word.start, f"no kind '{word.key}'{remedy}")
    return others


class _Reading:
    """The words behind the kind, taken one after another."""

    def __init__(self, info: Info, filters: Mapping[str, str] | None, note: Note) -> None:
        self._info = info
        self._filters = filters
        self._note = note
        self._known = options_of(info.kind) if info.kind else {}
        self._read: dict[str, Any] = {}
        self._of_columns: dict[str, dict[str, Any]] = {}

    def take(self, word: Word, is_first: bool) -> None:
        if word.is_quoted and word.value is None:
            self._title(word)
        elif word.value is None and not self._is_flag(word.key):
            self._bare(word, is_first)
        elif self._info.kind is not None:
            self._option(word)

    def finish(self) -> None:
        """All words are taken: the options together."""
        read, info = self._read, self._info
        has_series = "color" in read or len(read.get("y", ())) > 1
        if info.kind in CHARTS and read.get("compare") and has_series:
            self._note(info.offsets["compare"], "compare: only a chart of one series can be compared")
        info.width = read.pop("width", None)
        links = tuple(Link(column, template) for column, template in self._of_columns.get("link", {}).items())
        bars = tuple(column for column, is_on in self._of_columns.get("bar", {}).items() if is_on)
        info.options = Options(**read, links=links, bars=bars)

    def _title(self, word: Word) -> None:
        if self._info.title is not None:
            self._note(word.start, f'a second title "{word.key}"; an option\'s value stands in quotes behind its =')
            return
        self._info.title = word.key
        self._info.offsets["title"] = word.start

    def _is_flag(self, key: str) -> bool:
        option = self._known.get(key.partition(".")[0])
        return option is not None and option.flag is not None and option.of_column == ("." in key)

    def _bare(self, word: Word, is_first: bool) -> None:
        info = self._info
        if is_first and (_ID if info.kind != "query" else _QUERY_ID).match(word.key):
            info.id = word.key
            info.offsets["id"] = word.start
        elif is_first and info.kind == "query" and _ID.match(word.key):
            self._note(word.start, f"'{word.key}' can be no table's name: lower-case letters, digits and _")
        elif info.kind is not None:
            self._note(word.start, f"what is '{word.key}'?{self._remedy(word.key)}")

    def _remedy(self, word: str) -> str:
        if word[:1] in {"“", "”", "„", "'", "‘", "’", "«"}:
            return ' A title stands in straight quotes: "…"'
        near = nearest(word, self._known)
        if near is not None:
            return f" Did you mean {near}?"
        return " A title stands in quotes, an id first; options are written key=value"

    def _option(self, word: Word) -> None:
        info = self._info
        name, dot, column = word.key.partition(".")
        option = self._known.get(name)
        if option is None or option.of_column != bool(dot):
            self._unknown(word, option)
            return
        if word.key in info.offsets:
            self._note(word.start, f"{word.key} stands twice")
            return
        info.offsets[word.key] = word.start
        value = word.value if word.value is not None else option.flag
        assert value is not None, "a word without a value is a flag"
        if option.of_column and not column:
            self._note(word.start, f"{word.key}: a column's name stands behind the dot")
            return
        try:
            read = option.read(value)
        except ValueError as error:
            self._note(word.start, f"{word.text}: {_expected(option, str(error))}")
            return
        if name == "click" and self._filters is not None and value not in self._filters:
            self._note(word.start, f"click={value}: no filter '{value}'{meant_filter(value, self._filters)}")
            return
        if option.of_column:
            self._of_columns.setdefault(name, {})[column] = read
        else:
            self._read[name] = read

    def _unknown(self, word: Word, option: OptionOf | None) -> None:
        kind = self._info.kind
        if option is not None:
            written = f"{option.name}.COL" if option.of_column else option.name
            self._note(word.start, f"{word.key} is written {written}{'=' + option.written if option.written else ''}")
            return
        if not self._known:
            self._note(word.start, f"no option '{word.key}' for {kind}: it has none")
            return
        names = {f"{each.name}.COL" if each.of_column else each.name for each in self._known.values()}
        near = nearest(word.key.partition(".")[0], self._known)
        remedy = f"; did you mean {near}?" if near else f"; options: {', '.join(sorted(names))}"
        self._note(word.start, f"no option '{word.key}' for {kind}{remedy}")


def meant_filter(word: str, filters: Mapping[str, str]) -> str:
    """`; did you mean …?`, else all filters, else that there are none."""
    if not filters:
        return "; this dashboard has no filters"
    return meant(word, filters, "filters")


def _expected(option: OptionOf, error: str) -> str:
    return error if error.startswith(("no ", "at most")) else f"must be {error}"


def split(line: str, start: int, note: Note) -> list[Word]:
    """The words of a line, quotes taken off. In quotes a backslash stands before a quote or another backslash."""
    words: list[Word] = []
    at = start
    while at < len(line):
        if line[at].isspace():
            at += 1
            continue
        word, at = _word(line, at, note)
        words.append(word)
    return words


def _word(line: str, start: int, note: Note) -> tuple[Word, int]:
    key: str | None = None
    text = ""
    at = start
    while at < len(line) and not line[at].isspace():
        if line[at] == '"':
            quoted, end = _quoted(line, at)
            if end is None:
                note(at, 'a quote is not closed: " ends it')
                end = len(line)
            text, at = text + quoted, end
        elif line[at] == "=" and key is None and at > start:
            key, text, at = text, "", at + 1
        else:
            text, at = text + line[at], at + 1
    is_quoted = line[start] == '"'
    return (Word(text, None, start, is_quoted) if key is None else Word(key, text, start, is_quoted)), at


def _quoted(line: str, start: int) -> tuple[str, int | None]:
    """The text in quotes, and where it ends; None if it does not."""
    text, at = "", start + 1
    while at < len(line):
        if line[at] == "\\" and line[at + 1 : at + 2] in {'"', "\\"}:
            text, at = text + line[at + 1], at + 2
        elif line[at] == '"':
            return text, at + 1
        else:
            text, at = text + line[at], at + 1
    return text.rstrip(), None
