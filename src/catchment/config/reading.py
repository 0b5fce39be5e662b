"""Reading a project's folder into a `Project`, or into the list of all that is wrong with it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from catchment import registry
from catchment.config.check import BAD, read_struct, shown
from catchment.config.listeners import read_listeners
from catchment.config.mistakes import ConfigError, Mistake, did_you_mean, in_order
from catchment.config.project import PROJECT_FILE, RUNTIME_FOLDER, Part, Project, QueuePart
from catchment.config.sections import (
    ADAPTER_SECTIONS,
    NOT_YET,
    SECTION_ORDER,
    SECTIONS,
)
from catchment.config.source import KeyPath, Source, key_text, read_toml, with_profile
from catchment.config.variables import Unresolved, Variables
from catchment.errors import UsageError
from catchment.secret import redact

_DEFAULT_TYPES = {section: default for section, (default, _) in ADAPTER_SECTIONS.items()}


def load_project(folder: Path, profile: str | None = None, environment: Mapping[str, str] = os.environ) -> Project:
    """Read the project in `folder`, with a profile laid over it. Raises `ConfigError` with every mistake."""
    source = _read_source(folder)
    reading = _Reading(folder.absolute(), source, profile, environment)
    project = reading.project()
    if project is None:
        raise ConfigError(reading.mistakes)
    return project


def find_mistakes(folder: Path, environment: Mapping[str, str] = os.environ) -> list[Mistake]:
    """Every mistake in the project and in each of its profiles; of a profile, a variable that is not set is
    none, since only the machine it is meant for has it."""
    try:
        source = _read_source(folder)
    except ConfigError as error:
        return list(error.mistakes)
    mistakes: set[Mistake] = set()
    profiles = source.data.get("profiles", {})
    for profile in (None, *(profiles if isinstance(profiles, dict) else ())):
        reading = _Reading(folder.absolute(), source, profile, environment, is_remote=profile is not None)
        reading.project()
        mistakes.update(reading.mistakes)
    return in_order(mistakes)


def _read_source(folder: Path) -> Source:
    file = folder / PROJECT_FILE
    if not file.is_file():
        raise UsageError(f"there is no {PROJECT_FILE} in {folder}", f"catchment init {folder}")
    return read_toml(file)


class _Reading:
    """One reading of a project file: its mistakes gather here."""

    def __init__(
        self,
        folder: Path,
        source: Source,
        profile: str | None,
        environment: Mapping[str, str],
        is_remote: bool = False,
    ) -> None:
        self.mistakes: list[Mistake] = []
        self._folder = folder
        self._source = source
        self._profile = profile
        self._origins: Mapping[KeyPath, KeyPath] = {}
        self._variables = Variables(folder, environment)
        self._is_remote = is_remote

    def project(self) -> Project | None:
        """The project, or None if it has mistakes."""
        self.mistakes.extend(self._variables.mistakes)
        if not self._check_profiles():
            return None
        written, self._origins = with_profile(self._source, self._profile, _DEFAULT_TYPES)
        self._check_names(written)
        sections = self._resolved(written, ())
        parts: dict[str, Any] = {
            kind: self._read_part(kind, sections.get(kind, {}), (kind,)) for kind in ADAPTER_SECTIONS
        }
        listen = read_listeners(sections.get("listen", {}), self._folder, self._read_part, self._note)
        settings: dict[str, Any] = {
            name: read_struct(sections.get(name, {}), kind, (name,), self._note) for name, kind in SECTIONS.items()
        }
        self._check_retention(settings["retention"], settings["load"])
        about = settings.pop("project")
        if self.mistakes or BAD in (about, listen, *settings.values(), *parts.values()):
            return None
        queue = parts.pop("queue")
        return Project(
            queue=QueuePart(queue.kind, queue.type, queue.config, queue.folder, settings["outbox"]),
            root=self._folder,
            profile=self._profile,
            name=about.name or self._folder.name,
            timezone=about.timezone,
            listen=listen,
            **parts,
            **settings,
        )

    def _check_retention(self, retention: Any, load: Any) -> None:
        """Settings that are right by themselves and cannot hold together."""
        if BAD not in (retention, load):
            for path, message, hint in retention.contradictions(load.dedupe_window):
                self._note(path, message, hint)

    def _note(self, path: KeyPath, message: str, hint: str = "") -> None:
        there = self._written_at(path)
        line = self._source.line(there)
        self.mistakes.append(Mistake(self._source.name, line, key_text(there), message, hint))

    def _written_at(self, path: KeyPath) -> KeyPath:
        """Where in the file a setting stands: of its own, or within the profile that gave it."""
        for length in range(len(path), 0, -1):
            if path[:length] in self._origins:
                return self._origins[path[:length]] + path[length:]
        return path

    def _check_profiles(self) -> bool:
        profiles = self._source.data.get("profiles", {})
        if not isinstance(profiles, dict) or not all(isinstance(value, dict) for value in profiles.values()):
            self._note(("profiles",), "must hold a table for each profile", "[profiles.production.queue]")
            return False
        if self._profile is not None and self._profile not in profiles:
            self._note(
                ("profiles",),
                f"there is no profile {self._profile}",
                did_you_mean(self._profile, profiles) or f"[profiles.{self._profile}.queue] to begin one",
            )
            return False
        return True

    def _resolved(self, value: Any, path: KeyPath) -> Any:
        """The value with its variables in place, and `BAD` where one leads nowhere."""
        if isinstance(value, dict):
            return {key: self._resolved(below, (*path, key)) for key, below in value.items()}
        if isinstance(value, list):
            return [self._resolved(below, (*path, index)) for index, below in enumerate(value)]
        if not isinstance(value, str):
            return value
        try:
            return self._variables.resolve(value)
        except Unresolved as error:
            if not self._is_remote:
                self._note(path, error.message, error.hint)
            return BAD

    def _check_names(self, sections: dict[str, Any]) -> None:
        """Note sections nobody knows and what is not built yet; what is noted is taken out, or made `BAD`."""
        for name in [name for name in sections if name not in SECTION_ORDER]:
            del sections[name]
            if name in NOT_YET:
                self._note((name,), "is not yet part of Catchment", "leave the section out")
            else:
                self._note((name,), "unknown section", _nearest_section(name))
        for pattern, values in NOT_YET.items():
            *tables, key = pattern.split(".")
            for table, path in _matching(sections, tables, ()):
                if not values or table.get(key) not in values:
                    continue
                self._note((*path, key), f'"{table[key]}" is not yet part of Catchment', "leave it out")
                table[key] = BAD
                if key == "type":
                    sections[tables[0]] = BAD

    def _read_part(self, kind: str, raw: Any, path: KeyPath) -> Any:
        """An adapter's section, wherever it stands."""
        if raw is BAD:
            return BAD
        if not isinstance(raw, dict):
            self._note(path, f"must be a table of settings, not {shown(raw)}", f"[{'.'.join(map(str, path))}]")
            return BAD
        name = raw.get("type", ADAPTER_SECTIONS[kind][0])
        if name is BAD:
            return BAD
        if not isinstance(name, str):
            self._note((*path, "type"), "must be a text in quotes", ", ".join(registry.names(kind)))
            return BAD
        try:
            settings_type = registry.settings_type(kind, name)
        except UsageError as error:
            self._note((*path, "type"), redact(error.message), error.hint)
            return BAD
        settings = {key: value for key, value in raw.items() if key != "type"}
        config = read_struct(settings, settings_type, path, self._note)
        if config is BAD:
            return BAD
        return Part(kind, name, config, self._folder / RUNTIME_FOLDER)


def _nearest_section(name: str) -> str:
    later = [section for section in NOT_YET if "." not in section]
    nearest = did_you_mean(name, (*SECTION_ORDER, "profiles", *later))
    return f"{nearest}, which is not yet part of Catchment" if nearest in later else nearest


def _matching(table: Any, tables: list[str], path: KeyPath) -> list[tuple[dict[str, Any], KeyPath]]:
    """The tables that a pattern such as load.tables.* leads to."""
    if not isinstance(table, dict):
        return []
    if not tables:
        return [(table, path)]
    names = list(table) if tables[0] == "*" else [tables[0]]
    return [found for name in names if name in table for found in _matching(table[name], tables[1:], (*path, name))]
