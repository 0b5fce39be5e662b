"""`catchment run` and `catchment up`, around services of the tests' own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from catchment import presence
from catchment.cli import run as catchment
from catchment.cli.run import SERVICES
from catchment.config import Project
from catchment.errors import UsageError
from catchment.service import Health, Stop


class Refusing:
    """Finds at once that it cannot run."""

    name = "refusing"

    def __init__(self, reason: Exception) -> None:
        self._reason = reason

    def run(self, stop: Stop) -> None:
        raise self._reason

    def health(self) -> Health:
        return Health(ok=True, ready=False)


def failing(project: Project) -> Refusing:
    """Raises what nobody foresaw."""
    return Refusing(RuntimeError(f"the end of {project.root.name}"))


def misconfigured(project: Project) -> Refusing:
    """Raises what the user can mend."""
    return Refusing(UsageError("[queue] url is wrong", "look at it"))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project, and services that are not in the table of Catchment."""
    for name in ("failing", "misconfigured"):
        monkeypatch.setitem(SERVICES, name, f"{__name__}:{name}")
    folder = tmp_path / "acme"
    assert catchment(["init", str(folder)]) == 0
    return folder


def test_an_unknown_service_is_named_with_the_nearest(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert catchment(["run", "-p", str(project), "faling"]) == 2
    assert "there is no service 'faling'\n  Try: did you mean failing?" in capfd.readouterr().err


@pytest.mark.parametrize(("name", "code", "words"), [("failing", 1, "of acme"), ("misconfigured", 2, "url is wrong")])
def test_the_exit_code_is_that_of_the_services(
    project: Path, capfd: pytest.CaptureFixture[str], name: str, code: int, words: str
) -> None:
    assert catchment(["run", "-p", str(project), name]) == code
    shown = capfd.readouterr()
    assert words in shown.err
    assert shown.out == ""
    [state] = presence.services(project / ".catchment")
    assert (state.name, state.state) == ("refusing", "stopped")


def test_up_runs_each_service_in_a_process_and_ends_on_a_wrong_configuration(
    project: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Only this process knows the name: the child that `up` starts refuses it.
    monkeypatch.delitem(SERVICES, "failing")
    for name in set(SERVICES) - {"misconfigured"}:
        monkeypatch.delitem(SERVICES, name)
    monkeypatch.setenv("CATCHMENT_LOG_FORMAT", "json")
    assert catchment(["up", "-p", str(project)]) == 2
    shown = capfd.readouterr()
    assert "misconfigured cannot run with this configuration" in shown.err
    assert "there is no service 'misconfigured'" in shown.err
    assert shown.out == ""


def test_up_hands_on_project_and_profile(project: Path) -> None:
    from catchment.cli.up import _command
    from catchment.config import load_project

    assert _command(load_project(project, None), "load") == [
        *(sys.executable, "-m", "catchment", "run", "--project", str(project), "load")
    ]
