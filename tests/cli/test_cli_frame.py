from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import click
import pytest

from catchment import cli
from catchment.cli.exits import ExitCode
from catchment.config.describe import summary
from catchment.errors import CatchmentError, Retry, StorageError, UsageError
from catchment.secret import remember
from tests.cli.conftest import Ended

Catchment = Callable[..., Ended]

HEAVY = {"duckdb", "zstandard", "nanoarrow", "prometheus_client", "msgspec", "sqlite3", "asyncio"}


def process(*arguments: str, code: str = "from catchment.cli import main; main()") -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment
    )


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Registers a command `fail` that raises."""

    def register(error: BaseException) -> None:
        @click.command()
        def fail() -> None:
            raise error

        monkeypatch.setattr(sys.modules[__name__], "fail", fail, raising=False)
        monkeypatch.setattr(cli, "COMMANDS", {**cli.COMMANDS, "fail": (f"{__name__}:fail", "Fail.")})

    return register


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; from catchment.cli import run; run(['--help']); print(*sys.modules, file=sys.stderr)"
    _, err = process(code=code).communicate()
    assert "catchment.cli" in err.split()
    assert HEAVY.intersection(err.split()) == set()


def test_help_is_quick() -> None:
    def spent_s(*command: str) -> float:
        """Processor time: unlike time on the clock, other processes hardly change it."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *command], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    # A slow or crowded machine takes longer for a bare interpreter too.
    bare_s = min(spent_s("-c", "pass") for _ in range(5))
    ours_s = min(spent_s("-m", "catchment", "--help") for _ in range(5))
    assert ours_s < max(0.15, 12 * bare_s)


def test_every_command_has_the_summary_of_its_help() -> None:
    for name, (target, words) in cli.COMMANDS.items():
        module, _, attribute = target.partition(":")
        command = getattr(import_module(module), attribute)
        assert command.name == name
        assert words == command.help.partition("\n")[0]


