from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from catchment.cli import COMMANDS
from catchment.cli.exits import ExitCode
from catchment.config.describe import sections
from catchment.registry import ADAPTERS
from catchment.testing.warehouses import WarehouseConformance
from tests.small_adapters import small_adapters

__all__ = ["small_adapters"]

GENERATOR = Path(__file__).parents[2] / "docs" / "generate.py"


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", GENERATOR)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["configuration.md", "commands.md", "dashboards.md", "warehouses.md"])
def test_the_committed_reference_is_current(generate: ModuleType, page: str) -> None:
    committed = (generate.REFERENCE / page).read_text()
    assert committed == generate.PAGES[page](), "run `make docs`"


def test_every_warehouse_is_in_the_matrix_with_every_test_of_the_suite(generate: ModuleType) -> None:
    text = generate.warehouses()
    assert list(generate.CONFORMING) == [adapter.name for adapter in ADAPTERS if adapter.kind == "warehouse"]
    for name in dir(WarehouseConformance):
        if name.startswith("test_"):
            assert f"| {name.removeprefix('test_').replace('_', ' ')} | yes |" in text
    assert "| a backup is a warehouse | yes | yes | by `pg_dump` |" in text


def test_every_setting_of_ours_is_described() -> None:
    for section in sections():
        for settings in (section.settings, *section.by_type.values()):
            assert [setting.key for setting in settings if not setting.description] == [], section.name


@pytest.mark.usefixtures("small_adapters")
def test_every_setting_is_in_the_reference(generate: ModuleType) -> None:
    text = generate.configuration()
    for section in sections():
        assert f"## `[{section.name}{'.NAME' if section.is_named else ''}]`" in text
        for settings in (section.settings, *section.by_type.values()):
            for setting in settings:
                assert f"| `{setting.key}` | {setting.type.replace('|', chr(92) + '|')} |" in text
                assert setting.description in text
    assert '### `type = "needy"`\n\n| setting' in text
    assert "| `url` | text | must be given |" in text


def test_every_command_option_and_exit_code_is_in_the_reference(generate: ModuleType) -> None:
    text = generate.commands()
    for name in COMMANDS:
        assert f"## `catchment {name}" in text
    for code in ExitCode:
        assert f"| {code.value} | " in text
    for words in ("## `catchment schema record`", "`-p, --project DIR`", "CATCHMENT_PROFILE", "catchment init"):
        assert words in text
