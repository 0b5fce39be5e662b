"""`catchment run` and `catchment up`, around services of the tests' own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from catchment import presence
from catchment.cli.run import SERVICES
from catchment.cli.up import _command
from catchment.config import Project, load_project
from catchment.errors import UsageError
from catchment.service import Health, Stop
from tests.cli.conftest import Ended

Catchment = Callable[..., Ended]


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


@pytest.fixture(autouse=True)
def services(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the services of these tests exist."""
    monkeypatch.setenv("CATCHMENT_LOG_FORMAT", "json")
    for name in list(SERVICES):
        monkeypatch.delitem(SERVICES, name)
    for name in ("failing", "misconfigured"):
        monkeypatch.setitem(SERVICES, name, f"{__name__}:{name}")


def test_an_unknown_service_is_named_with_the_nearest(catchment: Catchment, project: Path) -> None:
    ended = catchment("run", "-p", project, "faling")
    assert ended.code == 2
    assert "there is no service 'faling'\n  Try: did you mean failing?" in ended.err


@pytest.mark.parametrize(("name", "code", "words"), [("failing", 1, "the end of"), ("misconfigured", 2, "is wrong")])
def test_the_exit_code_is_that_of_the_services(
    catchment: Catchment, project: Path, name: str, code: int, words: str
) -> None:
    ended = catchment("run", "-p", project, name, name)
    assert ended.code == code
    assert words in ended.err
    assert ended.out == ""
    [state] = presence.services(project / ".catchment")
    assert (state.name, state.state) == ("refusing", "stopped")


def test_up_ends_with_the_words_of_a_child_that_finds_the_configuration_wrong(
    catchment: Catchment, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = "import sys; print('[queue] url is wrong'); sys.exit(2)"
    monkeypatch.setattr("catchment.cli.up._command", lambda project, name: [sys.executable, "-c", program])
    ended = catchment("up", "-p", project)
    assert ended.code == 2
    assert "cannot run with this configuration; it said:\n  [queue] url is wrong\n" in ended.err
    assert ended.out == "", "what children print is not the data of `up`"


def test_up_hands_on_project_and_profile(project: Path) -> None:
    (project / "catchment.toml").write_text("[profiles.production]\n")
    made = load_project(project, "production")
    assert _command(made, "load")[1:] == [
        *("-m", "catchment", "run", "--project", str(project), "--profile", "production", "load")
    ]
