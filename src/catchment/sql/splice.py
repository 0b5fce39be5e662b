"""A dashboard's filters in its SQL: `column in $filter`, spliced token by token.

Values are bound under names of their own and never enter the text; whatever is no filter's place stays as it was
written, byte for byte.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from catchment.sql.choices import Between, Choice, Contains, Equal, Span, Value
from catchment.sql.left_side import left_side, with_not
from catchment.sql.lexer import Token, place, tokens

_PARTS = ("start", "end", "grain")
_BARE_BEFORE = frozenset({
    "and", "or", "then", "when", "else", "end", "group", "order", "having", "limit", "offset", "union",
    "intersect", "except", "window", "qualify", "fetch", "from", "where", "as", "asc", "desc", "nulls", ")",
    "]", "}", ",", ";",
})  # fmt: skip
"""Before these a comparison needs no parentheses."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """What is wrong at a place of the text, in words for its author; line and column are from 1."""

    offset: int
    line: int
    column: int
    message: str


class SpliceError(ValueError):
    """Filters are used as they can't be; `mistakes` has all of it, in the order of the text."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        super().__init__("\n".join(f"{each.line}:{each.column}: {each.message}" for each in mistakes))
        self.mistakes = tuple(mistakes)


@dataclass(frozen=True, slots=True)
class Spliced:
    """SQL to be sent, with the values of its `$names`."""

    text: str
    values: dict[str, Any]
    """Of just those names that the text has."""
    used: frozenset[str]
    """The filters that the written text names, also where nothing is chosen."""
    pieces: tuple[tuple[int, int, bool], ...] = field(repr=False)
    """Where each piece begins in `text`, where it did in the written text, and whether it is as it was."""

    def written_offset(self, sent: int) -> int:
        """Where in the written text an offset of the sent text comes from; of spliced text, where its place begins."""
        at, was, is_same = self.pieces[bisect_right(self.pieces, sent, key=lambda piece: piece[0]) - 1]
        return was + (sent - at if is_same else 0)


def splice(sql: str, filters: Mapping[str, Choice], dialect: str = "duckdb") -> Spliced:
    """Put the choices in place of `$name`, for a warehouse that takes parameters as `$name`.

    `column in $f` and `column in ($f)`, also `not in`, become a comparison with what was chosen, or `true` where
    nothing was. Elsewhere `$f` is its value or null. `filters` has what is not chosen too (`Equal()`), and names with
    a dot (`user.email`) as plain values. Raises `SpliceError` with all that is wrong.
    """
    work = _Splicing(sql, filters, dialect)
    work.run()
    if work.mistakes:
        raise SpliceError(work.mistakes)
    text, values, pieces = work.edits.applied(sql)
    return Spliced(text, values, frozenset(work.used), pieces)


def names_used(sql: str, dialect: str = "duckdb") -> list[tuple[str, int]]:
    """Every `$name`, with `.part` where one follows, and its offset."""
    loud = [token for token in tokens(sql, dialect) if not token.is_silent]
    return [
        (token.text[1:] + _part(loud, at), token.start) for at, token in enumerate(loud) if token.kind == "parameter"
    ]


@dataclass(frozen=True, slots=True)
class _Edit:
    start: int
    end: int
    text: str
    values: Mapping[str, Any]


class _Edits:
    """What is to be replaced, and by what; an edit around others takes their place."""

    def __init__(self) -> None:
        self._edits: list[_Edit] = []

    def add(self, start: int, end: int, text: str, values: Mapping[str, Any] | None = None) -> None:
        self._edits.append(_Edit(start, end, text, values or {}))

    def replace_all(self, start: int, end: int, text: str) -> None:
        self._edits = [edit for edit in self._edits if edit.end <= start or edit.start >= end]
        self.add(start, end, text)

    def copy_of(self, between: Sequence[Token]) -> tuple[str, dict[str, Any]]:
        """The text of some tokens as edited until now, its comments and line breaks left out, with its values."""
        start, end = between[0].start, between[-1].end
        inside = [edit for edit in self._edits if edit.start >= start and edit.end <= end]
        by_start = {edit.start: edit for edit in inside if edit.end > edit.start}
        opened: dict[int, str] = {}
        for edit in inside:
            if edit.end == edit.start:
                opened[edit.start] = opened.get(edit.start, "") + edit.text
        text, at, gap = "", start, ""
        for token in between:
            if token.start < at:
                continue  # within what was replaced
            if token.is_silent:
                gap, at = " ", token.end
                continue
            edited = by_start.get(token.start)
            text += gap + opened.get(token.start, "") + (edited.text if edited else token.text)
            at, gap = (edited.end if edited else token.end), ""
        return text, {name: value for edit in inside for name, value in edit.values.items()}

    def applied(self, sql: str) -> tuple[str, dict[str, Any], tuple[tuple[int, int, bool], ...]]:
        """The text with the edits made, its values, and the pieces that it is made of."""
        text: list[str] = []
        values: dict[str, Any] = {}
        pieces: list[tuple[int, int, bool]] = []
        length = at = 0
        for edit in sorted(self._edits, key=lambda edit: (edit.start, edit.end)):
            for piece, was, is_same in ((sql[at : edit.start], at, True), (edit.text, edit.start, False)):
                if piece:
                    pieces.append((length, was, is_same))
                    text.append(piece)
                    length += len(piece)
            values.update(edit.values)
            at = edit.end
        pieces.append((length, at, True))
        text.append(sql[at:])
        return "".join(text), values, tuple(pieces)


