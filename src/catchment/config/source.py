"""catchment.toml as written: its values, the line of each, and a profile laid over the rest."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catchment.config.mistakes import ConfigError, Mistake

KeyPath = tuple[str | int, ...]

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+\Z")
_PLACE = re.compile(r" \(at (?:line (?P<line>\d+), column \d+|end of document)\)\Z")


def key_text(path: KeyPath) -> str:
    """A key as one writes it in TOML: `load.tables."web.signup".contract`, `origins[2]`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += ("." if text else "") + (step if _BARE_KEY.match(step) else f'"{step}"')
    return text


@dataclass(frozen=True, slots=True)
class Source:
    """A TOML file: what it says and the line on which each key begins."""

    name: str
    data: dict[str, Any]
    lines: Mapping[KeyPath, int]

    def line(self, path: KeyPath) -> int:
        """The line of a key, or of the nearest one that holds it; 0 if neither is in the file."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 0)


def read_toml(file: Path) -> Source:
    """Raises `ConfigError` for a file that cannot be read or is no TOML, with the line."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ConfigError([Mistake(file.name, 0, "", f"cannot be read: {error.strerror}", f"ls -l {file}")]) from None
    try:
        text = content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError([Mistake(file.name, line, "", "is not UTF-8", "save the file as UTF-8")]) from None
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([_syntax_mistake(file.name, text, str(error))]) from None
    return Source(file.name, data, _lines(text))


def _syntax_mistake(name: str, text: str, error: str) -> Mistake:
    place = _PLACE.search(error)
    last_line = text.rstrip().count("\n") + 1
    line = int(place["line"]) if place and place["line"] else last_line
    hint = "texts stand in quotes, a table's name in brackets; https://toml.io has all of it on a page"
    if " twice" in error:
        hint = "a section stands in the file once: put these lines under the one that is there"
    return Mistake(name, min(line, last_line), "", f"is no TOML: {_PLACE.sub('', error)}", hint)


def _lines(text: str) -> dict[KeyPath, int]:
    """The first line of every key in a valid TOML text.

    tomllib keeps no positions, so the text is fed to it statement by statement: lines are gathered until they
    parse, and what they parse to are the keys that begin there.
    """
    lines: dict[KeyPath, int] = {}
    table: KeyPath = ()
    statement: list[str] = []
    start = 1
    for number, line in enumerate(text.split("\n"), 1):
        if not statement:
            start = number
        statement.append(line)
        try:
            parsed = tomllib.loads("\n".join(statement))
        except tomllib.TOMLDecodeError:
            continue
        if statement[0].lstrip().startswith("["):
            table = ()
            for path in _paths(parsed):
                table = path
                lines.setdefault(path, start)
        else:
            for path in _paths(parsed):
                lines.setdefault(table + path, start)
        statement.clear()
    return lines


def _paths(table: Mapping[str, Any]) -> list[KeyPath]:
    """Every key of nested tables, outer ones first."""
    paths: list[KeyPath] = []
    for key, value in table.items():
        paths.append((key,))
        if isinstance(value, dict):
            paths.extend((key, *below) for below in _paths(value))
    return paths


def with_profile(
    source: Source, profile: str | None, default_types: Mapping[str, str]
) -> tuple[dict[str, Any], dict[KeyPath, KeyPath]]:
    """The settings with a profile's laid over them, and where in the file each of the profile's came from.

    A section, or a listener, whose `type` the profile changes is the profile's alone, since the settings of another
    type would make no sense in it. `default_types` has the type of a section that names none.
    """
    base = deepcopy({key: value for key, value in source.data.items() if key != "profiles"})
    if profile is None:
        return base, {}
    over = deepcopy(source.data["profiles"][profile])
    for section, settings in over.items():
        below = base.get(section)
        if not isinstance(settings, dict) or not isinstance(below, dict):
            continue
        if _is_of_another_type(settings, below, default_types.get(section)):
            base[section] = {}
        for name, inner in settings.items():  # as of a listener
            if isinstance(inner, dict) and _is_of_another_type(inner, below.get(name), None):
                below[name] = {}
    origins: dict[KeyPath, KeyPath] = {}
    return _laid_over(base, over, (), ("profiles", profile), origins), origins


def _is_of_another_type(over: Mapping[str, Any], below: Any, default: str | None) -> bool:
    return isinstance(below, dict) and "type" in over and over["type"] != below.get("type", default)


def _laid_over(
    base: dict[str, Any], over: Mapping[str, Any], path: KeyPath, home: KeyPath, origins: dict[KeyPath, KeyPath]
) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        here, there = (*path, key), (*home, key)
        if isinstance(value, dict):
            below = base.get(key)
            merged[key] = _laid_over(below if isinstance(below, dict) else {}, value, here, there, origins)
            if key not in base:
                origins[here] = there
        else:
            merged[key] = value
            origins[here] = there
    return merged
