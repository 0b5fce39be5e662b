"""`catchment archive expire`: what would go, and what went."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from catchment.cli.exits import ExitCode
from catchment.config import load_project
from catchment.load.loader import Loader
from catchment.load.rewrite import rewrite
from catchment.load.round import Round
from catchment.queues import Delivery, Message
from catchment.testing.content import rows
from tests.cli.conftest import Ended

Catchment = Callable[..., Ended]
NOW = datetime.now(UTC)
SETTINGS = '[retention]\narchive = "60 days"\nrows = "30 days"\n'


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """With three records of a table, of 10, 40 and 70 days ago."""
    (tmp_path / "catchment.toml").write_text(SETTINGS)
    opened = load_project(tmp_path)
    archive = opened.archive.open()
    with closing(opened.warehouse.open(readable=[Path(archive.url("name")).parent])) as warehouse:
        loader = Loader.of(warehouse, archive, opened.load)
        for days in (10, 40, 70):
            at = NOW - timedelta(days=days)
            taken = Round(loader.look, "test")
            body = b'{"table":"web.event","id":"%d","data":{"days":%d}}' % (days, days)
            taken.add(Delivery([Message(body, f"m{days}", at)], None))
            loader.load(taken.close(archive, at))
        list(rewrite(archive, warehouse, now=NOW))
    return tmp_path


def left(folder: Path) -> tuple[int, int]:
    """Rows, and archive files."""
    opened = load_project(folder)
    with closing(opened.warehouse.open()) as warehouse:
        [(count,)] = rows(warehouse, "SELECT count(*) FROM web.event")
    return count, len(list(opened.archive.open().list("table=")))


def test_a_dry_run_says_what_would_go_and_removes_nothing(catchment: Catchment, project: Path) -> None:
    ended = catchment("archive", "expire", "--dry-run", "-p", project)
    assert ended.code == ExitCode.DONE
    (line,) = ended.out.splitlines()
    assert line.split() == ["2", "rows", "0", "dead", "letters", "1", "files", "0.0", "MB", "web.event"]
    assert left(project) == (3, 3)


def test_it_removes_and_says_what(catchment: Catchment, project: Path) -> None:
    ended = catchment("archive", "expire", "--json", "-p", project)
    (found,) = map(json.loads, ended.out.splitlines())
    assert found.pop("bytes") > 0
    assert found == {"table": "web.event", "rows": 2, "dead_letters": 0, "files": 1}
    assert left(project) == (1, 2)
    assert "nothing is too old" in catchment("archive", "expire", "-p", project).err
    ended = catchment("replay", "web.event", "-p", project)
    assert ended.out.startswith("web.event: 0 rows added, of 2 records"), ended
    assert catchment("archive", "verify", "-p", project).code == ExitCode.DONE


def test_it_says_that_everything_is_kept(catchment: Catchment, project: Path) -> None:
    (project / "catchment.toml").write_text("")
    ended = catchment("archive", "expire", "-p", project)
    assert (ended.code, ended.out) == (ExitCode.DONE, "")
    assert "[retention] keeps everything" in ended.err
    assert left(project) == (3, 3)
