"""What the tests of the command line share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from catchment.cli import run
from tests.small_adapters import no_secrets, small_adapters

__all__ = ["no_secrets", "small_adapters"]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command line ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def catchment(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ended]:
    """Runs a command line in this process."""
    for variable in ("CATCHMENT_PROJECT", "CATCHMENT_PROFILE", "CATCHMENT_DEBUG"):
        monkeypatch.delenv(variable, raising=False)

    def command(*arguments: str | Path) -> Ended:
        capfd.readouterr()
        code = run([str(argument) for argument in arguments])
        return Ended(code, *capfd.readouterr())

    return command


@pytest.fixture
def project(tmp_path: Path, small_adapters: object) -> Path:
    """The folder of a project with every default."""
    (tmp_path / "catchment.toml").write_text("")
    return tmp_path
