"""What a reader has chosen: from the page's address, for its SQL, and as an address again.

In an address an absent filter has its default; `f=` is nothing, `f=~null` null, `f=~` the empty text, and a value
that begins with `~` has another one before it. A period's grain is `f.grain=week`, where it is not the usual one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import cast
from urllib.parse import urlencode

from catchment.serve.dashboards.board import Board, Choice, Filter, Range, Scalar
from catchment.serve.dashboards.clock import UNITS
from catchment.serve.dashboards.periods import Period, parse_period
from catchment.serve.dashboards.spelling import joined, meant, nearest
from catchment.serve.dashboards.values import parse_date, parse_number, parse_range, range_text, same_value, value_text
from catchment.sql.choices import Between, Contains, Equal, Span, Value
from catchment.sql.choices import Choice as ForSql

MAX_VALUES = 1000
MAX_TEXT = 500
MAX_TOLD = 12
NULL, EMPTY, ESCAPE = "~null", "~", "~"
GRAIN = ".grain"


class AddressError(ValueError):
    """An address that this dashboard does not have; `texts` say, one by one, what is wrong and what is allowed."""

    def __init__(self, texts: Sequence[str]) -> None:
        super().__init__("\n".join(texts))
        self.texts = tuple(texts)


@dataclass(frozen=True, slots=True)
class Listed:
    """What there is to choose in a filter; where it is not all of it (a search's), other values may be chosen too."""

    choices: tuple[Choice, ...] = ()
    is_complete: bool = True


@dataclass(frozen=True, slots=True)
class Selection:
    """What is chosen in one filter; nothing where all is empty."""

    filter: Filter
    period: Period | None = None
    values: tuple[Scalar, ...] = ()
    range: Range | None = None
    text: str = ""
    listed: Listed = field(default_factory=Listed)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is chosen."""
        return not (self.values or self.range or self.text or (self.period))

    @property
    def label(self) -> str:
        """What is chosen, as people read it; empty for nothing."""
        if self.filter.type == "period":
            return self.period.label if self.period else "All time"
        if self.filter.type == "range":
            return range_text(self.range).replace("..", " – ").strip() if self.range else ""
        if self.filter.type == "text":
            return self.text
        return ", ".join(map(self.label_of, self.values))

    def label_of(self, value: Scalar) -> str:
        """What one of the filter's values is called."""
        known = (choice.label for choice in self.listed.choices if same_value(choice.value, value))
        return next(known, "null" if value is None else value_text(value))

    def for_sql(self, previous: bool = False) -> ForSql:
        """As `splice` takes it; with `previous` a period is the one before."""
        match self.filter.type:
            case "period":
                if self.period is None:
                    return Span(grain="month")
                span = self.period.previous if previous and self.period.previous else self.period
                return Span(span.start, span.end, self.period.grain)
            case "range":
                return Between(self.range.low, self.range.high) if self.range else Between()
            case "text":
                return Contains(self.text)
        values = tuple(value for value in self.values if value is not None)
        return Equal(values, null=len(values) < len(self.values), many=self.filter.type == "many")

    def texts(self) -> tuple[str, ...]:
        """As an address has it, when it has it."""
        if self.filter.type == "period":
            return (self.period.text,) if self.period else ("",)
        if self.filter.type == "range":
            return (range_text(self.range),) if self.range else ("",)
        if self.filter.type == "text":
            return (self.text,)
        return tuple(map(address_text, self.values)) or ("",)


@dataclass(frozen=True, slots=True)
class Dropped:
    """Values that a parent filter's choice made impossible."""

    filter: Filter
    labels: tuple[str, ...]
    parents: tuple[str, ...]

    @property
    def text(self) -> str:
        """For the page: `Repository: ios and web are not there with what Organization has chosen, and left out`."""
        verb = "is" if len(self.labels) == 1 else "are"
        has = "has" if len(self.parents) == 1 else "have"
        because = f" with what {joined(self.parents)} {has} chosen" if self.parents else ""
        return f"{self.filter.label}: {joined(self.labels)} {verb} not there{because}, and left out"


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is chosen in all filters, by name, in the order of the file."""

    selections: Mapping[str, Selection]
    dropped: tuple[Dropped, ...] = ()

    @property
    def waiting(self) -> tuple[Filter, ...]:
        """Required filters in which nothing is chosen: the tiles wait for them."""
        return tuple(each.filter for each in self.selections.values() if each.filter.required and each.is_empty)

    @property
    def period(self) -> Period | None:
        """The first period."""
        return next((each.period for each in self.selections.values() if each.filter.type == "period"), None)

    def for_sql(self, email: str | None, previous: bool = False) -> dict[str, ForSql]:
        """What `splice` takes; `email` is that of whoever has signed in. With `previous`, of the period before."""
        chosen = {name: each.for_sql(previous) for name, each in self.selections.items()}
        return {**chosen, "user.email": Value(email)}

    def pairs(self, change: Mapping[str, Sequence[str]] = {}) -> list[tuple[str, str]]:
        """The address: only what is not the default. `change` has other texts of some filters; `()` is the default."""
        pairs: list[tuple[str, str]] = []
        for name, selection in self.selections.items():
            usual = _default(selection.filter)
            texts = tuple(change[name]) if name in change else selection.texts()
            if texts and texts != usual:
                pairs += [(name, text) for text in texts]
            period = selection.period
            if period is not None and period.grain != period.usual_grain and name not in change:
                pairs.append((name + GRAIN, period.grain))
        return pairs

    def address(self, change: Mapping[str, Sequence[str]] = {}) -> str:
        """`?queue=Cards&queue=Other`, or nothing where all has its default."""
        pairs = self.pairs(change)
        return f"?{urlencode(pairs, safe=':,~/')}" if pairs else ""


ListOf = Callable[[Filter, Mapping[str, ForSql]], Listed]
"""What there is to choose in a filter with `from`, when the filters that its SQL names have chosen this."""


def choose(
    board: Board, pairs: Iterable[tuple[str, str]], now: datetime, list_of: ListOf, email: str | None = None
) -> Chosen:
    """Read an address. `now` is in the project's zone; `list_of` is called for filters with `from`, parents first.

    Raises `AddressError` with everything that is wrong.
    """
    given, mistakes = _by_name(board, pairs)
    selections: dict[str, Selection] = {}
    dropped: list[Dropped] = []
    for name in in_order(board):
        each = board.filters[name]
        texts = given.get(name)
        parents = [selections[parent] for parent in each.parents if parent in selections]
        listed = Listed(each.options)
        if each.source is not None:
            listed = list_of(each, {**{at.filter.name: at.for_sql() for at in parents}, "user.email": Value(email)})
        narrowing = [parent.filter.label for parent in parents if not parent.is_empty]
        try:
            if each.type == "period":
                selections[name] = _period(each, texts, given.get(name + GRAIN), now)
            elif each.type in {"one", "many"}:
                selections[name], lost = _values(each, texts, listed, can_drop=bool(narrowing))
                dropped += [Dropped(each, lost, tuple(narrowing))] if lost else []
            else:
                selections[name] = _free(each, texts)
        except ValueError as error:
            mistakes.append(str(error))
            selections[name] = Selection(each)
    if mistakes:
        raise AddressError(mistakes)
    return Chosen({name: selections[name] for name in board.filters}, tuple(dropped))


def in_order(board: Board) -> list[str]:
    """The filters' names, each behind those that its SQL names."""
    order: list[str] = []

    def visit(name: str, above: tuple[str, ...]) -> None:
        if name in order or name in above:
            return
        for parent in board.filters[name].parents:
            visit(parent, (*above, name))
        order.append(name)

    for name in board.filters:
        visit(name, ())
    return order


def address_text(value: Scalar) -> str:
    """A value as an address has it."""
    if value is None:
        return NULL
    text = value_text(value)
    return EMPTY if text == "" else f"{ESCAPE}{text}" if text.startswith(ESCAPE) else text


# ---- from an address ----------------------------------------------------------------------------------


def _by_name(board: Board, pairs: Iterable[tuple[str, str]]) -> tuple[dict[str, list[str]], list[str]]:
    """The address's texts by name, and what is wrong with the names."""
    given: dict[str, list[str]] = {}
    mistakes: list[str] = []
    known = {*board.filters, *(name + GRAIN for name, each in board.filters.items() if each.type == "period")}
    for name, text in pairs:
        if name in known:
            given.setdefault(name, []).append(text)
        elif not board.filters:
            mistakes.append(f"{_shown(name)}: no such filter; this dashboard has none")
        else:
            mistakes.append(f"{_shown(name)}: no such filter{meant(name, board.filters, 'filters')}")
    return given, list(dict.fromkeys(mistakes))


def _period(each: Filter, texts: list[str] | None, grains: list[str] | None, now: datetime) -> Selection:
    text = _only(each, texts) if texts is not None else cast("str | None", each.default) or ""
    grain_text = grains[-1] if grains else ""
    if grain_text and grain_text not in UNITS:
        raise ValueError(f"{each.name}{GRAIN}: no grain '{_shown(grain_text)}'{meant(grain_text, UNITS, 'grains')}")
    if not text:
        return Selection(each)
    try:
        return Selection(each, period=parse_period(text).at(now, grain_text or None))
    except ValueError as error:
        raise ValueError(f"{each.name}: {error}") from None


def _free(each: Filter, texts: list[str] | None) -> Selection:
    """A range or a text."""
    if each.type == "text":
        text = _only(each, texts) if texts is not None else cast("str | None", each.default) or ""
        if len(text) > MAX_TEXT:
            raise ValueError(f"{each.name}: at most {MAX_TEXT} characters")
        return Selection(each, text=text)
    if texts is None:
        return Selection(each, range=cast("Range | None", each.default))
    text = _only(each, texts)
    try:
        return Selection(each, range=parse_range(text) if text else None)
    except ValueError as error:
        raise ValueError(f"{each.name}: {error}") from None


def _values(
    each: Filter, texts: list[str] | None, listed: Listed, can_drop: bool
) -> tuple[Selection, tuple[str, ...]]:
    """The values of a list that are chosen, and what is no longer among it.

    A default that the list does not have is left out too: the data may have moved on since the file was written.
    """
    is_default = texts is None
    if texts is None:
        texts = [address_text(value) for value in cast("tuple[Scalar, ...]", each.default or ())]
    else:
        texts = list(dict.fromkeys(text for text in texts if text))
    if each.type == "one" and len(texts) > 1:
        raise ValueError(f"{each.name}: only one value, not {len(texts)}")
    if len(texts) > MAX_VALUES:
        raise ValueError(f"{each.name}: at most {MAX_VALUES:,} values")
    values: list[Scalar] = []
    lost: list[str] = []
    for text in texts:
        try:
            value = _value(text, listed)
        except ValueError as error:
            if not (is_default or can_drop):
                raise ValueError(f"{each.name}: {error}") from None
            lost.append("null" if text == NULL else _unescaped(text))
            continue
        if not any(same_value(value, other) for other in values):
            values.append(value)
    return Selection(each, values=tuple(values), listed=listed), tuple(lost)


def _value(text: str, listed: Listed) -> Scalar:
    """The value of a list that a text means, typed as the list's are."""
    if text == NULL:
        if listed.is_complete and all(choice.value is not None for choice in listed.choices):
            raise ValueError(f"null is none of {_told(listed)}")
        return None
    plain = _unescaped(text)
    for choice in listed.choices:
        if choice.value is not None and _means(plain, choice.value):
            return choice.value
    if not listed.is_complete:
        return _like(plain, [choice.value for choice in listed.choices if choice.value is not None])
    labels = [value_text(choice.value) for choice in listed.choices if choice.value is not None]
    if len(labels) <= MAX_TOLD:
        raise ValueError(f"'{_shown(plain)}' is none of {_told(listed)}")
    near = nearest(plain, labels)
    remedy = f"; did you mean {near}?" if near else ""
    raise ValueError(f"'{_shown(plain)}' is none of its {len(labels):,} values{remedy}")


def _means(text: str, value: Scalar) -> bool:
    if value_text(value) == text:
        return True
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        try:
            return parse_number(text) == value
        except ValueError:
            return False
    return False


def _like(text: str, samples: Sequence[Scalar]) -> Scalar:
    """The text as a value of the samples' type. Raises ValueError."""
    kinds = {type(value) for value in samples}
    if kinds and kinds <= {int, float, Decimal}:
        return parse_number(text)
    if kinds == {date}:
        return parse_date(text)
    if kinds == {datetime}:
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            raise ValueError(f"'{_shown(text)}' is no time, such as 2026-11-25T12:40:00") from None
    return text


def _only(each: Filter, texts: Sequence[str]) -> str:
    if len(texts) > 1:
        raise ValueError(f"{each.name}: only one value, not {len(texts)}")
    return texts[0].strip()


def _unescaped(text: str) -> str:
    if text == EMPTY:
        return ""
    return text.removeprefix(ESCAPE) if text.startswith(ESCAPE * 2) else text


def _told(listed: Listed) -> str:
    labels = ["null" if choice.value is None else value_text(choice.value) for choice in listed.choices]
    return ", ".join(labels) if labels else "its values: there are none"


def _shown(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}…"


def _default(each: Filter) -> tuple[str, ...]:
    """A filter's default as an address would have it."""
    if each.type == "range":
        return (range_text(each.default),) if isinstance(each.default, Range) else ("",)
    if isinstance(each.default, tuple):
        return tuple(map(address_text, each.default)) or ("",)
    return (cast("str | None", each.default) or "",)


__all__ = [
    "AddressError",
    "Chosen",
    "Dropped",
    "ListOf",
    "Listed",
    "Selection",
    "address_text",
    "choose",
    "in_order",
]