def commands(group: click.Group, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command as it is written, groups and what is in them."""
    context = click.Context(group)
    yield words
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*words, name))
        else:
            yield (*words, name)


@pytest.mark.parametrize("words", list(commands(cli.cli)), ids=" ".join)
def test_help_fits_a_terminal_of_80_columns(
    catchment: Catchment, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    ended = catchment(*words, "--help")
    assert ended.code == ExitCode.DONE
    lines = ended.out.splitlines()
    assert max(map(len, lines)) <= 80
    assert not any(line.endswith("...") and not line.startswith("Usage") for line in lines), "a summary is cut"


def test_help_lists_every_command(catchment: Catchment) -> None:
    ended = catchment("--help")
    assert ended.code == ExitCode.DONE
    for name, (_, words) in cli.COMMANDS.items():
        assert name in ended.out
        assert words in ended.out


def test_the_codes_are_a_promise() -> None:
    assert {code.name: code.value for code in ExitCode} == {
        "DONE": 0,
        "FAILED": 1,
        "WRONG_USAGE": 2,
        "NOT_WELL": 3,
        "INTERRUPTED": 130,
        "READER_GONE": 141,
    }


def test_an_unknown_command_has_its_nearest_spelling(catchment: Catchment) -> None:
    ended = catchment("vaildate")
    assert ended.code == ExitCode.WRONG_USAGE
    assert "there is no command 'vaildate'. Did you mean 'validate'?" in ended.err
    assert ended.out == ""


@pytest.mark.parametrize("arguments", [("--nothing",), ("validate", "--jsn"), ("validate", "more"), ("init",)])
def test_wrong_usage(catchment: Catchment, arguments: tuple[str, ...]) -> None:
    ended = catchment(*arguments)
    assert ended.code == ExitCode.WRONG_USAGE
    assert "Error: " in ended.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("wrong", "right"), ExitCode.WRONG_USAGE),
        (StorageError("no disk", "right"), ExitCode.FAILED),
        (Retry("down", "right"), ExitCode.FAILED),
    ],
)
def test_an_error_is_said_with_its_remedy(
    catchment: Catchment, failing: Callable[[BaseException], None], error: CatchmentError, code: ExitCode
) -> None:
    failing(error)
    ended = catchment("fail")
    assert ended == Ended(code, "", f"catchment: {error.message}\n  Try: right\n")


def test_debugging_shows_where_in_the_code(
    catchment: Catchment, failing: Callable[[BaseException], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(StorageError("no disk"))
    monkeypatch.setenv("CATCHMENT_DEBUG", "1")
    assert "Traceback" in catchment("fail").err


def test_the_unexpected_leaves_its_details_in_a_file(
    catchment: Catchment,
    failing: Callable[[BaseException], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    remember("hunter2hunter2")
    failing(KeyError("hunter2hunter2"))
    ended = catchment("fail")
    (details,) = tmp_path.glob("catchment-error-*.txt")
    assert ended.code == ExitCode.FAILED
    assert "unexpected error: KeyError: '***'" in ended.err
    assert str(details) in ended.err
    assert "Traceback" not in ended.err
    assert "Traceback" in details.read_text()
    assert "hunter2" not in details.read_text() + ended.err
    assert details.stat().st_mode & 0o077 == 0


def test_no_secret_in_an_error(catchment: Catchment, failing: Callable[[BaseException], None]) -> None:
    remember("hunter2hunter2")
    failing(StorageError("cannot reach amqp://me:hunter2hunter2@there"))
    assert catchment("fail").err == "catchment: cannot reach amqp://me:***@there\n"


def test_ctrl_c_is_quiet() -> None:
    code = (
        "import click, time\n"
        "from catchment import cli\n"
        "@click.command()\n"
        "def wait():\n"
        "    print('ready', flush=True); time.sleep(60)\n"
        "cli.COMMANDS = {'wait': ('__main__:wait', '')}\n"
        "cli.main()"
    )
    waiting = process("wait", code=code)
    assert waiting.stdout is not None
    assert waiting.stdout.readline() == "ready\n"
    waiting.send_signal(signal.SIGINT)
    out, err = waiting.communicate(timeout=30)
    assert (waiting.returncode, out, err) == (ExitCode.INTERRUPTED, "", "")


@pytest.mark.parametrize("output", ["while True: click.echo('x' * 1000)", "sys.stdin.read(); print('a little')"])
def test_a_reader_that_goes_is_no_error(output: str) -> None:
    code = (
        "import click, sys\n"
        "from catchment import cli\n"
        "@click.command()\n"
        "def pour():\n"
        "    click.echo('ready')\n"
        f"    {output}\n"
        "cli.COMMANDS = {'pour': ('__main__:pour', '')}\n"
        "cli.main()"
    )
    pouring = process("pour", code=code)
    assert pouring.stdin is not None
    assert pouring.stdout is not None
    assert pouring.stderr is not None
    assert pouring.stdout.readline() == "ready\n"
    pouring.stdout.close()
    pouring.stdin.close()
    assert pouring.wait(timeout=30) == ExitCode.READER_GONE
    assert pouring.stderr.read() == ""
    pouring.stderr.close()


def test_another_broken_pipe_is_an_error(
    catchment: Catchment, failing: Callable[[BaseException], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    failing(BrokenPipeError(32, "Broken pipe"))
    ended = catchment("fail")
    assert ended.code == ExitCode.FAILED
    assert "BrokenPipeError" in ended.err


@pytest.fixture
def completing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMP_WORDS", "catchment va")
    monkeypatch.setenv("COMP_CWORD", "1")
    monkeypatch.setenv("_CATCHMENT_COMPLETE", "bash_complete")


@pytest.mark.usefixtures("completing")
def test_a_shell_completes_commands(catchment: Catchment) -> None:
    assert catchment().out == "plain,validate\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script_calls_the_command(catchment: Catchment, shell: str) -> None:
    ended = catchment("completion", shell)
    assert ended.code == ExitCode.DONE
    assert f"_CATCHMENT_COMPLETE={shell}_complete" in ended.out


def test_the_bash_script_is_bash(catchment: Catchment) -> None:
    script = catchment("completion", "bash").out
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_the_schema_of_a_record_is_json(catchment: Catchment) -> None:
    assert json.loads(catchment("schema", "record").out)["required"] == ["table", "data"]


def test_the_module_is_the_command() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "catchment", "--version"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONWARNINGS": "error"},
    )
    assert ended.stdout.startswith("catchment 0.")
    assert summary(cli.cli) != ""


def test_a_thread_that_cannot_be_waited_for_does_not_abort_the_end() -> None:
    """It is inside DuckDB when the interpreter would be taken down around it, which ends with a signal."""
    code = """
import atexit, contextlib, threading, duckdb
from catchment.cli.exits import leave
running = threading.Semaphore(0)
def work():
    connection = duckdb.connect()
    query = "SELECT count(*) FROM range(2_000_000) t(n) WHERE n % 7 = 3"
    connection.execute(query).fetchall()
    running.release()
    while True:
        with contextlib.suppress(BaseException):
            connection.execute(query).fetchall()
for _ in range(4):
    threading.Thread(target=work, daemon=True).start()
atexit.register(print, "told")
for _ in range(4):
    running.acquire()
leave(3)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (3, "told\n")


def test_a_thread_that_closes_its_connection_as_it_ends_does_not_abort_the_end() -> None:
    """`threading` has forgotten it by then."""
    code = """
import threading, duckdb
from catchment.cli.exits import leave
own = threading.local()
def work():
    own.connection = duckdb.connect()
    own.connection.execute("CREATE TABLE t AS SELECT range AS n, 'text ' || range AS s FROM range(1_000_000)")
threading.Thread(target=work, daemon=True).start()
while threading.active_count() > 1:
    pass
leave(3)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (3, "")
