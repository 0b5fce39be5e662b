"""What may stand at the cursor of a text that is being written."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from catchment.sql.allowed import allowed_functions
from catchment.sql.lexer import Token, tokens
from catchment.sql.scope import Catalogue, Column, Sight, plain, sight
from catchment.sql.statements import statement_at, statements

Kind = Literal["column", "table", "schema", "alias", "function", "keyword"]

KEYWORDS = (
    "select", "from", "where", "group by", "order by", "having", "limit", "offset", "join", "left join",
    "inner join", "full join", "cross join", "on", "using", "as", "and", "or", "not", "in", "is", "null",
    "is not null", "between", "like", "ilike", "case", "when", "then", "else", "end", "distinct", "union all",
    "union", "intersect", "except", "with", "over", "partition by", "filter", "asc", "desc", "nulls last",
    "interval", "true", "false", "exists", "all", "any", "values", "recursive", "lateral", "window", "rows",
    "range", "at time zone", "grouping sets", "rollup", "explain", "escape", "cast",
)  # fmt: skip
_OF_DUCKDB = (
    "qualify", "exclude", "replace", "asof join", "pivot", "unpivot", "summarize", "describe", "group by all",
    "order by all", "using sample",
)  # fmt: skip
_COMMON = (
    "count", "sum", "avg", "min", "max", "median", "date_trunc", "date_part", "date_diff", "extract",
    "coalesce", "nullif", "round", "cast", "lower", "upper", "concat", "length", "substring", "trim", "replace",
    "split_part", "row_number", "rank", "dense_rank", "lag", "lead", "first_value", "last_value", "greatest",
    "least", "now", "string_agg", "quantile_cont", "unnest", "list", "strftime", "generate_series",
    "json_extract_string", "regexp_matches", "abs", "ceil", "floor",
)  # fmt: skip
_NOT_IN_POSTGRES = frozenset(
    {"median", "date_diff", "quantile_cont", "list", "strftime", "json_extract_string", "regexp_matches"}
)
_RESERVED = frozenset({
    "all", "and", "any", "array", "as", "asc", "both", "case", "cast", "check", "collate", "column",
    "constraint", "create", "default", "desc", "describe", "distinct", "do", "else", "end", "except", "false",
    "fetch", "for", "foreign", "from", "grant", "group", "having", "in", "initially", "intersect", "into",
    "lateral", "leading", "limit", "not", "null", "offset", "on", "only", "or", "order", "pivot", "placing",
    "primary", "qualify", "references", "returning", "select", "show", "some", "summarize", "symmetric",
    "table", "then", "to", "trailing", "true", "union", "unique", "unpivot", "user", "using", "variadic",
    "when", "where", "window", "with",
})  # fmt: skip
_AFTER_OPERAND = frozenset({"word", "name", "number", "string", "parameter", "dollar"})
_BEFORE_OPERAND = frozenset({
    "select", "distinct", "all", "where", "and", "or", "not", "on", "by", "having", "when", "then", "else",
    "case", "qualify", "in", "between", "like", "ilike", "is", "as", "using", "limit", "offset", "interval",
    "from", "join", "exists", "filter", "escape", "any",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Suggestion:
    """One thing that may stand there."""

    label: str
    text: str
    """To be put in; quoted where it must be."""
    kind: Kind
    detail: str = ""
    """A column's type, and its table; a table's number of columns."""


class _Candidate(NamedTuple):
    """What may become a suggestion, by how much its place asks for it."""

    rank: int
    label: str
    kind: Kind
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Completion:
    """What to put in place of the text from `start` to `end`; the likeliest first."""

    start: int
    end: int
    suggestions: tuple[Suggestion, ...]


def complete(
    sql: str,
    offset: int,
    catalogue: Catalogue,
    dialect: str = "duckdb",
    *,
    limit: int = 50,
) -> Completion:
    """What may stand at an offset of a text of one or more statements. Nothing in texts, comments and parameters."""
    found = [token for token in tokens(sql, dialect) if token.start < offset]
    last = found[-1] if found else None
    nothing = Completion(offset, offset, ())
    if last is not None and _is_closed_to(last, offset):
        return nothing
    word = last if last is not None and last.kind == "word" and last.end >= offset else None
    start, end = (word.start, word.end) if word else (offset, offset)
    before = [token for token in found if not token.is_silent and token is not word]
    qualifier = _qualifier(before, start)
    prefix = sql[start:offset]
    if not qualifier and not prefix and last is not None and last.kind == "number" and last.end == offset:
        return nothing
    first, inside = _statement(sql, offset, dialect)
    seen = sight(inside, offset - first, catalogue, dialect)
    if qualifier:
        candidates = _qualified(qualifier, seen, catalogue)
    else:
        candidates = _plain([token for token in before if token.start >= first], seen, catalogue, dialect)
    return Completion(start, end, _ranked(candidates, prefix, limit))


def quoted(name: str) -> str:
    """A name as it is written: in quotes where it is a reserved word or no plain one."""
    if re.fullmatch(r"[a-z_][a-z0-9_]*", name) and name not in _RESERVED:
        return name
    return '"' + name.replace('"', '""') + '"'


def _is_closed_to(last: Token, offset: int) -> bool:
    """Whether the offset lies within a text or comment, closed or not, within a name in quotes, or in a `$name`."""
    if last.kind == "parameter" or last.text == "$":
        return offset <= last.end
    if last.kind == "comment" and last.text.startswith("--"):
        return offset <= last.end
    if last.kind in {"comment", "string", "dollar", "name"}:
        return offset < last.end or not _is_whole(last)
    return False


def _is_whole(token: Token) -> bool:
    if token.kind == "comment":
        return token.text.endswith("*/") and len(token.text) >= 4
    if token.kind == "dollar":
        tag = token.text[: token.text.index("$", 1) + 1]
        return len(token.text) >= 2 * len(tag) and token.text.endswith(tag)
    mark = '"' if token.kind == "name" else "'"
    return token.text.count(mark) % 2 == 0


def _qualifier(before: Sequence[Token], start: int) -> list[str]:
    """The names before the dot that stands right before the word."""
    names: list[str] = []
    at = len(before) - 1
    while at > 0 and before[at].text == "." and before[at].end == start and before[at - 1].kind in {"word", "name"}:
        names.insert(0, plain(before[at - 1]))
        start = before[at - 1].start
        at -= 2
    return names


def _statement(sql: str, offset: int, dialect: str) -> tuple[int, str]:
    """Where the statement around the offset begins, and it."""
    found = statement_at(sql, offset, dialect)
    if found is None or found.start > offset:
        return 0, sql
    following = [each.start for each in statements(sql, dialect) if each.start > offset]
    end = following[0] if following else len(sql)
    if ";" in sql[found.end : offset]:
        return offset, ""
    return found.start, sql[found.start : max(found.end, min(end, offset))]


def _qualified(names: Sequence[str], seen: Sight, catalogue: Catalogue) -> list[_Candidate]:
    path = ".".join(names).lower()
    for source in seen.sources:
        if source.columns and path in {source.name.lower(), source.table.lower()}:
            return _columns(source.columns, source.name)
    if path in seen.parts:
        return _columns(seen.parts[path], names[-1])
    of_schema = [table for table in catalogue if table.lower().startswith(f"{path}.")]
    if of_schema:
        return [_Candidate(0, table.partition(".")[2], "table", _size(catalogue[table])) for table in of_schema]
    for table, columns in catalogue.items():
        is_short = len(names) == 1 and not seen.sources and table.lower().rpartition(".")[2] == path
        if table.lower() == path or is_short:
            return _columns(columns, names[-1])
    return []


def _plain(here: Sequence[Token], seen: Sight, catalogue: Catalogue, dialect: str) -> list[_Candidate]:
    words = KEYWORDS + (_OF_DUCKDB if dialect == "duckdb" else ())
    if not here or here[-1].text == ";":
        return [_Candidate(0, word, "keyword") for word in words]
    found: list[_Candidate] = []
    if seen.expects_table:
        found += _tables(0, seen, catalogue)
        schemas = dict.fromkeys(table.partition(".")[0] for table in catalogue if "." in table)
        found += [_Candidate(2, name, "schema") for name in schemas]
        return found + [_Candidate(3, word, "keyword") for word in words]
    of_columns, of_names, of_functions, of_words = (3, 4, 4, 0) if _is_after_operand(here) else (0, 1, 2, 3)
    for source in seen.sources:
        found += _columns(source.columns, source.name, of_columns)
    found += _columns(seen.outputs, "", of_columns)
    found += [_Candidate(of_names, each.name, "alias", each.table) for each in seen.sources if each.name]
    found += [_Candidate(of_functions + more, name, "function") for name, more in _functions(dialect)]
    found += [_Candidate(of_words, word, "keyword") for word in words]
    return found if seen.sources else found + _tables(4, seen, catalogue)


def _columns(columns: Iterable[Column], source: str, rank: int = 0) -> list[_Candidate]:
    behind = f" · {source}" if source else ""
    return [_Candidate(rank, each.name, "column", f"{each.type}{behind}".removeprefix(" · ")) for each in columns]


def _tables(rank: int, seen: Sight, catalogue: Catalogue) -> list[_Candidate]:
    parts = [_Candidate(rank, name, "table", "with") for name in seen.parts]
    return parts + [_Candidate(rank, table, "table", _size(columns)) for table, columns in catalogue.items()]


def _size(columns: Sequence[Column]) -> str:
    return f"{len(columns)} columns"


def _is_after_operand(here: Sequence[Token]) -> bool:
    """Whether an expression has just ended, so that a word of the language follows, most likely."""
    last = here[-1]
    if last.text == "*":  # all columns, or times
        return len(here) < 2 or here[-2].word in _BEFORE_OPERAND | {",", "."}
    return last.text in {")", "]"} or (last.kind in _AFTER_OPERAND and last.word not in _BEFORE_OPERAND)


@functools.cache
def _functions(dialect: str) -> tuple[tuple[str, int], ...]:
    """Each with 0, or 3 for those that few need."""
    common = [name for name in _COMMON if dialect == "duckdb" or name not in _NOT_IN_POSTGRES]
    others = sorted(allowed_functions() - set(common)) if dialect == "duckdb" else []
    return (*((name, 0) for name in common), *((name, 3) for name in others))


def _ranked(candidates: Sequence[_Candidate], prefix: str, limit: int) -> tuple[Suggestion, ...]:
    """Those that fit what is written: beginning so, then a word of it beginning so, then having it anywhere."""
    wanted = prefix.lower()
    of_a_word = re.compile(rf"[._ ]{re.escape(wanted)}")
    fitting: list[tuple[int, bool, int]] = []
    for at, candidate in enumerate(candidates):
        label = candidate.label.lower()
        if wanted in label:
            fit = 0 if label.startswith(wanted) else 10 if of_a_word.search(label) else 20
            fitting.append((fit + candidate.rank, label == wanted, at))
    found: dict[tuple[str, Kind], Suggestion] = {}
    for *_, at in sorted(fitting):
        each = candidates[at]
        found.setdefault((each.label.lower(), each.kind), Suggestion(each.label, _text(each), each.kind, each.detail))
        if len(found) == limit:
            break
    return tuple(found.values())


def _text(candidate: _Candidate) -> str:
    match candidate.kind:
        case "keyword":
            return candidate.label
        case "function":
            return f"{candidate.label}("
        case "table" if candidate.detail != "with":
            return ".".join(quoted(part) for part in candidate.label.split(".", 1))
        case _:
            return quoted(candidate.label)
