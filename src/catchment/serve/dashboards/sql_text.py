"""What can be said of a dashboard's SQL before any warehouse sees it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from catchment.serve.dashboards.board import Filter
from catchment.sql.choices import Between, Choice, Contains, Equal, Span, Value
from catchment.sql.lexer import tokens
from catchment.sql.splice import SpliceError, names_used, splice

SESSION_NAMES = ("user.email",)
"""What SQL may name of whoever has signed in."""

MAX_CHARACTERS = 50_000

_BEGINNINGS = {"select", "with", "values", "from", "table", "pivot", "unpivot", "summarize", "describe", "show", "("}


def sql_mistakes(sql: str, filters: Mapping[str, Filter] | None, dialect: str) -> Iterator[tuple[int, str]]:
    """Offset and words of each; names go unchecked where it is not known which filters there are (None)."""
    if len(sql) > MAX_CHARACTERS:
        yield 0, f"at most {MAX_CHARACTERS:,} characters of SQL"
        return
    loud = [token for token in tokens(sql, dialect) if not token.is_silent]
    if not loud:
        yield 0, "there is no SQL"
        return
    if loud[0].word not in _BEGINNINGS:
        yield loud[0].start, f"must be one SELECT, not {loud[0].text.upper()[:20]}"
    end = next((at for at, token in enumerate(loud) if token.text == ";"), len(loud))
    second = next((token for token in loud[end:] if token.text != ";"), None)
    if second is not None:
        yield second.start, "more than one SELECT: only one can be shown"
    if filters is not None:
        yield from _name_mistakes(sql, filters, dialect)


def _name_mistakes(sql: str, filters: Mapping[str, Filter], dialect: str) -> Iterator[tuple[int, str]]:
    try:
        splice(sql, nothing_chosen(filters), dialect)
    except SpliceError as error:
        for mistake in error.mistakes:
            yield mistake.offset, mistake.message


def nothing_chosen(filters: Mapping[str, Filter]) -> dict[str, Choice]:
    """What `splice` takes, with nothing chosen in any filter and nobody signed in."""
    return {name: nothing_of(each) for name, each in filters.items()} | {name: Value(None) for name in SESSION_NAMES}


def nothing_of(each: Filter) -> Choice:
    """Nothing chosen in a filter."""
    match each.type:
        case "period":
            return Span()
        case "range":
            return Between()
        case "text":
            return Contains()
    return Equal(many=each.type == "many")


def filters_named(sql: str, filters: Mapping[str, Filter], dialect: str) -> list[str]:
    """The filters that a text names, in their order."""
    named = {name.partition(".")[0] for name, _ in names_used(sql, dialect)}
    return [name for name in filters if name in named]
