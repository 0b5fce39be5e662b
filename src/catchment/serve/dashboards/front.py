"""The front matter: YAML between two lines of ---, each mistake at its place."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal, InvalidOperation
from typing import cast, get_args

import yaml

from catchment.serve.dashboards.board import (
    DEFAULT_REFRESH,
    Choice,
    Filter,
    FilterType,
    Place,
    Range,
    Scalar,
    Source,
    sentence,
)
from catchment.serve.dashboards.durations import parse_duration
from catchment.serve.dashboards.periods import parse_period
from catchment.serve.dashboards.spelling import listed, meant
from catchment.serve.dashboards.values import parse_range, same_value

MIN_REFRESH = timedelta(seconds=10)

KEYS: Mapping[str, str] = {
    "title": "What the dashboard is called.",
    "owner": "Who is asked about it: a team or a person.",
    "refresh": "How old what is shown may be: `1m` where nothing is said, at least `10s`.",
    "stale_after": "The age of a table's newest data from which on the dashboard says so, such as `2h`.",
    "groups": "Who may see it: a group or a list of groups; everybody where nothing is said.",
    "filters": "What its readers may choose, by name.",
    "annotations": "SQL that gives `at` and `name`: what happened when, drawn in charts over time.",
}
NOT_YET = ("send", "alerts")

FILTER_KEYS: Mapping[str, str] = {
    "type": "`period`, `one`, `many`, `range` or `text`.",
    "label": "What it is called; its name where nothing is said.",
    "default": "What is chosen where the address says nothing.",
    "required": "`true`: where nothing is chosen, the tiles wait.",
    "options": "What there is to choose (`one`, `many`): a list of values, or of `{value: …, label: …}`.",
    "from": "SQL for the same: value[, label]. It may use other filters.",
}
FILTER_TYPES: tuple[FilterType, ...] = get_args(FilterType)
LISTS = frozenset({"one", "many"})
"""The types of filter whose values are chosen from a list."""

MAX_OPTIONS = 1000
MAX_CHARACTERS = 100_000
MAX_DEPTH = 50
"""Of brackets and braces: each costs the parser time."""

_FILTER_NAME = re.compile(r"[a-z_][a-z0-9_]*\Z")
_SESSION = "user"
"""`$user.email` is the session's, so no filter is called so."""

Note = Callable[[Place, str], None]


@dataclass(slots=True)
class Front:
    """What the front matter says. `filters` is None where it can't be known which there are."""

    title: str = ""
    owner: str = ""
    refresh: timedelta = DEFAULT_REFRESH
    stale_after: timedelta | None = None
    groups: tuple[str, ...] = ()
    filters: dict[str, Filter] | None = field(default_factory=dict)
    annotations: Source | None = None


class _Bad:
    """In place of a value that has a mistake."""


_BAD = _Bad()


def read_front(text: str, first_line: int, note: Note) -> Front:
    """Read the YAML, whose first line is the file's `first_line`."""
    if len(text) > MAX_CHARACTERS or _depth(text) > MAX_DEPTH:
        note(
            Place(first_line, 1), f"is longer than {MAX_CHARACTERS:,} characters, or nested more than {MAX_DEPTH} deep"
        )
        return Front(filters=None)
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(first_line + mark.line, mark.column + 1) if mark else Place(first_line, 1)
        note(place, f"is no YAML: {error.problem or error.context}")
        return Front(filters=None)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        note(Place(first_line, 1), f"is no YAML: {str(error).partition(chr(10))[0]}")
        return Front(filters=None)
    if root is None:
        return Front()
    return _Reading(text, first_line, note).front(root)


def _depth(text: str) -> int:
    depth = deepest = 0
    for mark in re.finditer(r"[\[{\]}]", text):
        depth += 1 if mark[0] in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


