"""A number, the number of the period before, and its course, all out of one scan.

`select count(*) from t where ts in $period` becomes the same aggregate grouped by (which of the two periods) and by
(which of them, which bucket). As with filters, only tokens are put in: the aggregate and all else stay as written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from catchment.sql.choices import Choice, Span, Value
from catchment.sql.left_side import left_side
from catchment.sql.lexer import Token, tokens
from catchment.sql.splice import Spliced, names_used, splice
from catchment.sql.trees import query_tree

if TYPE_CHECKING:
    from sqlglot import exp

NOW, BEFORE = 1, 0
_ENDS_WHERE = frozenset({
    "group", "having", "order", "limit", "offset", "fetch", "union", "intersect", "except", "window", "qualify",
    "for", "using", "tablesample",
})  # fmt: skip
_AGGREGATES = frozenset({
    "approx_count_distinct", "approx_quantile", "arg_max", "arg_max_null", "arg_min", "arg_min_null", "bit_xor",
    "entropy", "favg", "fsum", "geomean", "geometric_mean", "kahan_sum", "kurtosis", "kurtosis_pop", "mad",
    "product", "quantile", "quantile_cont", "quantile_disc", "regr_slope", "reservoir_quantile", "sem",
    "skewness", "sumkahan", "wavg", "weighted_avg",
})  # fmt: skip
"""That sqlglot takes for functions of no known kind."""


@dataclass(frozen=True, slots=True)
class Scanned:
    """What came of one scan."""

    value: Any
    """Of the period; None also where `is_empty`: ask plainly then, since a count of nothing is 0 and a sum null."""
    is_empty: bool
    """No row of the period was counted."""
    previous: Any
    """Of the period before; None where it had no rows."""
    previous_first: Any
    """The earliest time of the period before that was counted; None where it had no rows."""
    points: tuple[tuple[Any, Any], ...]
    """The start of each bucket of the period that has rows, and its value."""


def one_scan(
    sql: str, filters: Mapping[str, Choice], period: str, previous: Span, dialect: str = "duckdb"
) -> Spliced | None:
    """The statement to be sent, for a number of which `filters[period]` is a bounded `Span` with a grain; None where
    it is not of that form, and goes plainly. Its rows are for `scanned`.

    The form: one aggregate, of one SELECT without GROUP BY, HAVING, ORDER BY or LIMIT, and one `… in $period` that
    must be true in its WHERE, with no other mention of the period. Raises `SpliceError` for other mistakes.
    """
    chosen = filters.get(period)
    if not isinstance(chosen, Span) or None in {chosen.start, chosen.end, chosen.grain, previous.start, previous.end}:
        return None
    found = _parts(sql, period, dialect)
    if found is None or not _is_aggregate(sql, dialect):
        return None
    time, select_end, predicate, end = found
    part = f"case when {time} >= $scan.start then {NOW} else {BEFORE} end"
    columns = f", {part}, date_trunc($scan.grain, {time}), min({time}) "
    whole = f"{time} >= $scan.before_start and {time} < $scan.end"
    bounds = f"({whole} and ({time} < $scan.before_end or {time} >= $scan.start))"
    written = (
        f"{sql[:select_end]}{columns}{sql[select_end : predicate[0]]}{bounds}{sql[predicate[1] : end]}\n"
        "group by grouping sets ((2), (2, 3)) order by 2, 3 nulls first"
    )
    values = {
        "start": chosen.start, "end": chosen.end, "grain": chosen.grain,
        "before_start": previous.start, "before_end": previous.end,
    }  # fmt: skip
    scan = {f"scan.{name}": Value(value) for name, value in values.items()}
    spliced = splice(written, {**filters, **scan}, dialect)
    used = frozenset(name for name in spliced.used if name not in scan) | {period}
    return Spliced(spliced.text, spliced.values, used, spliced.pieces)


def scanned(rows: Iterable[Sequence[Any]]) -> Scanned:
    """What the rows of a `one_scan` statement say."""
    now = before = None
    points: list[tuple[Any, Any]] = []
    for value, part, bucket, first in rows:
        if bucket is not None:
            points += [(bucket, value)] if part == NOW else []
        elif part == NOW:
            now = (value, first)
        else:
            before = (value, first)
    return Scanned(
        value=now[0] if now else None,
        is_empty=now is None,
        previous=before[0] if before else None,
        previous_first=before[1] if before else None,
        points=tuple(points),
    )


def _parts(sql: str, period: str, dialect: str) -> tuple[str, int, tuple[int, int], int] | None:
    """The time's text, where the select list ends, where the predicate stands, and where the statement ends."""
    mentions = [name for name, _ in names_used(sql, dialect) if name.partition(".")[0] == period]
    loud = [token for token in tokens(sql, dialect) if not token.is_silent]
    while loud and loud[-1].text == ";":
        loud.pop()
    outer = _outer(loud)
    words = {at: loud[at].word for at in outer}
    at_select = [at for at, word in words.items() if word == "select"]
    if mentions != [period] or len(at_select) != 1 or (words.get(0) not in {"select", "with"}):
        return None
    after = [at for at in outer if at > at_select[0]]
    froms = [at for at in after if words[at] == "from" and loud[at - 1].word != "distinct"]
    wheres = [at for at in after if words[at] == "where"]
    if len(froms) != 1 or len(wheres) != 1 or froms[0] > wheres[0] or froms[0] < at_select[0] + 2:
        return None
    behind = [at for at in after if at > wheres[0]]
    if any(words[at] in _ENDS_WHERE | {"or", ";"} for at in behind) or loud[at_select[0] + 1].word in {
        "distinct",
        "all",
    }:
        return None
    if any(words[at] in {"using", "tablesample"} and loud[at + 1].word != "(" for at in after if at < wheres[0]):
        return None
    return _predicate(sql, loud, set(behind), wheres[0], period, froms[0])


