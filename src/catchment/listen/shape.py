"""The light transformation of a row: `keep`, `drop`, `rename`, `cast`, `flatten`, `set`, in this order. Paths are
those of the message: `flatten` comes after all that name fields of it.

No value is lost by a name that is taken: it goes to `rescued`, under the path that it had.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from catchment.listen.cast import Kind, cast
from catchment.listen.naming import Template
from catchment.sources import Heard

Row = dict[str, Any]
Shape = Callable[[Row, Heard], tuple[Row, Row]]
"""Takes a row, which it may change, and the message; the row as it is filed, and what is rescued."""


def shape(
    keep: Sequence[str],
    drop: Sequence[str],
    rename: Mapping[str, str],
    casts: Mapping[str, Kind],
    flatten: bool,
    assign: Mapping[str, str | int | float | bool],
) -> Shape:
    """All of it as one function."""
    assigned = [(name, _filled(value)) for name, value in assign.items()]
    kept = [path.split(".") for path in keep]
    dropped = [path.split(".") for path in drop]

    def shaped(row: Row, heard: Heard) -> tuple[Row, Row]:
        values = [(name, value(row, heard)) for name, value in assigned]
        rescued: Row = {}
        if kept:
            row = _only(row, kept)
        for steps in dropped:
            _remove(row, steps)
        for path, target in rename.items():
            _move(row, path, target, rescued)
        for path, kind in casts.items():
            _replace(row, path, kind)
        if flatten:
            flat: Row = {}
            _flatten(row, "", "", flat, rescued)
            row = flat
        row.update(values)
        return row, rescued

    return shaped


def _filled(value: str | int | float | bool) -> Callable[[Any, Heard], Any]:
    if isinstance(value, str):
        return Template(value).fill()
    return lambda data, heard: value


def _only(value: Any, paths: Sequence[Sequence[str]]) -> Any:
    """What these paths lead to within an object, or within those of a list: nothing else, also where a text stands in
    place of the object."""
    if isinstance(value, list):
        return [_only(each, paths) for each in value if isinstance(each, dict | list)]
    kept: Row = {}
    for name, below in value.items():
        rests = [path[1:] for path in paths if path[0] == name]
        if [] in rests or any(".".join(path) == name for path in paths):
            kept[name] = below
        elif rests and isinstance(below, dict | list):
            kept[name] = _only(below, rests)
    return kept


def _remove(value: Any, steps: Sequence[str]) -> None:
    """What a path leads to, within lists as well."""
    if isinstance(value, list):
        for each in value:
            _remove(each, steps)
    elif isinstance(value, dict):
        value.pop(".".join(steps), None)
        if len(steps) > 1 and steps[0] in value:
            _remove(value[steps[0]], steps[1:])


def _parent(row: Row, path: str, *, make: bool = False) -> tuple[Row, str] | None:
    """The object that a path's last name lies in, and that name; None where there is none."""
    if path in row:
        return row, path
    *above, name = path.split(".")
    at = row
    for step in above:
        below = at.get(step)
        if below is None and make:
            below = at[step] = {}
        if not isinstance(below, dict):
            return None
        at = below
    return at, name


def _move(row: Row, path: str, target: str, rescued: Row) -> None:
    found = _parent(row, path)
    if found is None or found[1] not in found[0] or path == target:
        return
    value = found[0].pop(found[1])
    place = _parent(row, target, make=True)
    if place is None or place[1] in place[0]:
        rescued[path] = value
    else:
        place[0][place[1]] = value


def _replace(row: Row, path: str, kind: Kind) -> None:
    found = _parent(row, path)
    if found is not None and found[1] in found[0]:
        at, name = found
        at[name] = cast(at[name], kind)


def _flatten(values: Row, prefix: str, path: str, flat: Row, rescued: Row) -> None:
    """Objects' fields become the row's, with the object's name and `_` in front; empty objects and lists stay."""
    for name, value in values.items():
        if isinstance(value, dict) and value:
            _flatten(value, f"{prefix}{name}_", f"{path}{name}.", flat, rescued)
        elif f"{prefix}{name}" in flat:
            rescued[f"{path}{name}"] = value
        else:
            flat[f"{prefix}{name}"] = value
