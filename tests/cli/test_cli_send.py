"""`catchment send` and `catchment sniff` as commands: what they print, refuse and return."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from catchment.cli import send as command
from catchment.cli.send import Destination, send
from catchment.cli.sniff import sniff
from catchment.config import PROJECT_FILE, load_project
from catchment.errors import Abort, CatchmentError, Retry, UsageError
from catchment.record import DEAD_LETTERS
from catchment.send import publish
from catchment.send.source import opened
from tests.send.harness import ListQueue


@dataclass
class Project:
    """What the command is given; counts how often it was asked whether all is loaded."""

    folder: Path
    queue: ListQueue = field(default_factory=ListQueue)
    loading: bool = True
    loaded_after: int = 0
    asked: int = 0
    is_open: bool = False

    def run(self, *arguments: str, stdin: bytes | None = None, command: click.Command = send) -> Result:
        where = ("-p", str(self.folder)) if command is send else ()
        return CliRunner().invoke(command, [*where, *arguments], input=stdin)

    @contextmanager
    def destination(self) -> Iterator[Destination]:
        self.is_open = True
        yield Destination(self.queue, lambda: self.loading, self._is_loaded)
        self.is_open = False

    def _is_loaded(self, queued_at_s: float) -> bool:
        self.asked += 1
        return self.asked > self.loaded_after


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    (tmp_path / PROJECT_FILE).write_text("")
    fake = Project(tmp_path)
    monkeypatch.setattr(command, "_destination", lambda *_: fake.destination())
    return fake


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "orders.csv"
    path.write_bytes(b"id,name\n1,x\n2,y\n,z\n")
    return path


def error_of(result: Result) -> CatchmentError:
    assert isinstance(result.exception, CatchmentError), result.output
    return result.exception


def test_one_line_of_data_on_stdout(project: Project, file: Path) -> None:
    result = project.run("shop.orders", str(file))
    assert (result.exit_code, result.stdout, result.stderr) == (0, "shop.orders: 3 rows, 0 dead letters\n", "")
    assert [each.source for each in project.queue.records()] == ["send"] * 3
    assert not project.is_open


def test_the_projects_own_queue_holds_the_rows(project: Project, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    result = project.run("shop.orders", str(file), "--id", "id")
    assert result.stdout == "shop.orders: 2 rows, 1 dead letters\n"
    assert "nothing runs that would load it" in result.stderr
    with closing(load_project(project.folder, None).queue.open()) as queue:
        delivery = queue.receive(1 << 20, wait_s=5)
    assert delivery is not None
    project.queue.publish([message.body for message in delivery.messages])
    assert [each.table for each in project.queue.records()] == ["shop.orders", "shop.orders", DEAD_LETTERS]


def test_json_and_ids(project: Project, file: Path) -> None:
    result = project.run("shop.orders", str(file), "--id", "id", "--source", "erp", "--json")
    assert json.loads(result.stdout) == {"table": "shop.orders", "rows": 2, "dead_letters": 1}
    assert result.stdout.count("\n") == 1
    assert "dead-letters list" in result.stderr
    assert {(each.id, each.source) for each in project.queue.records()} >= {("1", "erp"), ("2", "erp")}


def test_sending_a_file_again_sends_the_same_ids(project: Project, file: Path) -> None:
    project.run("shop.orders", str(file))
    once = {each.id for each in project.queue.records()}
    project.run("shop.orders", "-", "--format", "csv", stdin=file.read_bytes())
    assert len(once) == 3
    assert len(project.queue.records()) == 6
    assert {each.id for each in project.queue.records()} == once


def test_standard_input_is_the_default(project: Project) -> None:
    result = project.run("shop.orders", "--format", "ndjson", stdin=b'{"a":1}\n{"a":2}\n')
    assert result.stdout == "shop.orders: 2 rows, 0 dead letters\n"
    result = project.run("shop.orders", stdin=b"{}")
    assert "--format" in error_of(result).hint


def test_says_so_when_nothing_would_load_it(project: Project, file: Path) -> None:
    project.loading = False
    result = project.run("shop.orders", str(file))
    assert result.exit_code == 0
    assert "nothing runs that would load it" in result.stderr
    assert project.asked == 0


def test_wait(project: Project, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_POLL_S", 0.001)
    project.loaded_after = 3
    result = project.run("shop.orders", str(file), "--wait")
    assert (result.exit_code, project.asked) == (0, 4)
    assert result.stderr == "loaded\n"


def test_wait_gives_up_where_nothing_loads(project: Project, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_POLL_S", 0.001)
    monkeypatch.setattr(command, "_LOADER_PATIENCE_S", 0.01)
    project.loaded_after, project.loading = 10**9, False
    result = project.run("shop.orders", str(file), "--wait")
    assert isinstance(error_of(result), Retry)
    assert result.stdout == "shop.orders: 3 rows, 0 dead letters\n"


def test_a_full_queue_is_a_word_on_stderr(project: Project, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "_FIRST_WAIT_S", 0.001)
    project.queue.full = 2
    result = project.run("shop.orders", str(file))
    assert result.stdout == "shop.orders: 3 rows, 0 dead letters\n"
    assert result.stderr.startswith("waiting: the queue is full")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Retry("the broker is away")])
def test_interrupted(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    monkeypatch.setattr(publish, "PUBLISH_BYTES", 1)
    path = tmp_path / "t.json"
    path.write_text(json.dumps([{"n": n} for n in range(12_000)]))
    queue_it = project.queue.publish

    def interrupted(messages: list[bytes]) -> None:
        if project.queue.calls:
            raise error
        queue_it(messages)

    monkeypatch.setattr(project.queue, "publish", interrupted)
    result = project.run("shop.orders", str(path))
    assert result.exit_code != 0
    assert result.stdout == ""
    assert "not finished: 5,000 rows and 0 dead letters are queued" in result.stderr
    assert "sending the same again adds nothing twice" in result.stderr
    assert len(project.queue.records()) == 5_000


def test_a_file_that_changes_meanwhile(project: Project, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queue_it = project.queue.publish

    def publish_and_write(messages: list[bytes]) -> None:
        queue_it(messages)
        file.write_bytes(file.read_bytes() + b"9,9\n")

    monkeypatch.setattr(project.queue, "publish", publish_and_write)
    result = project.run("shop.orders", str(file))
    assert isinstance(error_of(result), Abort)
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["Shop.Orders", "FILE"], "not schema.table"),
        (["orders", "FILE"], "not schema.table"),
        (["catchment.dead_letters", "FILE"], "Catchment's own"),
        (["shop.orders", "FILE", "--id", "order"], "its fields are id, name"),
        (["shop.orders", "FILE", "--delimiter", "::"], "must be one character"),
        (["shop.orders", "FILE", "--delimiter", '"'], "must differ"),
        (["shop.orders", "FILE", "--quote", "none", "--escape", "\\"], "--escape goes before quotes"),
        (["shop.orders", "FILE", "--null", '""'], "--null is a text without quotes"),
        (["shop.orders", "FILE", "--columns", "a,a"], "a name of its own"),
        (["shop.orders", "FILE", "--columns", "a,"], "a name of its own"),
        (["shop.orders", "FILE", "--format", "ndjson", "--skip", "1"], "--skip is about CSV"),
        (["shop.orders", "FILE", "--format", "json", "--null", "NA"], "--null is about CSV"),
        (["shop.orders", "missing.csv"], "No such file"),
        (["shop.orders", "missing.xlsx"], "--format csv, ndjson, json, parquet"),
    ],
)
def test_wrong_usage(project: Project, file: Path, arguments: list[str], words: str) -> None:
    result = project.run(*[str(file) if each == "FILE" else each for each in arguments])
    error = error_of(result)
    assert isinstance(error, UsageError)
    assert words in str(error)
    assert project.queue.calls == []
    assert not project.is_open or words == "its fields are id, name"


def test_marks_by_name(project: Project, tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_bytes(b"NA\t'x\ty'\n1\t\n")
    flags = ["--delimiter", "tab", "--quote", "'", "--null", "NA", "--columns", 'a,"b,c"']
    assert project.run("shop.orders", str(path), *flags).exit_code == 0
    assert [bytes(each.data) for each in project.queue.records()] == [
        b'{"a":null,"b,c":"x\\ty"}',
        b'{"a":1,"b,c":null}',
    ]


def test_a_bar_on_a_terminal_only(project: Project, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    with opened_progress(monkeypatch, terminal, file) as progress:
        progress(5)
        progress(file.stat().st_size)
    assert "100%" in terminal.getvalue()
    silent = io.StringIO()
    with opened_progress(monkeypatch, silent, file) as progress:
        progress(5)
    assert silent.getvalue() == ""


def opened_progress(monkeypatch: pytest.MonkeyPatch, stderr: io.StringIO, file: Path) -> Any:
    monkeypatch.setattr(sys, "stderr", stderr)
    with opened(str(file)) as source:
        return command._progress(source)


def test_sniff(project: Project, file: Path, tmp_path: Path) -> None:
    other = tmp_path / "odd.csv"
    other.write_bytes(b"a;zip;paid\n1,5;0412;true\n")
    result = project.run(str(file), str(other), command=sniff)
    assert result.stdout.splitlines() == [
        "orders.csv: 3 rows",
        "id    bigint",
        "name  varchar",
        "",
        "odd.csv: 1 rows",
        "a     varchar",
        "zip   varchar",
        "paid  boolean",
    ]
    result = project.run(str(other), "--json", command=sniff)
    assert json.loads(result.stdout) == [
        {
            "file": "odd.csv",
            "delimiter": ";",
            "rows": 1,
            "wrong_lines": 0,
            "columns": [
                {"name": "a", "type": "varchar"},
                {"name": "zip", "type": "varchar"},
                {"name": "paid", "type": "boolean"},
            ],
        }
    ]
