from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from catchment.cli.exits import ExitCode
from tests.cli.conftest import Ended

Catchment = Callable[..., Ended]

TEN_MISTAKES = """\
[project]
name = "acme"
timezone = "America/Los_Angelos"

[queue]
type = "sqlight"

[warehouse]
path = "${WAREHOUSE_PATH}"

[load]
max_age = 0.5
max_rows = "many"
max_bytes = "64 megs"
contract = "froze"
[load.tables."Website.Signup"]
max_rejected_share = 1.5

[colect]
listen = "127.0.0.1:8000"

[profiles.production.warehouse]
type = "redshift"
host = "${REDSHIFT_HOST}"
"""

SAID = """\
catchment: 12 mistakes in the project's files
.env:2: is no NAME=value
  Try: NAME=value, with quotes around a value of several lines
catchment.toml:3: project.timezone: must be a time zone's name, not "America/Los_Angelos"
  Try: America/Los_Angeles
catchment.toml:6: queue.type: there is no queue of type "sqlight"
  Try: type = "sqlite"
catchment.toml:9: warehouse.path: the variable WAREHOUSE_PATH is set nowhere; looked in the environment and in \
{env}
  Try: a line WAREHOUSE_PATH=… in .env, or export WAREHOUSE_PATH=…; WAREHOUSE_PAHT is set
catchment.toml:12: load.max_age: unknown setting
  Try: max_age_s
catchment.toml:13: load.max_rows: must be a whole number, not "many"
catchment.toml:14: load.max_bytes: must be a size with its unit, such as "64 MB" or "64 MiB", not "64 megs"
catchment.toml:15: load.contract: must be "evolve" or "freeze" or "reject", not "froze"
catchment.toml:16: load.tables."Website.Signup": must be a table's name, schema.table in lower case, and none of \
Catchment's own, not "Website.Signup"
catchment.toml:17: load.tables."Website.Signup".max_rejected_share: must be at most 1, not 1.5
catchment.toml:19: colect: unknown section
  Try: collect
catchment.toml:23: profiles.production.warehouse.type: "redshift" is not yet part of Catchment
  Try: leave it out
"""


def test_all_mistakes_at_once(catchment: Catchment, project: Path) -> None:
    (project / "catchment.toml").write_text(TEN_MISTAKES)
    (project / ".env").write_text("WAREHOUSE_PAHT=/var/lib/secret-place\nnonsense\n")
    ended = catchment("validate", "-p", project)
    assert ended.code == ExitCode.WRONG_USAGE
    assert ended.out == ""
    assert ended.err == SAID.format(env=project / ".env")


def test_mistakes_for_a_program(catchment: Catchment, project: Path) -> None:
    (project / "catchment.toml").write_text("[load]\nmax_row = 1\n")
    ended = catchment("validate", "-p", project, "--json")
    assert (ended.code, ended.err) == (ExitCode.WRONG_USAGE, "")
    assert json.loads(ended.out) == {
        "ok": False,
        "mistakes": [
            {
                "file": "catchment.toml",
                "line": 2,
                "key": "load.max_row",
                "message": "unknown setting",
                "hint": "max_rows",
                "column": 0,
            }
        ],
    }


def test_a_project_without_mistakes(catchment: Catchment, project: Path) -> None:
    assert catchment("validate", "-p", project) == Ended(0, f"{project}/catchment.toml: no mistakes\n", "")
    assert json.loads(catchment("validate", "-p", project, "--json").out) == {"ok": True, "mistakes": []}


def test_one_profile_needs_its_variables(catchment: Catchment, project: Path) -> None:
    (project / "catchment.toml").write_text('[profiles.production.queue]\nurl = "${QUEUE_URL_OF_NOBODY}"\n')
    assert catchment("validate", "-p", project).code == ExitCode.DONE
    ended = catchment("validate", "-p", project, "--profile", "production")
    assert ended.code == ExitCode.WRONG_USAGE
    assert "catchment.toml:2: profiles.production.queue.url: the variable QUEUE_URL_OF_NOBODY" in ended.err


