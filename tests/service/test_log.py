"""Log lines can be read by whom they are for, and never hold a secret."""

from __future__ import annotations

import io
import json
import logging
import os
import pty
import re
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from catchment import log
from catchment.errors import UsageError
from catchment.secret import MASK


class Lines:
    """What has been logged so far."""

    def __init__(self) -> None:
        self.stream = io.StringIO()

    def text(self) -> str:
        return self.stream.getvalue()

    def json(self) -> list[dict[str, Any]]:
        def refuse(constant: str) -> None:
            raise ValueError(f"{constant} is no JSON")

        return [json.loads(line, parse_constant=refuse) for line in self.text().splitlines()]


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave logging, the hooks and the secrets as they were."""
    monkeypatch.setattr("catchment.secret._forms", set())
    monkeypatch.setattr("catchment.secret._pattern", None)
    for owner, hook in ((sys, "excepthook"), (sys, "unraisablehook"), (threading, "excepthook")):
        monkeypatch.setattr(owner, hook, getattr(owner, hook))
    root, ours = logging.getLogger(), logging.getLogger("catchment")
    before = root.level, ours.level
    yield
    for handler in [handler for handler in root.handlers if isinstance(handler, log._Handler)]:
        root.removeHandler(handler)
    root.setLevel(before[0])
    ours.setLevel(before[1])
    logging.captureWarnings(capture=False)


@pytest.fixture
def lines() -> Lines:
    made = Lines()
    log.setup("load", stream=made.stream, level="debug")
    return made


@pytest.fixture
def human(monkeypatch: pytest.MonkeyPatch) -> Lines:
    monkeypatch.setenv(log.FORMAT_ENV, "human")
    made = Lines()
    log.setup("load", stream=made.stream, level="debug")
    return made


def test_a_json_line_has_time_level_service_event_and_fields(lines: Lines) -> None:
    log.get_log("serve").warning("slow query", seconds=1.5, sql="SELECT 1", rows=None, tables=["a.b"], ok=True)
    [line] = lines.json()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("ts"))
    assert line == {
        "level": "warning",
        "service": "serve",
        "event": "slow query",
        "seconds": 1.5,
        "sql": "SELECT 1",
        "rows": None,
        "tables": ["a.b"],
        "ok": True,
    }


class Broken:
    def __str__(self) -> str:
        raise ValueError("no text")


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        b"\xff\x00",
        "\ud800",
        "a\nb\r\x1b[2J\x9b",
        {1: {2: b"x"}},
        {"x"},
        Broken(),
        10**40,
    ],
)
def test_any_value_makes_one_line_of_valid_json(lines: Lines, value: object) -> None:
    log.get_log("load").info("value", value=value, ts="mine", event="mine")
    [line] = lines.json()
    assert line["event"] == "value"
    assert line["event_"] == "mine"
    lines.text().encode()


def test_a_long_value_is_cut_in_the_middle(lines: Lines) -> None:
    log.hide("the secret in the middle")
    half = "x" * (log.MAX_TEXT_CHARS // 2 - 10)
    log.get_log("load").info("long", value=f"start {half} the secret in the middle {half} end")
    [line] = lines.json()
    assert len(line["value"]) < log.MAX_TEXT_CHARS + 100
    assert line["value"].startswith("start")
    assert line["value"].endswith("end")
    assert "secret" not in line["value"]
    assert "middle" not in line["value"]


def test_an_error_of_ours_shows_its_words_any_other_its_traceback(lines: Lines) -> None:
    try:
        raise UsageError("the file is wrong", "mend it")
    except UsageError as error:
        log.get_log("load").error("cannot start", exc=error)
    try:
        raise KeyError("x")
    except KeyError as error:
        log.get_log("load").error("failed", exc=error)
    ours, other = lines.json()
    assert (ours["error"], ours["hint"]) == ("the file is wrong", "mend it")
    assert "traceback" not in ours
    assert other["error"] == "KeyError: 'x'"
    assert "test_log.py" in other["traceback"]


def test_a_human_line_is_short(human: Lines) -> None:
    log.get_log("load").info("round archived", records=1000, table="a.b", note="two words", path="x=1")
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d\.\d{3} info    load: round archived "
        r'records=1000 table=a\.b note="two words" path="x=1"\n',
        human.text(),
    )


def test_nobody_forges_a_line_or_moves_the_cursor(human: Lines) -> None:
    evil = "x\n00:00:00.000 info    load: all is well\x1b[2J\x9b1A\u2028"
    log.get_log("load").info("got", value=evil)
    logging.getLogger("library").warning("%s", evil)
    try:
        raise ValueError(evil)
    except ValueError as error:
        log.get_log("load").error("failed", exc=error)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", human.text())
    starts = [line for line in human.text().split("\n") if line and not line.startswith("  ")]
    assert [line.split()[3].partition(":")[0] for line in starts] == ["got", "(library)", "failed"]


SECRETS = ["p@ss word/+%&", 'quo"te\\back', "ünïcödé €", "abcd", "12345", "two\nlines of it", "longer-abcd-longer"]


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("look", ["human", "json"])
def test_no_secret_is_shown_however_it_comes(look: str, secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(log.FORMAT_ENV, look)
    lines = Lines()
    log.setup("load", stream=lines.stream, level="debug")
    for other in SECRETS:
        log.hide(other)
    write = log.get_log("load")
    write.info(f"connecting with {secret}", secret=secret, url=f"amqp://me:{quote(secret, safe='')}@host/")
    write.info(
        "nested",
        config={"password": secret, secret: [secret.encode()]},
        shown=repr(secret),
        raw=repr(secret.encode()),
    )
    write.info("encoded", body=json.dumps({"key": secret}), number=int(secret) if secret.isdigit() else 0)
    logging.getLogger("library").warning("sent %r", secret)
    try:
        try:
            raise OSError(f"refused: {secret}")
        except OSError as inner:
            inner.add_note(f"with {secret}")
            raise RuntimeError({"password": secret}) from inner
    except RuntimeError as error:
        write.error("failed", exc=error)
    write.error("user's mistake", exc=UsageError(f"{secret} is wrong", f"do not use {secret}"))
    shown = lines.text() if look == "human" else "\n".join(map(repr, _strings(lines.json())))
    assert MASK in shown
    escaped = repr(secret)[1:-1], repr(secret.encode())[2:-1], json.dumps(secret)[1:-1]
    for form in (secret, quote(secret, safe=""), *escaped):
        assert not re.search(rf"(?<!\w){re.escape(form)}(?!\w)", shown)
        assert not re.search(rf"(?<!\w){re.escape(form)}(?!\w)", lines.text())


def _strings(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for pair in value.items() for part in pair for text in _strings(part)]
    if isinstance(value, list):
        return [text for part in value for text in _strings(part)]
    return [str(value)]


def test_the_password_of_a_hidden_url_is_hidden_alone_too(lines: Lines) -> None:
    log.hide("postgres://me:s%2Fcret9@db:5432/x?sslmode=require")
    log.get_log("load").info("refused", password="s/cret9", user="me", host="db")
    assert lines.json()[0] | {"password": MASK, "user": "me", "host": "db"} == lines.json()[0]


def test_a_secret_that_begins_another_leaves_no_rest_of_it(lines: Lines) -> None:
    log.hide("password")
    log.hide("password-of-the-other")
    log.get_log("load").info("two", values=["password", "password-of-the-other"])
    assert lines.json()[0]["values"] == [MASK, MASK]


def test_what_nobody_caught_is_masked_as_well(lines: Lines) -> None:
    log.hide("hunter2!")

    def fail() -> None:
        raise ValueError("hunter2!")

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)  # pytest's own capture of warnings stands before ours
        warnings.warn("hunter2! is deprecated", UserWarning, stacklevel=1)
    assert len(lines.json()) == 2
    assert "hunter2" not in lines.text()


def test_a_process_shows_no_secret_to_its_end() -> None:
    program = (
        "from catchment import log\n"
        "log.hide('hunter2!')\n"
        "log.setup('load')\n"
        "import warnings; warnings.warn('beware of hunter2!')\n"
        "class Bad:\n"
        "    def __del__(self): raise ValueError('hunter2!')\n"
        "Bad()\n"
        "raise RuntimeError('failed with hunter2!')\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "hunter2" not in ended.stderr
    events = [json.loads(line)["event"] for line in ended.stderr.splitlines()]
    assert events[1:] == ["exception in a finalizer", "uncaught exception"]
    assert "beware of ***" in events[0]


def test_a_terminal_gets_human_lines_and_colour() -> None:
    ours, theirs = pty.openpty()
    program = "from catchment import log; log.setup('load'); log.get_log('load').error('failed', rows=3)"
    env = {key: value for key, value in os.environ.items() if key not in (log.LEVEL_ENV, log.FORMAT_ENV, "NO_COLOR")}
    subprocess.run([sys.executable, "-c", program], stderr=theirs, check=True, env=env)
    shown = os.read(ours, 1000).decode()
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3} \x1b\[31merror  \x1b\[0m load: failed rows=3\r\n", shown)
    subprocess.run([sys.executable, "-c", program], stderr=theirs, check=True, env=env | {"NO_COLOR": "1"})
    assert "\x1b" not in os.read(ours, 1000).decode()
    os.close(ours)
    os.close(theirs)


def test_the_level_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(log.LEVEL_ENV, "WARNING")
    lines = Lines()
    log.setup("load", stream=lines.stream)
    write = log.get_log("load")
    write.debug("1")
    write.info("2")
    write.warning("3")
    write.error("4")
    assert [line["event"] for line in lines.json()] == ["3", "4"]


@pytest.mark.parametrize(("name", "value"), [(log.LEVEL_ENV, "loud"), (log.FORMAT_ENV, "xml")])
def test_a_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=f"{name}={value}"):
        log.setup("load", stream=io.StringIO())


def test_a_disabled_line_looks_at_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = Lines()
    log.setup("load", stream=lines.stream, level="info")
    log.get_log("load").debug("not shown", value=Broken())
    assert lines.text() == ""


def test_libraries_are_heard_from_warnings_up_and_named(lines: Lines) -> None:
    logging.getLogger("urllib3.connection").info("chatter")
    logging.getLogger("urllib3.connection").warning("lost %s", "it")
    wrong = logging.makeLogRecord({"name": "urllib3.connection", "msg": "wrong arguments %d", "args": ("x",)})
    for handler in logging.getLogger().handlers:
        if isinstance(handler, log._Handler):  # pytest's own would fail the test
            handler.handle(wrong)
    assert [(line["service"], line["event"]) for line in lines.json()] == [
        ("load (urllib3.connection)", "lost it"),
        ("load (urllib3.connection)", "wrong arguments %d"),
    ]


def test_a_stream_that_is_gone_ends_nothing(lines: Lines, capfd: pytest.CaptureFixture[str]) -> None:
    lines.stream.close()
    log.get_log("load").error("nobody hears this", password="x")
    assert capfd.readouterr() == ("", "")