class _Splicing:
    def __init__(self, sql: str, filters: Mapping[str, Choice], dialect: str) -> None:
        self.sql = sql
        self.filters = filters
        self.all_tokens = list(tokens(sql, dialect))
        self.loud = [token for token in self.all_tokens if not token.is_silent]
        self.index = {token.start: at for at, token in enumerate(self.all_tokens)}
        self.escape = r"'\\'" if dialect == "redshift" else r"'\'"
        self.edits = _Edits()
        self.mistakes: list[Mistake] = []
        self.used: set[str] = set()
        self._names: dict[tuple[str, str], str] = {}

    def run(self) -> None:
        for at, token in enumerate(self.loud):
            if token.kind == "parameter":
                self._one(at, token)

    def _one(self, at: int, token: Token) -> None:
        name, part = token.text[1:], _part(self.loud, at)
        if name + part in self.filters and part:
            name, part, last = name + part, "", at + 2
        else:
            last = at + (2 if part else 0)
        choice = self.filters.get(name)
        if choice is None:
            self._unknown(token, token.text + part)
            return
        self.used.add(name)
        if part:
            self._part_of(token, name, choice, part[1:], self.loud[last].end)
            return
        first, before = at, at - 1
        if (
            _sign(self.loud, before) == "("
            and _sign(self.loud, last + 1) == ")"
            and _word(self.loud, before - 1) == "in"
        ):
            first, last, before = before, last + 1, before - 1
        if _word(self.loud, before) == "in" and self._is_keyword(before):
            self._predicate(name, choice, token, before, (first, last))
        else:
            self._value(token, name, choice, self.loud[last].end)

    def _is_keyword(self, at: int) -> bool:
        return _sign(self.loud, at - 1) != "."

    # ---- outside of `in` ----------------------------------------------------------------

    def _part_of(self, token: Token, name: str, choice: Choice, part: str, end: int) -> None:
        if not isinstance(choice, Span) or part not in _PARTS:
            is_one = "is a period and has" if isinstance(choice, Span) else "is no period: only they have"
            self._mistake(token, f"${name} {is_one} .start, .end and .grain, and no .{part}")
            return
        self._bind(token.start, end, name, part, getattr(choice, part))

    def _value(self, token: Token, name: str, choice: Choice, end: int) -> None:
        match choice:
            case Value(value):
                pass
            case Equal(values, _, False):
                value = values[0] if values else None
            case Contains(text):
                value = text or None
            case Equal():
                self._mistake(token, f"${name} may be several values: write `column in ${name}`")
                return
            case Span():
                self._mistake(token, f"${name} is a period: write `column in ${name}`, or ${name}.start, .end, .grain")
                return
            case Between():
                self._mistake(token, f"${name} is a range: write `column in ${name}`")
                return
        self._bind(token.start, end, name, "", value)

    def _bind(self, start: int, end: int, name: str, part: str, value: Any) -> None:
        bound = self._name(name, part)
        self.edits.add(start, end, f"${bound}", {bound: value})

    def _name(self, name: str, part: str, wanted: str | None = None) -> str:
        """What a value is bound as; `wanted` but for one that another value has."""
        key = (name, part)
        if key not in self._names:
            bound = wanted or (f"{name}_{part}" if part else name).replace(".", "_")
            taken = {each.lower() for each in self._names.values()}
            while bound.lower() in taken:
                bound += "_"
            self._names[key] = bound
        return self._names[key]

    # ---- column in $f ---------------------------------------------------------------------

    def _predicate(self, name: str, choice: Choice, token: Token, keyword: int, listed: tuple[int, int]) -> None:
        negated = _word(self.loud, keyword - 1) == "not" and self._is_keyword(keyword - 1)
        left_end = keyword - (1 if negated else 0)
        first = left_side(self.loud, left_end)
        if first == left_end:
            self._mistake(token, f"nothing stands before `in ${name}`: write `column in ${name}`")
            return
        last = listed[1]
        compared = _Compared(self, first, left_end, keyword, listed, negated)
        match choice:
            case Value(value):
                compared.listed({self._name(name, ""): value})
            case Equal(values, null) if values or null:
                compared.equal(name, values, null)
            case Span(start, end) if start is not None or end is not None:
                compared.bounds((">=", name, "start", start), ("<", name, "end", end))
            case Between(low, high) if low is not None or high is not None:
                compared.bounds((">=", name, "min", low), ("<=", name, "max", high))
            case Contains(text) if text:
                compared.contains(name, text)
            case _:
                around, until = with_not(self.loud, first, last)
                self.edits.replace_all(self.loud[around].start, self.loud[until].end, "true")

    # ---- what is wrong --------------------------------------------------------------------

    def _unknown(self, token: Token, written: str) -> None:
        near = get_close_matches(written[1:], list(self.filters), 1)
        said = f"did you mean ${near[0]}?" if near else f"filters: {', '.join(sorted(self.filters)) or 'none'}"
        self._mistake(token, f"{written} is no filter here; {said}")

    def _mistake(self, token: Token, message: str) -> None:
        self.mistakes.append(Mistake(token.start, *place(self.sql, token.start), message))