def test_the_project_and_profile_may_come_from_the_environment(
    catchment: Catchment, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "catchment.toml").write_text("[profiles.production.load]\nmax_rows = 0\n")
    monkeypatch.setenv("CATCHMENT_PROJECT", str(project))
    monkeypatch.setenv("CATCHMENT_PROFILE", "production")
    assert "profiles.production.load.max_rows: must be at least 1" in catchment("validate").err


def test_a_project_is_found_from_below(catchment: Catchment, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "models").mkdir()
    monkeypatch.chdir(project / "models")
    assert catchment("validate").code == ExitCode.DONE


def test_a_folder_that_is_named_must_be_the_project(catchment: Catchment, project: Path) -> None:
    (project / "models").mkdir()
    ended = catchment("validate", "-p", project / "models")
    assert ended.code == ExitCode.WRONG_USAGE
    assert f"there is no catchment.toml in {project / 'models'}\n  Try: catchment init" in ended.err


DASHBOARD = """\
---
title: Chat queue
refresh: 1s
filters:
  queue: {type: many, options: [Cards, Other]}
---
```sql pie waiting "Waiting"
select 1
```
```sql number "Waiting" click=queu
select count(*) from chats
where queue in $qeue
```
```sql query a
select * from b
```
```sql query b
select * from a
```
"""
SAID_OF_DASHBOARDS = """\
2 mistakes
catchment.toml:2: load.max_row: unknown setting
  Try: max_rows
dashboards/chat-queue.md:3:10: refresh: at least 10s
dashboards/chat-queue.md:7:8: no kind 'pie'; kinds: area, bar, heat, line, number, query, scatter, table
dashboards/chat-queue.md:10:25: click=queu: no filter 'queu'; did you mean queue?
dashboards/chat-queue.md:12:16: $qeue is no filter here; did you mean $queue?
dashboards/chat-queue.md:14:14: queries a and b each need the other first
dashboards/chat-queue.md:17:14: queries a and b each need the other first
dashboards/support/latin.md:1:2: is not UTF-8: save the file as UTF-8
"""


def test_mistakes_of_dashboards_are_in_the_same_list(catchment: Catchment, project: Path) -> None:
    (project / "catchment.toml").write_text("[load]\nmax_row = 1\n")
    (project / "dashboards" / "support").mkdir(parents=True)
    (project / "dashboards" / "chat-queue.md").write_text(DASHBOARD)
    (project / "dashboards" / "support" / "latin.md").write_bytes(b"-\xe9")
    (project / "dashboards" / ".hidden.md").write_text("nothing")
    ended = catchment("validate", "-p", project)
    assert ended.code == ExitCode.WRONG_USAGE
    assert ended.err.partition("\n")[2] == SAID_OF_DASHBOARDS.partition("\n")[2]
    found = json.loads(catchment("validate", "-p", project, "--json").out)
    assert {key: found["mistakes"][1][key] for key in ("file", "line", "column", "message")} == {
        "file": "dashboards/chat-queue.md",
        "line": 3,
        "column": 10,
        "message": "refresh: at least 10s",
    }


def test_without_the_extra_dashboards_are_not_checked_and_that_is_said(
    catchment: Catchment, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "dashboards").mkdir()
    (project / "dashboards" / "chat-queue.md").write_text(DASHBOARD)
    for name in [name for name in sys.modules if name.startswith(("catchment.serve.dashboards", "yaml"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "yaml", None)
    ended = catchment("validate", "-p", project)
    assert (ended.code, ended.out) == (ExitCode.DONE, f"{project}/catchment.toml: no mistakes\n")
    assert ended.err == "dashboards/ is not checked: that needs yaml\n  Try: pip install 'catchment[serve]'\n"
