"""The settings as their declarations have them, for the reference, for a new project's file, for editors."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import msgspec

from catchment import registry
from catchment.config.check import FOREVER_WORD, is_size, is_struct, may_be_forever, plain_type
from catchment.config.sections import ADAPTER_SECTIONS, FORWARD, NAMED_SECTIONS, SECTION_ORDER, SECTIONS
from catchment.config.units import duration_text, size_text
from catchment.listen.config import ForwardConfig

_TYPE_WORDS = {int: "whole number", float: "number", bool: "true or false", str: "text"}
_BOUND_WORDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting. `key` is as written within its section; `default` as TOML, None where it must be given and
    empty where there is none."""

    key: str
    type: str
    default: str | None
    description: str


@dataclass(frozen=True, slots=True)
class Section:
    """One section: what it is for, its settings, and for a section with a `type` those of each type."""

    name: str
    summary: str
    settings: tuple[Setting, ...]
    by_type: Mapping[str, tuple[Setting, ...]]
    default_type: str = ""
    is_named: bool = False
    """Whether there are several, `[SECTION.NAME]`, each of which says its type."""


def sections() -> list[Section]:
    """Every section a project file may have, with Catchment's own adapters. Imports all of these."""
    return [_section(name) for name in SECTION_ORDER]


def _section(name: str) -> Section:
    if name in SECTIONS:
        return Section(name, summary(SECTIONS[name]), tuple(settings_of(SECTIONS[name])), {})
    if name in NAMED_SECTIONS:
        return _named_section(name)
    default, words = ADAPTER_SECTIONS[name]
    own = [adapter for adapter in registry.ADAPTERS if adapter.kind == name]
    by_type = {each.name: tuple(settings_of(each.load_settings())) for each in own}
    choices = " or ".join(f'"{type_name}"' for type_name in by_type)
    kind = Setting("type", choices, toml(default), f"Which kind of {name}; the other settings are this type's.")
    return Section(name, words, (kind,), by_type, default)


def _named_section(name: str) -> Section:
    kind, common, words = NAMED_SECTIONS[name]
    by_type = {each.name: tuple(settings_of(each.load_settings())) for each in registry.ADAPTERS if each.kind == kind}
    choices = " or ".join(f'"{type_name}"' for type_name in by_type)
    type_ = Setting("type", choices, None, "Which kind of broker; each has settings of its own, below.")
    forward = Setting(f"{FORWARD}.type", "text", "", "The kind of another queue, with its settings as in `[queue]`.")
    more = settings_of(ForwardConfig, f"{FORWARD}.")
    return Section(name, words, (type_, *settings_of(common), forward, *more), by_type, is_named=True)


def summary(described: Any) -> str:
    """The first line of a docstring."""
    return (described.__doc__ or "").strip().partition("\n")[0]


def settings_of(kind: type[msgspec.Struct], within: str = "") -> Iterator[Setting]:
    """The settings of a struct, those of tables within it included: `tables."NAME".contract`."""
    for field in msgspec.structs.fields(kind):
        key = within + field.encode_name
        plain, metas = plain_type(field.type)
        below = get_args(plain)[1] if get_origin(plain) is dict else plain
        if is_struct(below):
            yield from settings_of(below, f'{key}."NAME".' if below is not plain else f"{key}.")
            continue
        words = next((meta.description for meta in metas if meta.description), "")
        yield Setting(key, type_words(field.encode_name, plain, metas), _default(field), words)


def type_words(name: str, plain: Any, metas: tuple[msgspec.Meta, ...] = ()) -> str:
    """What a setting may be, in words, with its bounds."""
    words = _kind_words(name, plain)
    if may_be_forever(metas):
        words = f'{words} or "{FOREVER_WORD}"'
    return ", ".join([words, *_bounds(name, metas)])


def _kind_words(name: str, plain: Any) -> str:
    if plain is timedelta:
        return "duration"
    if is_size(name, plain):
        return "size"
    if get_origin(plain) is Literal:
        return " or ".join(toml(choice) for choice in get_args(plain))
    if get_origin(plain) is list:
        return _several("list", _kind_words(name, plain_type(get_args(plain)[0])[0]))
    if get_origin(plain) is dict:
        return _several("table", _kind_words(name, plain_type(get_args(plain)[1])[0]))
    if get_origin(plain) in {Union, UnionType}:
        return " or ".join(_kind_words(name, each) for each in get_args(plain))
    return _TYPE_WORDS.get(plain, str(plain))


def _several(what: str, words: str) -> str:
    return f"{what}, of each {words}" if " or " in words else f"{what} of {words}s"


def _bounds(name: str, metas: tuple[msgspec.Meta, ...]) -> Iterator[str]:
    for meta in metas:
        for attribute, words in _BOUND_WORDS.items():
            limit = getattr(meta, attribute)
            if limit is not None:
                yield f"{words} {size_text(limit) if is_size(name, type(limit)) else limit}"
        if meta.extra and "at_least" in meta.extra:
            yield f"at least {duration_text(meta.extra['at_least'])}"


def _default(field: msgspec.structs.FieldInfo) -> str | None:
    if field.required:
        return None
    default = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    if default is None:
        return ""
    if is_size(field.encode_name, type(default)):
        return f'"{size_text(default)}"'
    return toml(default)


def toml(value: Any) -> str:
    """A value as TOML. Raises TypeError for one of a type that no setting has."""
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return f"{value:_}"
        case float():
            return repr(value)
        case str():
            return json.dumps(value, ensure_ascii=False)
        case timedelta() if value == timedelta.max:
            return f'"{FOREVER_WORD}"'
        case timedelta():
            return f'"{duration_text(value)}"'
        case list() | tuple():
            return f"[{', '.join(toml(item) for item in value)}]"
        case dict():
            return "{" + ", ".join(f"{key} = {toml(below)}" for key, below in value.items()) + "}"
    raise TypeError(f"no setting has a default such as {value!r}")