class _Compared:
    """One `column in $f` on its way to be a comparison: only `in`, `$f` and what stands around them change."""

    def __init__(
        self, work: _Splicing, first: int, left_end: int, keyword: int, listed: tuple[int, int], negated: bool
    ) -> None:
        self._work = work
        self._loud = work.loud
        self._first = first
        self._left_end = left_end
        self._keyword = keyword
        self._listed = listed
        self._negated = negated

    def equal(self, name: str, values: Sequence[Any], null: bool) -> None:
        bound = {self._work._name(name, str(at), f"{name}_{at}".replace(".", "_")): v for at, v in enumerate(values)}
        if not null:
            self.listed(bound)
        elif not values:
            self._operator("is not" if self._negated else "is")
            self._compare("null", {})
        else:
            also = "and {} is not null" if self._negated else "or {} is null"
            copied, copied_values = self._left()
            text = f"{_list(bound)} {also.format(copied)}"
            self._around(text, {**bound, **copied_values})

    def listed(self, bound: Mapping[str, Any]) -> None:
        self._write(_list(bound), bound)

    def bounds(self, low: tuple[str, str, str, Any], high: tuple[str, str, str, Any]) -> None:
        given = [bound for bound in (low, high) if bound[3] is not None]
        names = [self._work._name(name, part) for _, name, part, _ in given]
        values = dict(zip(names, (bound[3] for bound in given), strict=True))
        text = f"${names[0]}"
        self._operator(given[0][0])
        if len(given) == 2:
            copied, copied_values = self._left()
            text += f" and {copied} {given[1][0]} ${names[1]}"
            values |= copied_values
        if self._negated:
            self._around(f"{text})", values, prefix="(not (")
        elif len(given) == 2:
            self._around(text, values)
        else:
            self._compare(text, values)

    def contains(self, name: str, text: str) -> None:
        escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        bound = self._work._name(name, "pattern", name)
        written = f"${bound} escape {self._work.escape}"
        self._operator("not ilike" if self._negated else "ilike")
        self._compare(written, {bound: f"%{escaped}%"})

    def _compare(self, text: str, values: Mapping[str, Any]) -> None:
        """In parentheses where something follows that might bind as closely."""
        after = self._listed[1] + 1
        if after >= len(self._loud) or self._loud[after].word in _BARE_BEFORE:
            self._write(text, values)
        else:
            self._around(text, values)

    def _left(self) -> tuple[str, dict[str, Any]]:
        index = self._work.index
        start = index[self._loud[self._first].start]
        end = index[self._loud[self._left_end - 1].start] + 1
        return self._work.edits.copy_of(self._work.all_tokens[start:end])

    def _operator(self, operator: str) -> None:
        """In place of `in`, or of the whole of `not in`."""
        self._work.edits.add(self._loud[self._left_end].start, self._loud[self._keyword].end, operator)

    def _write(self, text: str, values: Mapping[str, Any]) -> None:
        first, last = self._listed
        self._work.edits.add(self._loud[first].start, self._loud[last].end, text, values)

    def _around(self, text: str, values: Mapping[str, Any], prefix: str = "(") -> None:
        start = self._loud[self._first].start
        self._work.edits.add(start, start, prefix)
        self._write(f"{text})", values)


def _list(bound: Mapping[str, Any]) -> str:
    return f"({', '.join(f'${name}' for name in bound)})"


def _part(loud: Sequence[Token], at: int) -> str:
    """`.name` right behind a parameter, or nothing."""
    if at + 2 < len(loud) and loud[at + 1].text == "." and loud[at + 2].kind == "word":
        touches = loud[at].end == loud[at + 1].start and loud[at + 1].end == loud[at + 2].start
        return f".{loud[at + 2].text}" if touches else ""
    return ""


def _sign(loud: Sequence[Token], at: int) -> str:
    return loud[at].text if 0 <= at < len(loud) and loud[at].kind == "sign" else ""


def _word(loud: Sequence[Token], at: int) -> str:
    return loud[at].word if 0 <= at < len(loud) else ""
