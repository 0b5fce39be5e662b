"""`catchment admin` on a real state."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from catchment.cli.exits import ExitCode
from tests.cli.conftest import Ended

Catchment = Callable[..., Ended]


@pytest.fixture
def ask(catchment: Catchment, tmp_path: Path) -> Catchment:
    (tmp_path / "catchment.toml").write_text('[serve]\npublic_url = "https://data.acme.example"\nbase_path = "/x"\n')

    def ask(*arguments: str) -> Ended:
        return catchment(*arguments, "-p", tmp_path)

    return ask


def test_inviting_changing_and_revoking(ask: Catchment) -> None:
    invited = ask("admin", "invite", "Ana@Acme.example", "--role", "admin", "--group", "support", "--group", "data")
    assert invited.code == ExitCode.DONE
    assert invited.out.startswith("https://data.acme.example/x/sign-in/link?token=")
    assert "for ana@acme.example, admin; works once, until" in invited.err

    listed = ask("admin", "user", "list")
    assert listed.out == "ana@acme.example  admin    invited  groups: data, support\n"

    changed = ask("admin", "user", "change", "ana@acme.example", "--role", "viewer", "--no-groups", "--json")
    assert changed.code == ExitCode.DONE, changed.err
    assert {key: json.loads(changed.out)[key] for key in ("role", "groups")} == {"role": "viewer", "groups": []}

    assert "revoked 20" in ask("admin", "user", "revoke", "ana@acme.example").out
    reset = ask("admin", "user", "reset", "ana@acme.example")
    assert (reset.code, "user restore ana@acme.example" in reset.err) == (ExitCode.WRONG_USAGE, True)
    assert "invited" in ask("admin", "user", "restore", "ana@acme.example").out

    lines = ask("admin", "audit").out.splitlines()
    assert [line.split()[3] for line in lines] == ["restore", "revoke", "change", "invite"]
    assert "role admin -> viewer; groups data, support -> none" in lines[2]
    entries = [json.loads(line) for line in ask("admin", "audit", "--json", "--action", "invite").out.splitlines()]
    assert [(each["about"], each["via"]) for each in entries] == [("ana@acme.example: as admin", "command")]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("admin", "invite", "ana"), "that is no email"),
        (("admin", "user", "reset", "bob@acme.example"), "there is no user bob@acme.example"),
        (("admin", "user", "change", "bob@acme.example"), "nothing to change is given"),
        (("admin", "user", "change", "b@a.example", "--group", "x", "--no-groups"), "exclude each other"),
        (("admin", "audit", "--since", "yesterday"), "'yesterday' is no time"),
    ],
)
def test_mistakes(ask: Catchment, arguments: tuple[str, ...], words: str) -> None:
    ended = ask(*arguments)
    assert (ended.code, ended.out) == (ExitCode.WRONG_USAGE, "")
    assert words in ended.err


def test_a_damaged_state_is_said_in_words(ask: Catchment, tmp_path: Path) -> None:
    ask("admin", "invite", "ana@acme.example")
    (tmp_path / ".catchment" / "state.db").write_bytes(b"no database at all, " * 500)
    for side in ("-wal", "-shm"):
        (tmp_path / ".catchment" / f"state.db{side}").unlink(missing_ok=True)
    ended = ask("admin", "user", "list")
    assert ended.code == ExitCode.FAILED
    assert "state.db is damaged" in ended.err
    assert "put a copy of it back" in ended.err
    assert "Traceback" not in ended.err


def test_a_backup_has_the_accounts(ask: Catchment, tmp_path: Path) -> None:
    ask("admin", "invite", "ana@acme.example", "--role", "admin")
    ended = ask("backup", str(tmp_path / "copy"))
    assert ended.code == ExitCode.DONE, ended.err
    assert [Path(line).name for line in ended.out.splitlines()] == ["warehouse.duckdb", "state.db"]
    ask("admin", "user", "revoke", "ana@acme.example")
    for file in (tmp_path / ".catchment").glob("state.db*"):
        file.unlink()
    (tmp_path / "copy" / "state.db").rename(tmp_path / ".catchment" / "state.db")
    assert ask("admin", "user", "list").out == "ana@acme.example  admin    invited\n"
