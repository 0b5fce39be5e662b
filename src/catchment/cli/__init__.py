"""The command line: one module per command, imported when it is called.

A command is a line in `COMMANDS`: its name, where it is, and its summary, the first line of its help.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, NoReturn

import click
from click.shell_completion import CompletionItem, shell_complete

from catchment import __version__
from catchment.cli.exits import ExitCode, code_of, explain, explain_unexpected, is_reader_gone, leave, mute_stdout
from catchment.errors import CatchmentError

COMPLETE_VARIABLE = "_CATCHMENT_COMPLETE"

COMMANDS: Mapping[str, tuple[str, str]] = {
    "init": ("catchment.cli.init:init", "Make an empty project."),
    "demo": ("catchment.cli.demo:demo", "See it work."),
    "up": ("catchment.cli.up:up", "Run everything, embedded."),
    "run": ("catchment.cli.run:run", "Run one or more services in this process."),
    "validate": ("catchment.cli.validate:validate", "Check the project's files."),
    "doctor": ("catchment.cli.doctor:doctor", "Check that every configured part can be reached."),
    "schema": ("catchment.cli.schema:schema", "See tables' columns and their changes; JSON Schemas."),
    "send": (
        "catchment.cli.send:send",
        "Send a file's rows to TABLE.",
    ),
    "sniff": ("catchment.cli.sniff:sniff", "Say the column types of CSV files."),
    "listen": ("catchment.cli.listen:listen_group", "See what listeners would file."),
    "query": ("catchment.cli.query:query", "Ask the warehouse in SQL."),
    "status": ("catchment.cli.status:status", "Show what runs and how far behind it is."),
    "tail": ("catchment.cli.tail:tail", "Print records as they reach the archive, one JSON line each."),
    "dead-letters": ("catchment.cli.dead_letters:dead_letters", "See, mend and retry what could not be loaded."),
    "replay": ("catchment.cli.replay:replay", "Load what TABLE lacks from the archive: rows, or values."),
    "restore": ("catchment.cli.restore:restore", "Bring every table back from the archive."),
    "archive": (
        "catchment.cli.archive:archive",
        "See and check the archive's files, and remove old ones.",
    ),
    "backup": ("catchment.cli.backup:backup", "Copy warehouse and accounts while everything goes on."),
    "admin": ("catchment.cli.admin:admin", "See and change who may sign in; see who did what."),
    "completion": ("catchment.cli.completion:completion", "Print a shell's completion script."),
}


class Commands(click.Group):
    """The commands of `COMMANDS`, each imported when it is needed and not before."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            from difflib import get_close_matches

            nearest = get_close_matches(name, COMMANDS, n=1)
            raise click.UsageError(
                f"there is no command {name!r}." + (f" Did you mean {nearest[0]!r}?" if nearest else ""), ctx
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        names = [
            CompletionItem(name, help=summary)
            for name, (_, summary) in COMMANDS.items()
            if name.startswith(incomplete)
        ]
        return names + click.Command.shell_complete(self, ctx, incomplete)


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 something checked is not well.",
)
@click.version_option(__version__, prog_name="catchment", message="%(prog)s %(version)s")
def cli() -> None:
    """Every event, message, table and CSV of a company in one warehouse, exactly once."""


def main() -> NoReturn:
    """The command `catchment`."""
    leave(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; errors are said on stderr, never raised."""
    try:
        instruction = os.environ.get(COMPLETE_VARIABLE)
        if instruction:
            return shell_complete(cli, {}, "catchment", COMPLETE_VARIABLE, instruction)
        code = _invoke(list(arguments))
        sys.stdout.flush()
        return code
    except CatchmentError as error:
        explain(error)
        return code_of(error)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        click.echo("Aborted.", err=True)
        return ExitCode.FAILED
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except Exception as error:
        if isinstance(error, BrokenPipeError) and is_reader_gone():
            mute_stdout()
            return ExitCode.READER_GONE
        explain_unexpected(error, list(arguments))
        return ExitCode.FAILED


def _invoke(arguments: list[str]) -> int:
    """The exit code a command returns or exits with; a command that returns nothing is done."""
    try:
        with cli.make_context("catchment", arguments) as context:
            result: Any = cli.invoke(context)
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    return ExitCode(result) if isinstance(result, int) else ExitCode.DONE
