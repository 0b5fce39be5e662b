"""The company's demo on some weeks of history: what it says, what it refuses, and that nothing outlives it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from itertools import chain, takewhile
from pathlib import Path

import nanoarrow
import pytest

from catchment import presence
from catchment.cli.parts import warehouse_of
from catchment.config import load_project
from catchment.demo.company import Call, project, questions, sending, show
from catchment.demo.company.issues import KEY, TABLE, VERSION, Issues
from catchment.demo.company.live import QUEUE
from catchment.demo.company.project import dashboards
from catchment.demo.company.sending import Batch, batches
from catchment.demo.screen import Screen
from catchment.errors import Abort
from tests.cli.conftest import Ended, catchment
from tests.service.conftest import PATIENCE_S, runs, until

__all__ = ["catchment"]

Catchment = Callable[..., Ended]
DAYS = "40"
"""With fewer there may be no fraud yet, and so no table of it."""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, and a short history."""
    monkeypatch.setenv(show.DAYS_ENV, DAYS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def counts(out: str) -> dict[str, int]:
    """Rows by table, as the demo says that they were sent and loaded."""
    found = re.findall(r"✓ (\w+\.\w+) +([\d,]+) sent +([\d,]+) loaded", out)
    assert all(sent == loaded for _, sent, loaded in found)
    return {table: int(sent.replace(",", "")) for table, sent, _ in found}


def ids(folder: Path, table: str) -> Counter[str]:
    with warehouse_of(load_project(folder, None)) as warehouse:
        rows = nanoarrow.ArrayStream(warehouse.query(f"SELECT id FROM {table}")).iter_tuples()
        return Counter(identity for (identity,) in rows)


def newest(folder: Path) -> dict[int, str]:
    """The version of every issue, each of which is there once."""
    with warehouse_of(load_project(folder, None)) as warehouse:
        sql = f"SELECT {KEY}, _version FROM {TABLE}"
        rows = list(nanoarrow.ArrayStream(warehouse.query(sql)).iter_tuples())
    assert len(dict(rows)) == len(rows) > 1000
    return dict(rows)


def issues_of(folder: Path) -> Iterator[Call]:
    """All changes of issues that a run in this folder has sent: up to the last that there is."""
    last = datetime.fromisoformat(max(newest(folder).values()))
    return Issues(show.SEED, last, project.days_since(project._first_day(folder), last.date())).history()


def test_everything_sent_is_counted_and_the_questions_answered(catchment: Catchment, here: Path) -> None:
    ended = catchment("demo", "--once")
    assert (ended.code, ended.err) == (0, "")
    assert "✓ 0 lost, 0 doubled\n" in ended.out
    for question in questions():
        title, _, answer = ended.out.partition(f"\n{question.title}\n")
        assert title, question.title
        assert " │ " in answer.partition("\n\n")[0], "a table"
    assert re.search(r"✓ [\d,]+ events made up, sent and loaded in [\d.]+ s: [\d,]+ events/s\n", ended.out)
    assert "\x1b" not in ended.out, "no colours where no terminal is"

    folder = here / show.FOLDER
    assert {state.name: state.state for state in presence.services(folder / ".catchment")} == {
        "collect": "stopped", "load": "stopped", "serve": "stopped",
    }  # fmt: skip
    said = counts(ended.out)
    assert len(said) == 19
    for table in ("app.tracks", "app.card_payment", "website.pages"):
        found = ids(folder, table)
        assert len(found) == found.total() == said[table] > 500
    assert said["app.tracks"] == sum(
        rows for table, rows in said.items() if table.startswith("app.")
        and table not in {"app.tracks", "app.screens", "app.identifies"}
    )  # fmt: skip

    keys = re.findall(r"^\w+_WRITE_KEY=(\w{32})$", (folder / ".env").read_text(), re.MULTILINE)
    assert len(set(keys)) == 3
    assert [file.name for file in sorted((folder / "dashboards").iterdir())] == [name for name, _ in dashboards()]
    assert load_project(folder, None).timezone == "Europe/London"
    assert not any(key in (folder / "catchment.toml").read_text() for key in keys)
    asked = catchment("query", "-p", folder, "--file", folder / "questions" / "nps_by_month.sql")
    assert asked.out.strip() in ended.out

    assert newest(folder) == {issue.body[KEY]: issue.body[VERSION] for issue in issues_of(folder)}

    again = catchment("demo", "company", "--once")
    assert again.code == 0
    assert "is sent again, which must add nothing" in " ".join(again.out.split())
    assert "✓ 0 lost, 0 doubled" in again.out
    # Those who wait in the last hour are others each time, and not always from the same source.
    assert all(rows >= said[table] - QUEUE for table, rows in counts(again.out).items())
    found = ids(folder, "app.card_payment")
    assert len(found) == found.total() == counts(again.out)["app.card_payment"]


def test_an_event_that_is_lost_is_told_and_ends_with_3(catchment: Catchment, monkeypatch: pytest.MonkeyPatch) -> None:
    def all_but_one(calls: Iterable[Call]) -> Iterator[Batch]:
        every = iter(calls)
        # An issue may be sent again in a newer version, and what is tracked is of two tables.
        before = list(takewhile(lambda call: call.body.get("type", "track") == "track", every))
        return batches(chain(before, every))

    monkeypatch.setattr(sending, "batches", all_but_one)
    ended = catchment("demo")
    assert ended.code == 3
    assert "✗ 1 lost, 0 doubled" in ended.out
    assert "Ctrl-C" not in ended.out, "it does not go on"


def test_a_port_that_is_taken_is_left_alone(catchment: Catchment, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server((project.HOST, 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(project, "PORT", port)
        monkeypatch.setattr(show, "Up", _NotStarted)
        assert catchment("demo", "--once").code == 1
        listen = load_project(here / show.FOLDER, None).collect.port
        assert listen not in {0, port}
    with socket.create_server((project.HOST, listen)):
        ended = catchment("demo", "--once")
    assert ended.code == 2
    assert f"something else listens on {project.HOST}:{listen}" in ended.err


class _NotStarted:
    def __init__(self, *_: object) -> None:
        raise Abort("not started")


def test_a_folder_of_somebody_else_is_left_alone(catchment: Catchment, here: Path) -> None:
    (here / "mine").mkdir()
    (here / "mine" / "catchment.toml").write_text("")
    ended = catchment("demo", "--dir", here / "mine")
    assert ended.code == 2
    assert "is not empty: catchment.toml" in ended.err
    assert [path.name for path in (here / "mine").iterdir()] == ["catchment.toml"]


def test_a_project_that_runs_is_refused(catchment: Catchment, here: Path) -> None:
    (here / "company-demo" / ".catchment").mkdir(parents=True)
    (here / "company-demo" / "catchment.toml").write_text(project.MARK)
    with presence.hold(here / "company-demo" / ".catchment" / presence.UP_LOCK):
        ended = catchment("demo")
    assert ended.code == 2
    assert f"runs in company-demo already (pid {os.getpid()})" in ended.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_it_goes_on_and_whatever_ends_it_leaves_nothing_running(here: Path, number: signal.Signals) -> None:
    output = here / "output"
    with output.open("wb") as file:
        demo = subprocess.Popen([sys.executable, "-m", "catchment", "demo"], stdout=file, start_new_session=True)
    try:
        until(lambda: "Ctrl-C here stops" in output.read_text(), "the demo to go on running")
        runtime = here / show.FOLDER / ".catchment"
        pids = [presence.holder(runtime / presence.UP_LOCK), *(each.pid for each in presence.services(runtime))]
        assert len(pids) == 4  # `up`, and what collects, serves and loads
        assert all(map(runs, pids))
        before = counts(output.read_text())["app.tracks"]
        until(lambda: ids(here / show.FOLDER, "app.tracks").total() > before, "live traffic")
        demo.send_signal(number)
        assert demo.wait(PATIENCE_S) == (0 if number == signal.SIGINT else -number)
        until(lambda: not any(map(runs, pids)), "everything to end")
    finally:
        demo.kill()
        demo.wait()


def test_ctrl_c_while_it_sends_ends_everything_too(here: Path) -> None:
    with (here / "output").open("wb") as file:
        demo = subprocess.Popen([sys.executable, "-m", "catchment", "demo"], stdout=file, start_new_session=True)
    try:
        until(lambda: "events go to" in (here / "output").read_text(), "the collector")
        runtime = here / show.FOLDER / ".catchment"
        pids = [presence.holder(runtime / presence.UP_LOCK), *(each.pid for each in presence.services(runtime))]
        demo.send_signal(signal.SIGINT)
        assert demo.wait(PATIENCE_S) == 130
        until(lambda: not any(map(runs, pids)), "everything to end")
    finally:
        demo.kill()
        demo.wait()


def test_the_snippets_hold_what_one_needs(capsys: pytest.CaptureFixture[str]) -> None:
    show._suggest(Screen(), Path("a folder"), "http://127.0.0.1:8123", {"app": "a" * 32, "website": "b" * 32})
    said = capsys.readouterr().out
    assert f"$ curl http://127.0.0.1:8123/v1/track -u {'a' * 32}: -d '{{" in said
    assert f'writeKey: "{"b" * 32}", cdnURL: "http://127.0.0.1:8123"' in said
    assert 'apiHost: "127.0.0.1:8123/v1", protocol: "http"' in said
    assert "$ cd 'a folder'" in said
    assert len(re.findall(r"^\$ catchment \w+", said, re.MULTILINE)) == 4
