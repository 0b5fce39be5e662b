"""The JSON Schema of catchment.toml, from the settings' declarations: editors complete and check by it."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec

from catchment import registry
from catchment.config.check import FOREVER_WORD, is_size, is_struct, may_be_forever, plain_type
from catchment.config.describe import summary
from catchment.config.sections import ADAPTER_SECTIONS, FORWARD, NAMED_SECTIONS, SECTION_ORDER, SECTIONS
from catchment.config.units import DURATION_PATTERN, SIZE_PATTERN
from catchment.listen.config import ForwardConfig

_VARIABLE = {"$ref": "#/$defs/variable"}


def project_schema() -> dict[str, Any]:
    """The schema of a project file with the adapters that are installed here."""
    profile = {
        "type": "object",
        "description": "Settings laid over the others by `--profile NAME`.",
        "additionalProperties": False,
        "properties": {name: _section(name, is_partial=True) for name in SECTION_ORDER},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Catchment project",
        "description": "catchment.toml",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            **{name: _section(name) for name in SECTION_ORDER},
            "profiles": {"type": "object", "additionalProperties": profile},
        },
        "$defs": {
            "variable": {
                "type": "string",
                "pattern": r"\$\{[^{}]+\}",
                "description": "${NAME} from the environment or .env, ${file:PATH} from a file.",
            }
        },
    }


def _section(name: str, is_partial: bool = False) -> dict[str, Any]:
    if name in SECTIONS:
        return _table(SECTIONS[name], is_partial)
    if name in NAMED_SECTIONS:
        kind, common, words = NAMED_SECTIONS[name]
        more = _table(common, is_partial)
        more["properties"][FORWARD] = {"anyOf": _variants("queue", "", _table(ForwardConfig, is_partial), is_partial)}
        one = {"description": words, "anyOf": _variants(kind, "", more, is_partial)}
        return {"type": "object", "description": words, "additionalProperties": one}
    default, words = ADAPTER_SECTIONS[name]
    return {"description": words, "anyOf": _variants(name, default, {"properties": {}}, is_partial)}


def _variants(kind: str, default: str, more: dict[str, Any], is_partial: bool) -> list[dict[str, Any]]:
    """A table for each type of this kind, with settings that all of them have."""
    variants = []
    for type_name in registry.names(kind):
        table = _table(registry.settings_type(kind, type_name), is_partial)
        table["properties"] = {"type": {"const": type_name}, **table["properties"], **more["properties"]}
        required = [*table.get("required", ()), *more.get("required", ())]
        if type_name != default:
            required = ["type", *required]
        if required:
            table["required"] = required
        variants.append(table)
    return variants


def _table(kind: type[msgspec.Struct], is_partial: bool) -> dict[str, Any]:
    fields = msgspec.structs.fields(kind)
    table: dict[str, Any] = {
        "type": "object",
        "description": summary(kind),
        "additionalProperties": False,
        "properties": {
            field.encode_name: _value(field.encode_name, field.type, field.default, is_partial) for field in fields
        },
    }
    required = [field.encode_name for field in fields if field.required]
    return table if is_partial or not required else {**table, "required": required}


def _value(name: str, annotation: Any, default: Any, is_partial: bool) -> dict[str, Any]:
    plain, metas = plain_type(annotation)
    schema = _plain(name, plain, metas, is_partial)
    description = next((meta.description for meta in metas if meta.description), None)
    if description:
        schema["description"] = description
    if isinstance(default, str | int | float):
        schema["default"] = default
    return schema


def _plain(name: str, plain: Any, metas: tuple[msgspec.Meta, ...], is_partial: bool) -> dict[str, Any]:
    if is_struct(plain):
        return _table(plain, is_partial)
    if get_origin(plain) is dict:
        below = _value(name, get_args(plain)[1], None, is_partial)
        return {"type": "object", "additionalProperties": below}
    if get_origin(plain) is list:
        return {"type": "array", "items": _value(name, get_args(plain)[0], None, is_partial)}
    if plain is timedelta:
        forever = [{"const": FOREVER_WORD}] if may_be_forever(metas) else []
        return {"anyOf": [{"type": "string", "pattern": DURATION_PATTERN}, *forever, _VARIABLE]}
    if get_origin(plain) is Literal:
        return {"anyOf": [{"enum": list(get_args(plain))}, _VARIABLE]}
    schema = _scalar(plain, metas)
    if is_size(name, plain):
        return {"anyOf": [schema, {"type": "string", "pattern": SIZE_PATTERN}, _VARIABLE]}
    return schema if plain is str else {"anyOf": [schema, _VARIABLE]}


def _scalar(plain: Any, metas: tuple[msgspec.Meta, ...]) -> dict[str, Any]:
    annotated = Annotated[(plain, *metas)] if metas else plain
    return {key: value for key, value in msgspec.json.schema(annotated).items() if key != "description"}
