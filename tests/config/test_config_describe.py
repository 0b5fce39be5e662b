from __future__ import annotations

import tomllib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from catchment.config import load_project
from catchment.config.describe import sections, toml
from catchment.config.schema import project_schema

Write = Callable[..., Path]


@pytest.fixture
def schema(small_adapters: object) -> dict[str, Any]:
    return project_schema()


@pytest.mark.usefixtures("small_adapters")
def test_every_setting_is_described() -> None:
    for section in sections():
        assert section.summary
        for settings in (section.settings, *section.by_type.values()):
            for setting in settings:
                assert setting.description.endswith("."), f"{section.name}.{setting.key}"
                assert setting.type, f"{section.name}.{setting.key}"


@pytest.mark.usefixtures("small_adapters")
def test_settings_are_as_declared() -> None:
    load = next(section for section in sections() if section.name == "load")
    told = {setting.key: (setting.type, setting.default) for setting in load.settings}
    assert told["max_rows"] == ("whole number, at least 1", "250_000")
    assert told["max_bytes"] == ("size, at least 1 MB", '"64 MB"')
    assert told["dedupe_window"] == ("duration, at least 1 minute", '"7 days"')
    assert told["contract"] == ('"evolve" or "freeze" or "reject"', '"evolve"')
    assert told["max_rejected_share"] == ("number, at least 0, at most 1", "0.5")
    assert told['tables."NAME".contract'] == ('"evolve" or "freeze" or "reject"', "")


@pytest.mark.usefixtures("small_adapters")
def test_what_must_be_given_has_no_default() -> None:
    warehouse = next(section for section in sections() if section.name == "warehouse")
    assert [(setting.key, setting.default) for setting in warehouse.by_type["needy"]] == [
        ("url", None),
        ("threads", "1"),
    ]


@pytest.mark.parametrize("value", [True, 12_345, -1, 0.5, 1e20, 'a "b" \\ é', ["x", 1], {"a": 1, "b": [2]}])
def test_a_default_written_as_toml_is_read_back(value: Any) -> None:
    assert tomllib.loads(f"value = {toml(value)}") == {"value": value}


def test_a_default_that_toml_cannot_say_is_refused() -> None:
    assert toml(timedelta(days=7)) == '"7 days"'
    with pytest.raises(TypeError):
        toml(object())


def test_the_schema_is_one(schema: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize(
    "text",
    [
        "",
        '[project]\nname = "acme"\n[queue]\ntype = "sqlite"\nmax_bytes = "2 GiB"\n',
        '[load]\nmax_bytes = 64_000_000\ndedupe_window = "7 days"\nmax_rows = "${ROWS}"\n',
        '[load.tables."website.signup"]\nmax_rejected_share = 0.1\n[metrics.ports]\nload = 9101\n',
        '[warehouse]\ntype = "needy"\nurl = "${URL}"\n',
        '[profiles.production.warehouse]\ntype = "needy"\nthreads = 2\n',
    ],
)
def test_the_schema_takes_what_is_right(schema: dict[str, Any], text: str) -> None:
    jsonschema.validate(tomllib.loads(text), schema)


@pytest.mark.parametrize(
    "text",
    [
        "[lod]",
        "[load]\nmax_row = 1",
        '[load]\nmax_rows = "many"',
        "[load]\nmax_rows = 0",
        '[load]\nmax_bytes = "64 megs"',
        "[load]\ndedupe_window = 7",
        '[load]\ncontract = "thaw"',
        '[warehouse]\ntype = "needy"',
        '[queue]\ntype = "kafka"',
        "[queue]\npath = 'x'",
        "[profiles.production.load]\nmax_row = 1",
    ],
)
def test_the_schema_refuses_what_is_wrong(schema: dict[str, Any], text: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(tomllib.loads(text), schema)


def test_schema_and_reader_agree_on_the_defaults(schema: dict[str, Any], project_folder: Write) -> None:
    load = load_project(project_folder(""), environment={}).load
    described = schema["properties"]["load"]["properties"]
    assert described["max_rows"]["default"] == load.max_rows
    assert described["max_bytes"]["default"] == load.max_bytes