def _predicate(
    sql: str, loud: list[Token], behind: set[int], where: int, period: str, at_from: int
) -> tuple[str, int, tuple[int, int], int] | None:
    for at in behind:
        if loud[at].word != "in" or at + 1 >= len(loud):
            continue
        last = at + 1 if loud[at + 1].kind == "parameter" else at + 3
        named = at + 1 if last == at + 1 else at + 2
        if last >= len(loud) or loud[named].text != f"${period}":
            continue
        first = left_side(loud, at)
        follows = loud[last + 1].word if last + 1 < len(loud) else "and"
        if first == at or loud[first - 1].word not in {"where", "and"} or follows != "and" or first <= where:
            return None
        time = (
            " ".join(token.text for token in loud[first:at])
            if _has_comment(sql, loud[first], loud[at])
            else (sql[loud[first].start : loud[at - 1].end])
        )
        return time, loud[at_from].start, (loud[first].start, loud[last].end), loud[-1].end
    return None


def _has_comment(sql: str, first: Token, end: Token) -> bool:
    return "--" in sql[first.start : end.start] or "/*" in sql[first.start : end.start]


def _outer(loud: list[Token]) -> list[int]:
    """The indexes of the tokens within no parentheses and no `case … end`."""
    found: list[int] = []
    depth = 0
    for at, token in enumerate(loud):
        opens = token.word in {"(", "[", "{", "case"}
        closes = token.word in {")", "]", "}"} or (token.word == "end" and depth > 0)
        depth -= closes
        if depth == 0 and not opens and not closes:
            found.append(at)
        depth += opens
    return found


def _is_aggregate(sql: str, dialect: str) -> bool:
    """Whether the one column is made of aggregates, and of nothing else that differs from row to row."""
    from sqlglot import exp

    tree = query_tree(sql, dialect)
    if not isinstance(tree, exp.Select) or len(tree.expressions) != 1 or tree.args.get("group"):
        return False
    column = tree.expressions[0]
    inner = [node for node in column.walk() if _is_of(node, tree)]
    if any(isinstance(node, exp.Window | exp.Star) and not isinstance(node.parent, exp.Count) for node in inner):
        return False
    if any(isinstance(node, exp.Explode | exp.Unnest) for node in inner):
        return False
    aggregates = [node for node in inner if _aggregates(node)]
    loose = [node for node in inner if isinstance(node, exp.Column) and not _is_within(node, column)]
    return bool(aggregates) and not loose


def _is_of(node: exp.Expr, tree: exp.Select) -> bool:
    from sqlglot import exp

    return node.find_ancestor(exp.Query) is tree


def _aggregates(node: exp.Expr) -> bool:
    from sqlglot import exp

    is_named = isinstance(node, exp.Anonymous) and str(node.this).lower() in _AGGREGATES
    return is_named or isinstance(node, exp.AggFunc | exp.Filter | exp.WithinGroup)


def _is_within(node: exp.Expr, column: exp.Expr) -> bool:
    """Whether a column's name stands within an aggregate."""
    while node is not column and node.parent is not None:
        node = node.parent
        if _aggregates(node):
            return True
    return False
