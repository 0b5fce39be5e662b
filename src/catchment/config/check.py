"""Values as written become the settings' structs; whatever does not fit is noted, and all of it is looked at.

What a setting may be is said once, where it is declared: its type, `msgspec.Meta` for bounds and description,
a `timedelta` for a duration, a name ending in `_bytes` for a size.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from catchment.config.mistakes import did_you_mean
from catchment.config.source import KeyPath
from catchment.config.units import duration_text, parse_duration, parse_size
from catchment.secret import Secret

Note = Callable[[KeyPath, str, str], None]
"""Takes a mistake: where, what, and how to fix it."""


class _Bad:
    """Stands where a value has a mistake that is noted already."""


BAD = _Bad()

_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a text in quotes",
    "array": "a list in brackets",
    "object": "a table of settings",
}
_EXPECTED = re.compile(
    r"Expected `(?P<type>[^`]+)`"
    r"(?:, got `[^`]+`| (?P<bound>>=|>|<=|<) (?P<limit>\S+)|(?P<other>.*?))(?: - at .*)?\Z"
)
_BOUND_WORDS = {">=": "at least", ">": "more than", "<=": "at most", "<": "less than"}


def plain_type(annotation: Any) -> tuple[Any, tuple[msgspec.Meta, ...]]:
    """The type beneath `Annotated` and `| None` (TOML knows no null), and what `Meta` says of it."""
    metas: tuple[msgspec.Meta, ...] = ()
    while True:
        if get_origin(annotation) is Annotated:
            annotation, *notes = get_args(annotation)
            metas += tuple(note for note in notes if isinstance(note, msgspec.Meta))
        elif get_origin(annotation) in {Union, UnionType} and NoneType in get_args(annotation):
            annotation = Union[tuple(arg for arg in get_args(annotation) if arg is not NoneType)]  # noqa: UP007
        else:
            return annotation, metas


def is_struct(kind: Any) -> bool:
    """Whether the type is a group of settings."""
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def is_size(name: str, kind: Any) -> bool:
    """Whether a setting of this name and type is written as a size."""
    return kind is int and name.endswith("_bytes")


FOREVER_WORD = "forever"


def may_be_forever(metas: tuple[msgspec.Meta, ...]) -> bool:
    """Whether a duration may be without end: `timedelta.max`, written "forever"."""
    return any((meta.extra or {}).get("forever", False) for meta in metas)


def shown(value: Any) -> str:
    """A value in an error's words: never a secret's."""
    if isinstance(value, Secret):
        return f"what {value.written} holds"
    if isinstance(value, str):
        return f'"{value}"' if len(value) <= 60 else f'"{value[:57]}…"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list"
    return str(value)


def read_struct(raw: Any, kind: type[msgspec.Struct], path: KeyPath, note: Note) -> Any:
    """The settings of one table. Notes every mistake in it and below; `BAD` if there was one."""
    if raw is BAD:
        return BAD
    if not isinstance(raw, dict):
        note(path, f"must be a table of settings, not {shown(raw)}", f"[{path[-1]}]" if path else "")
        return BAD
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    good = True
    for name in raw.keys() - fields.keys():
        note((*path, name), "unknown setting", did_you_mean(name, fields))
        good = False
    values: dict[str, Any] = {}
    for name, field in fields.items():
        if name in raw:
            values[field.name] = read_value(raw[name], name, field.type, (*path, name), note)
            good = good and values[field.name] is not BAD
        elif field.required:
            note((*path, name), "is required", _description(field.type))
            good = False
    if not good:
        return BAD
    try:
        return kind(**values)
    except ValueError as error:
        note(path, str(error), "")
        return BAD


def read_value(value: Any, name: str, annotation: Any, path: KeyPath, note: Note) -> Any:
    """One setting's value as its type has it, or `BAD` with the mistake noted."""
    if value is BAD:
        return BAD
    kind, metas = plain_type(annotation)
    if value == FOREVER_WORD and may_be_forever(metas):
        return timedelta.max
    read = _read_plain(value, name, annotation, kind, path, note)
    if read is BAD:
        return BAD
    for meta in metas:
        try:
            _check_further(read, meta.extra or {})
        except ValueError as error:
            message, *hint = error.args
            note(path, f"{message}, not {shown(value)}", hint[0] if hint else "")
            return BAD
    return read


def _check_further(value: Any, extra: Mapping[str, Any]) -> None:
    """What `Meta(extra=…)` asks for: a duration of `at_least` so much; a `check` that raises ValueError(what
    the value must be[, how to fix it])."""
    if "at_least" in extra and value < extra["at_least"]:
        raise ValueError(f"must be at least {duration_text(extra['at_least'])}")
    if "check" in extra:
        extra["check"](value)


def _read_plain(value: Any, name: str, annotation: Any, kind: Any, path: KeyPath, note: Note) -> Any:
    if is_struct(kind):
        return read_struct(value, kind, path, note)
    if get_origin(kind) is dict:
        name_type, below_type = get_args(kind)
        return _read_dict(value, name_type, below_type, path, note)
    if get_origin(kind) is list:
        return _read_list(value, name, get_args(kind)[0], path, note)
    if get_origin(kind) is Literal:
        return _read_choice(value, get_args(kind), path, note)
    try:
        if kind is timedelta:
            return parse_duration(value if isinstance(value, str) else "")
        if is_size(name, kind) and isinstance(value, str):
            return _converted(parse_size(value), annotation)
        # A variable is always a text: it may stand for a number or a yes.
        return _converted(value, annotation, is_lax=isinstance(value, Secret) and kind is not str)
    except ValueError as error:
        note(path, f"{error}, not {shown(value)}", "")
        return BAD


def _read_dict(value: Any, name_type: Any, below_type: Any, path: KeyPath, note: Note) -> Any:
    if not isinstance(value, Mapping):
        note(path, f"must be {_WORDS['object']}, not {shown(value)}", "")
        return BAD
    names = [read_value(name, name, name_type, (*path, name), note) for name in value]
    read = {name: read_value(below, name, below_type, (*path, name), note) for name, below in value.items()}
    return BAD if BAD in (*names, *read.values()) else read


def _read_list(value: Any, name: str, item_type: Any, path: KeyPath, note: Note) -> Any:
    if not isinstance(value, list):
        note(path, f"must be {_WORDS['array']}, not {shown(value)}", "")
        return BAD
    items = [read_value(item, name, item_type, (*path, index), note) for index, item in enumerate(value)]
    return BAD if BAD in items else items


def _read_choice(value: Any, choices: tuple[Any, ...], path: KeyPath, note: Note) -> Any:
    if value in choices:
        return value
    note(path, f"must be {' or '.join(shown(choice) for choice in choices)}, not {shown(value)}", "")
    return BAD


def _converted(value: Any, annotation: Any, is_lax: bool = False) -> Any:
    """Raises ValueError in the words of a project file."""
    try:
        return msgspec.convert(value, annotation, strict=not is_lax)
    except msgspec.ValidationError as error:
        raise ValueError(_explained(str(error))) from None


def _explained(error: str) -> str:
    match = _EXPECTED.match(error)
    if match is None:
        return "must be another value"
    if match["bound"]:
        return f"must be {_BOUND_WORDS[match['bound']]} {match['limit'].removesuffix('.0')}"
    words = " or ".join(_WORDS.get(word, word) for word in match["type"].split(" | ") if word != "null")
    return f"must be {words}{match['other'] or ''}"


def _description(annotation: Any) -> str:
    _, metas = plain_type(annotation)
    return next((meta.description for meta in metas if meta.description), "")