class _Loader(yaml.SafeLoader):
    """YAML whose plain words are what they seem: `no` and `off` are texts, `1_000` too; a date is a date."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012


def _resolve(tag: str, pattern: str, first: str) -> None:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(pattern), list(first))


_resolve("bool", r"(?:true|True|TRUE|false|False|FALSE)\Z", "tTfF")
_resolve("null", r"(?:~|null|Null|NULL|)\Z", "~nN\0")
_resolve("int", r"[-+]?[0-9]+\Z", "-+0123456789")
_resolve("float", r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?\Z", "-+.0123456789")
_resolve("timestamp", r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z", "0123456789")
_Loader.yaml_implicit_resolvers.setdefault("", []).append(("tag:yaml.org,2002:null", re.compile(r"\Z")))


class _Reading:
    """The nodes of the YAML become what they mean."""

    def __init__(self, text: str, first_line: int, note: Note) -> None:
        self._text = text
        self._first_line = first_line
        self._note = note

    def front(self, root: yaml.Node) -> Front:
        front = Front()
        if not isinstance(root, yaml.MappingNode):
            self._at(root, "the front matter is lines such as `title: Chat queue`")
            return Front(filters=None)
        for key, key_node, value in self._entries(root):
            if key in NOT_YET:
                self._at(key_node, f"{key} is not yet part of Catchment: leave it out")
            elif key not in KEYS:
                self._at(key_node, f"unknown key '{key}'{meant(key, KEYS, 'keys')}")
            elif key == "filters":
                front.filters = self._filters(value)
            elif key == "annotations":
                front.annotations = self._sql(value, key)
            elif key == "groups":
                front.groups = self._groups(value)
            elif key == "refresh":
                front.refresh = self._duration(value, key, MIN_REFRESH) or front.refresh
            elif key == "stale_after":
                front.stale_after = self._duration(value, key, timedelta(0))
            else:
                setattr(front, key, self._plain_text(value, key))
        return front

    # ---- filters ----------------------------------------------------------------------------

    def _filters(self, node: yaml.Node) -> dict[str, Filter] | None:
        if _is_null(node):
            return {}
        if not isinstance(node, yaml.MappingNode):
            self._at(node, "filters: must be filters by name, such as `period: {type: period}`")
            return None
        filters: dict[str, Filter] = {}
        for name, key, value in self._entries(node):
            if not _FILTER_NAME.match(name):
                self._at(key, f"a filter's name is lower-case letters, digits and _, not '{name}'")
            elif name == _SESSION:
                self._at(key, "no filter can be named user: $user.email is who has signed in")
            else:
                filters[name] = self._filter(name, key, value)
        return filters

    def _filter(self, name: str, key: yaml.Node, node: yaml.Node) -> Filter:
        place = self._place(key)
        said: dict[str, yaml.Node] = {}
        if not isinstance(node, yaml.MappingNode):
            self._at(node if not _is_null(node) else key, f"{name}: must be settings, such as {{type: period}}")
            return Filter(name, "text", sentence(name), None, False, (), None, place)
        for setting, setting_key, value in self._entries(node):
            if setting in FILTER_KEYS:
                said[setting] = value
            else:
                self._at(setting_key, f"{name}: unknown key '{setting}'{meant(setting, FILTER_KEYS, 'keys')}")
        kind = self._filter_type(name, key, said.get("type"))
        label = self._plain_text(said["label"], "label") if "label" in said else ""
        required = self._required(said["required"]) if "required" in said else False
        options = self._options(said["options"]) if "options" in said else ()
        source = self._sql(said["from"], "from") if "from" in said else None
        if kind is None:
            return Filter(name, "text", label or sentence(name), None, required, options, source, place)
        self._list_of_values(name, key, kind, said)
        default = self._default(kind, said["default"], options) if "default" in said else None
        return Filter(name, kind, label or sentence(name), default, required, options, source, place)

    def _filter_type(self, name: str, key: yaml.Node, node: yaml.Node | None) -> FilterType | None:
        if node is None:
            self._at(key, f"{name}: a type is missing{listed(FILTER_TYPES, 'types')}")
            return None
        kind = node.value if isinstance(node, yaml.ScalarNode) else "?"
        if kind not in FILTER_TYPES:
            self._at(node, f"no type '{kind}'{meant(kind, FILTER_TYPES, 'types')}")
            return None
        return cast("FilterType", kind)

    def _list_of_values(self, name: str, key: yaml.Node, kind: str, said: Mapping[str, yaml.Node]) -> None:
        given = [word for word in ("options", "from") if word in said]
        if kind in LISTS and len(given) != 1:
            words = (
                "options and from: only one of them" if given else "options or from is missing: what to choose from"
            )
            self._at(said["from"] if given else key, f"{name}: {words}")
        if kind not in LISTS and given:
            self._at(said[given[0]], f"{name}: {given[0]} is for one and many, not for {kind}")

    def _options(self, node: yaml.Node) -> tuple[Choice, ...]:
        if not isinstance(node, yaml.SequenceNode):
            self._at(node, "options: must be a list, such as [Cards, Other]")
            return ()
        if len(node.value) > MAX_OPTIONS:
            self._at(node, f"options: at most {MAX_OPTIONS:,}; use from for more")
        choices: list[Choice] = []
        for item in node.value[:MAX_OPTIONS]:
            choice = self._option(item)
            if choice is None:
                continue
            if any(same_value(choice.value, other.value) for other in choices):
                self._at(item, f"options: {choice.label} stands twice")
            else:
                choices.append(choice)
        return tuple(choices)

    def _option(self, node: yaml.Node) -> Choice | None:
        if not isinstance(node, yaml.MappingNode):
            value = self._scalar(node, "options")
            return None if isinstance(value, _Bad) else Choice(value, "null" if value is None else str(node.value))
        said = {setting: (key, value) for setting, key, value in self._entries(node)}
        for setting, (key, _) in said.items():
            if setting not in {"value", "label"}:
                self._at(key, f"options: unknown key '{setting}'; keys: label, value")
        if "value" not in said:
            self._at(node, "options: a value is missing")
            return None
        value_node = said["value"][1]
        value = self._scalar(value_node, "value")
        if isinstance(value, _Bad):
            return None
        label = self._plain_text(said["label"][1], "label") if "label" in said else str(value_node.value)
        return Choice(value, label)

    def _default(
        self, kind: FilterType, node: yaml.Node, options: tuple[Choice, ...]
    ) -> str | tuple[Scalar, ...] | Range | None:
        if kind != "many" and _is_null(node):
            return None
        if kind in LISTS:
            return self._default_values(kind, node, options)
        text = self._plain_text(node, "default")
        try:
            if kind == "period":
                return parse_period(text).text
            if kind == "range":
                return parse_range(text)
        except ValueError as error:
            self._at(node, f"default: {error}")
            return None
        return text or None

    def _default_values(self, kind: str, node: yaml.Node, options: tuple[Choice, ...]) -> tuple[Scalar, ...]:
        nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
        if kind == "one" and len(nodes) > 1:
            self._at(node, "default: only one value, or the type many")
            return ()
        values: list[Scalar] = []
        for item in nodes:
            value = self._scalar(item, "default")
            if isinstance(value, _Bad):
                continue
            chosen = next((choice.value for choice in options if same_value(choice.value, value)), _BAD)
            if options and isinstance(chosen, _Bad):
                labels = [str(choice.value) for choice in options]
                self._at(item, f"default: '{item.value}' is none of the options{meant(str(value), labels, 'options')}")
            else:
                values.append(value if isinstance(chosen, _Bad) else chosen)
        return tuple(values)

    def _required(self, node: yaml.Node) -> bool:
        value = self._scalar(node, "required")
        if not isinstance(value, bool):
            self._at(node, "required: must be true or false")
            return False
        return value

    # ---- values ------------------------------------------------------------------------------

    def _plain_text(self, node: yaml.Node, key: str) -> str:
        """A text as it is written, also where YAML would see a number or a date."""
        if not isinstance(node, yaml.ScalarNode):
            self._at(node, f"{key}: must be a text")
            return ""
        return "" if _is_null(node) else str(node.value).strip()

    def _duration(self, node: yaml.Node, key: str, least: timedelta) -> timedelta | None:
        try:
            duration = parse_duration(self._plain_text(node, key))
        except ValueError as error:
            self._at(node, f"{key}: {error}")
            return None
        if duration < least:
            self._at(node, f"{key}: at least {least.seconds}s")
            return None
        return duration

    def _groups(self, node: yaml.Node) -> tuple[str, ...]:
        nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
        groups = tuple(self._plain_text(item, "groups") for item in nodes)
        if not all(groups):
            self._at(node, "groups: must be a group's name, or a list of them; leave it out for everybody")
        return tuple(filter(None, groups))

    def _sql(self, node: yaml.Node, key: str) -> Source | None:
        """SQL as it stands in the file, so that its errors keep their place: YAML may have folded its lines."""
        text = self._plain_text(node, key)
        if not text:
            if isinstance(node, yaml.ScalarNode):
                self._at(node, f"{key}: must be SQL")
            return None
        assert isinstance(node, yaml.ScalarNode), "only such a one has a text"
        raw = self._text[node.start_mark.index : node.end_mark.index]
        if node.style in {"|", ">"}:
            header, _, body = raw.partition("\n")
            return Source(body.rstrip(), self._offset_place(node.start_mark.index + len(header) + 1))
        if node.style in {'"', "'"}:
            inner = raw[1:-1]
            # Escapes make the value another text than the file's: then only the first character's place is right.
            changed = "\\" in inner if node.style == '"' else "''" in inner
            return Source(text if changed else inner, self._offset_place(node.start_mark.index + 1))
        return Source(raw.rstrip(), self._offset_place(node.start_mark.index))

    def _scalar(self, node: yaml.Node, key: str) -> Scalar | _Bad:
        if not isinstance(node, yaml.ScalarNode):
            self._at(node, f"{key}: must be a value, not a list or a table")
            return _BAD
        text = str(node.value)
        try:
            match node.tag.rpartition(":")[2]:
                case "null":
                    return None
                case "bool":
                    return text.lower() == "true"
                case "int":
                    return int(text)
                case "float":
                    return Decimal(text)
                case "timestamp":
                    return date.fromisoformat(text)
        except (ValueError, InvalidOperation):
            self._at(node, f"{key}: '{text}' is no value")
            return _BAD
        return text

    # ---- places ------------------------------------------------------------------------------

    def _entries(self, node: yaml.MappingNode) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
        seen: set[str] = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._at(key, "a key must be a word")
            elif key.value in seen:
                self._at(key, f"{key.value} stands twice")
            else:
                seen.add(key.value)
                yield str(key.value), key, value

    def _place(self, node: yaml.Node) -> Place:
        return Place(self._first_line + node.start_mark.line, node.start_mark.column + 1)

    def _offset_place(self, offset: int) -> Place:
        inside = Source(self._text, Place(1, 1)).at(offset)
        return Place(self._first_line + inside.line - 1, inside.column)

    def _at(self, node: yaml.Node, text: str) -> None:
        self._note(self._place(node), text)


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"
