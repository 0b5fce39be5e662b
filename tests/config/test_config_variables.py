from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from catchment.config import ConfigError, load_project
from catchment.config.variables import read_env_file
from catchment.secret import MASK, Secret, redact, remember

Write = Callable[..., Path]


def test_the_environment_comes_before_the_env_file(project_folder: Write) -> None:
    folder = project_folder('[queue]\nurl = "a-${ONE}-${TWO}"', "ONE=file1\nTWO=file2\n")
    project = load_project(folder, environment={"TWO": "environment2"})
    assert project.queue.config.url == "a-file1-environment2"


def test_a_file_is_read_without_its_last_line_end(project_folder: Write) -> None:
    folder = project_folder('[queue]\nurl = "${file:secrets/url}"')
    (folder / "secrets").mkdir()
    (folder / "secrets" / "url").write_text("amqp://there\n")
    assert load_project(folder, environment={}).queue.config.url == "amqp://there"


def test_a_variable_may_be_a_number_or_a_size(project_folder: Write) -> None:
    folder = project_folder('[load]\nmax_rows = "${ROWS}"\nmax_bytes = "${SIZE}"\ndedupe_window = "${WINDOW}"')
    load = load_project(folder, environment={"ROWS": "12", "SIZE": "2 MB", "WINDOW": "1 hour"}).load
    assert (load.max_rows, load.max_bytes, load.dedupe_window.total_seconds()) == (12, 2_000_000, 3600)


def test_two_dollars_stand_for_the_characters_themselves(project_folder: Write) -> None:
    assert load_project(project_folder('[queue]\nurl = "$${X} $5"'), environment={}).queue.config.url == "${X} $5"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (
            "${RABBITMQ_URL}",
            "RABBITMQ_URL is set nowhere; looked in the environment and in ",
            "RABBIT_MQ_URL is set",
        ),
        ("${file:nothing}", "nothing cannot be read: No such file", "ls -l"),
        ("${1X}", "${1X} is no reference", "${NAME}"),
        ("${X", "${X is no reference", "${NAME}"),
        ("${}", "${} is no reference", "${NAME}"),
    ],
)
def test_a_reference_that_leads_nowhere(project_folder: Write, text: str, message: str, hint: str) -> None:
    folder = project_folder(f'[queue]\nurl = "{text}"', "RABBIT_MQ_URL=x")
    with pytest.raises(ConfigError) as caught:
        load_project(folder, environment={})
    (mistake,) = caught.value.mistakes
    assert (mistake.line, mistake.key) == (2, "queue.url")
    assert message in mistake.message
    assert hint in mistake.hint


def test_what_an_env_file_may_hold(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(
        b"\xef\xbb\xbf# comment\r\n"
        b"PLAIN=a b # comment\r\n"
        b"export EXPORTED = x#y\n"
        b"EMPTY=\n"
        b"ONLY_COMMENT= # nothing\n"
        b"SINGLE='as \\n it # stands'  # comment\n"
        b'DOUBLE="line\\n \\"quoted\\" \\\\ C:\\path"\n'
        b'SEVERAL="one\ntwo"\n'
        b"  INDENTED=1\n"
        b"URL=postgres://u:p=q@h/d?x=1"
    )
    variables, mistakes = read_env_file(tmp_path / ".env")
    assert mistakes == []
    assert variables == {
        "PLAIN": "a b",
        "EXPORTED": "x#y",
        "EMPTY": "",
        "ONLY_COMMENT": "",
        "SINGLE": "as \\n it # stands",
        "DOUBLE": 'line\n "quoted" \\ C:\\path',
        "SEVERAL": "one\ntwo",
        "INDENTED": "1",
        "URL": "postgres://u:p=q@h/d?x=1",
    }


def test_what_an_env_file_may_not_hold_is_said_without_its_content(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=1\nhunter2\nB-C=hunter2\nD='hunter2\nE='hunter2' hunter2\nF=2\n")
    variables, mistakes = read_env_file(tmp_path / ".env")
    assert variables == {"A": "1", "F": "2"}
    assert [mistake.line for mistake in mistakes] == [2, 3, 4, 5]
    assert "hunter2" not in "".join(map(str, mistakes))


def test_an_env_file_with_a_mistake_is_no_project(project_folder: Write) -> None:
    with pytest.raises(ConfigError, match=r"\.env:2: is no NAME=value"):
        load_project(project_folder("", "A=1\nB\n"), environment={})


def test_a_secret_shows_in_no_repr_and_no_error(project_folder: Write) -> None:
    secret = "correct-horse-battery"
    text = """
[queue]
type = "${S}"
[archive]
path = "${S}"
[project]
timezone = "${S}"
[load]
max_rows = "${S}"
max_bytes = "${S}"
dedupe_window = "${S}"
contract = "${S}"
[load.tables]
"a.b" = "${S}"
[metrics]
ports = { load = "${S}" }
"""
    with pytest.raises(ConfigError) as caught:
        load_project(project_folder(text), environment={"S": secret})
    assert len(caught.value.mistakes) == 8
    assert secret not in repr(caught.value) + str(caught.value)
    assert "load.max_rows: must be a whole number, not what ${S} holds" in str(caught.value)
    project = load_project(project_folder('[queue]\nurl = "${S}"\nhosts = ["x${S}"]'), environment={"S": secret})
    assert project.queue.config.url == secret
    assert secret not in repr(project)


def test_a_secret_survives_pickling_as_a_secret() -> None:
    copy = pickle.loads(pickle.dumps(Secret("hunter2", "${S}")))
    assert (copy, copy.written, repr(copy)) == ("hunter2", "${S}", f"'{MASK}'")


def test_redact_knows_the_forms_a_secret_takes() -> None:
    remember('p@ss"word/ü')
    remember("amqp://user:hun%24ter2@host/vhost")
    remember("-----BEGIN-----\nMIIEvQIBADANBg\n-----END-----")
    remember("on")
    passwords = r"""p@ss"word/ü, p%40ss%22word%2F%C3%BC, {"x": "p@ss\"word/\u00fc"}"""
    redacted = redact(f"{passwords}; hun$ter2, hun%24ter2; MIIEvQIBADANBg; on")
    for part in ("word", "ter2", "MIIE"):
        assert part not in redacted
    assert redacted.endswith("; on")


def test_redact_knows_passwords_in_urls_written_anywhere() -> None:
    assert redact("at postgres://joe:letmein@db/x?y=1") == "at postgres://joe:***@db/x?y=1"
    assert redact("at https://example.com:8080/x@y") == "at https://example.com:8080/x@y"
