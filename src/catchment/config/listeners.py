"""Reading `[listen.NAME]`: a broker's settings, those that all listeners have, and perhaps a queue to forward to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from catchment import registry
from catchment.config.check import BAD, Note, read_struct, read_value, shown
from catchment.config.mistakes import did_you_mean
from catchment.config.project import RUNTIME_FOLDER, ListenPart
from catchment.config.sections import FORWARD
from catchment.config.source import KeyPath
from catchment.errors import UsageError
from catchment.listen.config import ForwardConfig, ListenConfig, ListenerName, mistakes
from catchment.listen.functions import fault_of

ReadPart = Callable[[str, Any, KeyPath], Any]
"""Reads an adapter's section: its kind, what is written, and where."""


def read_listeners(raw: Any, folder: Path, read_part: ReadPart, note: Note) -> Any:
    """The listeners by name, or `BAD`, with every mistake noted."""
    if raw is BAD:
        return BAD
    if not isinstance(raw, dict):
        note(("listen",), f"must be a table for each listener, not {shown(raw)}", "[listen.chats]")
        return BAD
    listeners = {}
    for name, settings in raw.items():
        path = ("listen", name)
        is_named = read_value(name, name, ListenerName, path, note) is not BAD
        read = _read_listener(name, settings, path, folder, read_part, note)
        listeners[name] = read if is_named else BAD
    return BAD if BAD in listeners.values() else listeners


def _read_listener(name: str, raw: Any, path: KeyPath, folder: Path, read_part: ReadPart, note: Note) -> Any:
    if raw is BAD:
        return BAD
    if not isinstance(raw, dict):
        note(path, f"must be a table of settings, not {shown(raw)}", f"[listen.{name}]")
        return BAD
    if "type" not in raw:
        note((*path, "type"), "is required", "one of " + ", ".join(registry.names("source")))
        return BAD
    type_name = raw["type"]
    try:
        own = registry.settings_type("source", type_name) if isinstance(type_name, str) else None
    except UsageError as error:
        note((*path, "type"), error.message, error.hint)
        return BAD
    if own is None:
        if type_name is not BAD:
            note((*path, "type"), "must be a text in quotes", ", ".join(registry.names("source")))
        return BAD
    ours, theirs = _names(ListenConfig), _names(own)
    unknown = raw.keys() - ours - theirs - {"type", FORWARD}
    for key in unknown:
        note((*path, key), "unknown setting", did_you_mean(key, [*ours, *theirs, FORWARD]))
    common = read_struct({key: raw[key] for key in raw if key in ours}, ListenConfig, path, note)
    config = read_struct({key: raw[key] for key in raw if key in theirs}, own, path, note)
    forward, send = _read_forward(raw.get(FORWARD), (*path, FORWARD), read_part, note)
    if BAD in (common, config, forward, send) or unknown:
        return BAD
    if not _fits(common, own, type_name, path, folder, note):
        return BAD
    return ListenPart("source", type_name, config, folder / RUNTIME_FOLDER, name, common, forward, send)


def _names(kind: type[msgspec.Struct]) -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(kind)}


def _read_forward(raw: Any, path: KeyPath, read_part: ReadPart, note: Note) -> tuple[Any, Any]:
    """The queue and what is sent there; None for the queue where there is none."""
    if raw is None:
        return None, ForwardConfig().send
    if not isinstance(raw, dict):
        return read_part("queue", raw, path), BAD
    if "type" not in raw:
        note((*path, "type"), "is required", "one of " + ", ".join(registry.names("queue")))
        return BAD, BAD
    own = _names(ForwardConfig)
    settings = read_struct({key: raw[key] for key in raw if key in own}, ForwardConfig, path, note)
    queue = read_part("queue", {key: value for key, value in raw.items() if key not in own}, path)
    return queue, settings if settings is BAD else settings.send


def _fits(
    common: ListenConfig, own: type[msgspec.Struct], type_name: str, path: KeyPath, folder: Path, note: Note
) -> bool:
    """Whether what the settings name exists: on this broker, and in the project's folder."""
    found = list(mistakes(common, getattr(own, "ABOUT", ()), type_name))
    if common.function is not None and (fault := fault_of(common.function, folder)) is not None:
        found.append((("function",), *fault))
    for below, message, hint in found:
        note((*path, *below), message, hint)
    return not found
