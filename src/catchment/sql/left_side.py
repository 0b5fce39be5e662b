"""Where the left side of `… in $filter` begins."""

from __future__ import annotations

from collections.abc import Sequence

from catchment.sql.lexer import Token

_ENDS = frozenset({
    "and", "or", "not", "where", "on", "when", "having", "filter", "then", "else", "case", "select", "distinct",
    "all", "by", "qualify", "values", "return", "lambda", "limit", "offset", "using", "if", ",", "(", "[", "{",
    ";", ":", ":=", "=>",
})  # fmt: skip
_CALLED = frozenset({"if", "filter"})
"""No ends where parentheses follow: `if(a, b, c) in $f`, `count(*) filter (where a) in $f`."""
_NAMES = frozenset({"filter", "if", "by", "return", "lambda", "values", "offset", "qualify"})
"""Names of columns as well, where nothing else stands before `in`."""
_CLOSING = {")": "(", "]": "[", "}": "{", "end": "case"}
_OPENING = frozenset(_CLOSING.values())


def left_side(loud: Sequence[Token], end: int) -> int:
    """The index of the first token of the expression whose last one stands before `end`; `end` where it is empty.

    It runs back, past whole parentheses and `case … end`, to a word or sign that no such expression contains.
    `loud` is without space and comments.
    """
    at, depth = end, 0
    while at > 0:
        word = _keyword(loud, at - 1)
        if word in _CLOSING:
            depth += 1
        elif depth:
            depth -= word in _OPENING
        elif _is_end(loud, at - 1, end):
            break
        at -= 1
    return at - 1 if at == end and at > 0 and _keyword(loud, at - 1) in _NAMES else at


def _is_end(loud: Sequence[Token], at: int, end: int) -> bool:
    word = _keyword(loud, at)
    if word in _CALLED and at + 1 < end and loud[at + 1].text == "(":
        return False
    return word in _ENDS or _is_lambda_arrow(loud, at, end)


def with_not(loud: Sequence[Token], first: int, last: int) -> tuple[int, int]:
    """A predicate with every `not` that stands before it alone, also around parentheses that hold nothing else."""
    start, end = first, last
    while True:
        if start > 0 and _keyword(loud, start - 1) == "not":
            start -= 1
        elif _is_in_parentheses(loud, start, end):
            start, end = start - 1, end + 1
        else:
            break
    # Parentheses that no `not` stands before may be a function's: they stay.
    while start < first and loud[start].text == "(":
        start, end = start + 1, end - 1
    return start, end


def _is_in_parentheses(loud: Sequence[Token], start: int, end: int) -> bool:
    return (
        start > 0
        and end + 1 < len(loud)
        and loud[start - 1].text == "("
        and loud[end + 1].text == ")"
        and _keyword(loud, start - 2) in {"not", "("}
    )


def _keyword(loud: Sequence[Token], at: int) -> str:
    """A word or sign; empty for a word behind a dot or before one, which is a name."""
    if at < 0:
        return ""
    token = loud[at]
    if token.kind == "word" and at > 0 and loud[at - 1].text == ".":
        return ""
    return token.word


def _is_lambda_arrow(loud: Sequence[Token], at: int, end: int) -> bool:
    """Whether this is the arrow of `x -> x in …`, rather than of `json -> 'key' in …`: its name comes again."""
    if loud[at].text != "->" or at == 0 or loud[at - 1].kind not in {"word", "name"}:
        return False
    return any(token.text == loud[at - 1].text for token in loud[at + 1 : end])
