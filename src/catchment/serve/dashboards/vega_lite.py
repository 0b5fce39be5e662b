"""A `vega-lite` fence: JSON on a query's id, without a URL."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from catchment.serve.dashboards.spelling import nearest

Note = Callable[[int, str], None]
"""Takes a mistake: its offset in the JSON, and what it is."""

_ADDRESS = re.compile(r"\s*(?:[a-z][a-z0-9+.-]*:)?//|\s*(?:data|javascript|vbscript|file|blob):", re.IGNORECASE)
_LEADS_AWAY = frozenset({"url", "href", "baseURL", "loader"})
_LEFT_OUT = ("$schema", "usermeta")
"""Keys at the top that say nothing of the chart: the schema's address, and settings of a page's own."""


def read_spec(text: str, query: str | None, queries: Collection[str], note: Note) -> dict[str, Any] | None:
    """The JSON, its data named by a query's id: `query`, or what its `data.name` says. None where it has a mistake."""
    try:
        spec = json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        note(error.pos, f"is no JSON: {error.msg}")
        return None
    except RecursionError:
        note(0, "is no JSON: nested too deeply")
        return None
    except ValueError as error:
        note(0, f"is no JSON: {error}")
        return None
    if not isinstance(spec, dict):
        note(0, "must be an object of Vega-Lite: {…}")
        return None
    for key in _LEFT_OUT:
        spec.pop(key, None)
    mistakes = list(_addresses(spec))
    for found in mistakes:
        note(_offset(text, found), f"a spec may hold no URL: {json.dumps(found)}")
    if query is not None:
        spec.setdefault("data", {"name": query})
    if mistakes or not _has_data(text, spec, queries, note):
        return None
    return spec


def datasets(spec: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the data that a spec draws and does not bring along, each once."""
    own = spec.get("datasets")
    brought = set(own) if isinstance(own, dict) else set()
    return tuple(dict.fromkeys(name for name in _names(spec) if name not in brought))


def _has_data(text: str, spec: dict[str, Any], queries: Collection[str], note: Note) -> bool:
    named = datasets(spec)
    unknown = [name for name in named if name not in queries]
    for name in unknown:
        near = nearest(name, queries)
        remedy = f"did you mean {near}?" if near else f"queries: {', '.join(sorted(queries)) or 'none'}"
        note(_offset(text, name), f"no query '{name}'; {remedy}")
    if not named and "data" not in spec:
        note(0, 'which query? A query\'s id stands behind `vega-lite`, or in {"data": {"name": "ID"}}')
        return False
    return not unknown


def _names(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        data = node.get("data")
        if isinstance(data, dict) and isinstance(data.get("name"), str) and not data.keys() & {"values", "sequence"}:
            yield data["name"]
        for key, below in node.items():
            if key != "datasets" and not (key == "data" and isinstance(data, dict) and "values" in data):
                yield from _names(below)
    elif isinstance(node, list):
        for below in node:
            yield from _names(below)


def _addresses(node: Any) -> Iterator[str]:
    """Every key or text by which a browser or the server might fetch or open something."""
    if isinstance(node, dict):
        for key, below in node.items():
            if key in _LEADS_AWAY:
                yield key
            else:
                yield from _addresses(below)
        if node.get("mark") == "image" or node.get("type") == "image":
            yield "image"
    elif isinstance(node, list):
        for below in node:
            yield from _addresses(below)
    elif isinstance(node, str) and _ADDRESS.match(node):
        yield node


def _offset(text: str, word: str) -> int:
    """Where a text stands in the JSON, as well as that can be told."""
    at = text.find(json.dumps(word))
    if at < 0:
        at = text.find(json.dumps(word, ensure_ascii=False))
    return max(at, 0)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")
