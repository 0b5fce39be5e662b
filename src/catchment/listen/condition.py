"""`only`: a condition on a message, such as `data.kind in ["chat", "mail"] and not header.test`.

It is written as an expression of Python, of which it knows names, constants, lists, comparisons, `and`, `or` and
`not`. What is not there is `None`; a comparison of what cannot be compared, such as `None > 3`, is false.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from catchment.listen.naming import DATA, HEADER, Look, check_name, look

_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda value, among: value in among,
    ast.NotIn: lambda value, among: value not in among,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
}
_EXAMPLE = 'such as data.kind in ["chat", "mail"] and not header.test'


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition, and the names in it."""

    holds: Look
    names: tuple[str, ...]


def check_condition(text: str) -> None:
    """Raise `ValueError`, as a setting's check does, for what is no condition."""
    condition(text)


def condition(text: str) -> Condition:
    """Read a condition. Raises `ValueError`(what it must be, how to fix it)."""
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise ValueError(f"must be a condition: {error.msg} at character {error.offset or 1}", _EXAMPLE) from None
    except (ValueError, RecursionError, MemoryError):
        raise ValueError("must be a condition", _EXAMPLE) from None
    names: list[str] = []
    value = _value(tree, names)
    return Condition(lambda data, heard: bool(value(data, heard)), tuple(names))


def _value(node: ast.expr, names: list[str]) -> Look:
    match node:
        case ast.Constant(value=bool() | int() | float() | str() | None):
            constant = node.value
            return lambda data, heard: constant
        case ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.Set(elts=parts):
            each = [_value(part, names) for part in parts]
            return lambda data, heard: [one(data, heard) for one in each]
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            inner = _value(operand, names)
            return lambda data, heard: not inner(data, heard)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return lambda data, heard: -number
        case ast.BoolOp(op=ast.And(), values=values):
            all_of = [_value(part, names) for part in values]
            return lambda data, heard: all(one(data, heard) for one in all_of)
        case ast.BoolOp(op=ast.Or(), values=values):
            any_of = [_value(part, names) for part in values]
            return lambda data, heard: any(one(data, heard) for one in any_of)
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            return _compared(
                [_value(part, names) for part in (left, *comparators)], [_COMPARE[type(op)] for op in ops]
            )
        case ast.Name() | ast.Attribute() | ast.Subscript():
            name = ".".join(_steps(node))
            try:
                check_name(name)
            except ValueError as error:
                raise ValueError(f"names {name}, which is nothing of a message", *error.args[1:]) from None
            names.append(name)
            return look(name)
    raise ValueError(f"must be a condition; {ast.unparse(node)} is more than one knows", "function, for all else")


def _compared(values: list[Look], compare: list[Callable[[Any, Any], Any]]) -> Look:
    def holds(data: Any, heard: Any) -> bool:
        left = values[0](data, heard)
        for find, is_so in zip(values[1:], compare, strict=True):
            right = find(data, heard)
            try:
                if not is_so(left, right):
                    return False
            except TypeError:
                return False
            left = right
        return True

    return holds


def _steps(node: ast.expr) -> Iterator[str]:
    """The steps of `data.order["id"]`."""
    match node:
        case ast.Name(id=name):
            yield name
        case ast.Attribute(value=value, attr=name):
            yield from _steps(value)
            yield name
        case ast.Subscript(value=value, slice=ast.Constant(value=str() as name)):
            yield from _steps(value)
            yield name
        case _:
            raise ValueError(f"must be a condition; {ast.unparse(node)} names nothing", f"{DATA}.FIELD, {HEADER}.NAME")
