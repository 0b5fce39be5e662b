"""`catchment dead-letters`: what could not be loaded, seen, mended and retried."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import BinaryIO, TypeVar

import click
import msgspec

from catchment.cli.exits import ExitCode
from catchment.cli.parts import check_table_name, is_loading, warehouse_of
from catchment.cli.project import with_project
from catchment.cli.screen import stdout, visible, visible_lines
from catchment.config import Project
from catchment.errors import Malformed, UsageError
from catchment.listen.letters import is_heard, listener_of
from catchment.load.corrections import Letter, Outcome, open_letters, record_again, settle

T = TypeVar("T")

_SHOWN_CHARACTERS = 12
"""Of an id in a list: enough to name it by."""

settled_json = click.option("--json", "is_json", is_flag=True, help="Print how many as a JSON object.")


@click.group(name="dead-letters")
def dead_letters() -> None:
    """See, mend and retry what could not be loaded."""


@dead_letters.command(name="list")
@with_project
@click.argument("table", required=False)
@click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", default=100, show_default=True, help="At most so many."
)
@click.option("--json", "is_json", is_flag=True, help="Print one JSON object a line.")
def list_(project: Project, table: str | None, limit: int, is_json: bool) -> int:
    """List the dead letters that nobody has settled, the oldest first.

    Of TABLE alone, where given. Exits with 3 if there are any.
    """
    if table is not None:
        check_table_name(table)
    with warehouse_of(project) as warehouse:
        letters = open_letters(warehouse, table=table, limit=limit + 1)
    width = max((len(letter.table) for letter in letters[:limit]), default=0)
    for letter in letters[:limit]:
        if is_json:
            click.echo(msgspec.json.encode(_described(letter)).decode())
        else:
            said = f"{letter.table or '-':<{width}}  {letter.reason}: {letter.detail}"
            click.echo(visible(f"{letter.id[:_SHOWN_CHARACTERS]}  {letter.received_at:%Y-%m-%d %H:%M:%S}  {said}"))
    if not is_json:
        shown = f"{min(len(letters), limit):,} dead letter{'' if len(letters) == 1 else 's'}"
        click.echo(f"(the first {shown}; --limit shows more)" if len(letters) > limit else f"({shown})", err=True)
    return ExitCode.NOT_WELL if letters else ExitCode.DONE


@dead_letters.command()
@with_project
@click.argument("letter")
@click.option("--bytes", "only_bytes", is_flag=True, help="Print the bytes alone, as they were received.")
@click.option("--json", "is_json", is_flag=True, help="Print a JSON object, with the bytes in base64 as `body`.")
def show(project: Project, letter: str, only_bytes: bool, is_json: bool) -> None:
    """Show one dead LETTER, named by its id or the beginning of it."""
    found = _one(project, letter)
    if only_bytes:
        stdout().write(found.body)
        sys.stdout.buffer.flush()
    elif is_json:
        click.echo(msgspec.json.encode({**_described(found), "body": found.body}).decode())
    else:
        for name, value in _described(found).items():
            click.echo(f"{name + ':':<14} {visible(_text(value))}")
        click.echo(visible_lines("\n" + found.body.decode(errors="backslashreplace")))


@dead_letters.command()
@with_project
@click.argument("letters", metavar="[LETTER]...", nargs=-1)
@click.option("--table", metavar="TABLE", help="All of this table.")
@click.option("--mended", type=click.File("rb"), metavar="FILE", help="The record to send in place of the one LETTER.")
@settled_json
def retry(
    project: Project, letters: tuple[str, ...], table: str | None, mended: BinaryIO | None, is_json: bool
) -> None:
    """Send dead LETTERS again, as they were or mended.

    Each keeps its id and received_at. It is loaded, or becomes a dead letter once more. To mend one, begin with
    its bytes: dead-letters show --bytes LETTER > FILE.
    """
    body = mended.read() if mended is not None else None
    if body is not None and (len(letters) != 1 or table):
        raise UsageError("--mended goes with exactly one letter", "catchment dead-letters retry LETTER --mended FILE")
    _settle(project, letters, table, "retried", body, is_json=is_json)


@dead_letters.command()
@with_project
@click.argument("letters", metavar="[LETTER]...", nargs=-1)
@click.option("--table", metavar="TABLE", help="All of this table.")
@settled_json
def discard(project: Project, letters: tuple[str, ...], table: str | None, is_json: bool) -> None:
    """Settle dead LETTERS without loading them. They stay in catchment.dead_letters and in the archive."""
    _settle(project, letters, table, "discarded", None, is_json=is_json)


@dead_letters.command()
@with_project
@click.argument("table")
def resume(project: Project, table: str) -> None:
    """Go on loading TABLE, which has halted.

    It halts when too much of it is rejected. What was archived until now is loaded, whatever its share of
    rejected records.
    """
    check_table_name(table)
    with warehouse_of(project) as warehouse:
        if not any(halt.table == table and halt.resumed_at is None for halt in warehouse.halts()):
            raise UsageError(f"loading of {table} has not halted", "catchment status shows which has")
        warehouse.resume(table)
    click.echo(f"{table} goes on within a minute, where catchment up runs")


def _settle(
    project: Project,
    letters: tuple[str, ...],
    table: str | None,
    outcome: Outcome,
    mended: bytes | None,
    *,
    is_json: bool,
) -> None:
    if bool(letters) == bool(table):
        raise UsageError("name letters, or --table, and not both", "catchment dead-letters list")
    if table:
        check_table_name(table)
        with warehouse_of(project) as warehouse:
            found = open_letters(warehouse, table=table)
    else:
        found = [_one(project, letter) for letter in letters]
    with contextlib.closing(project.queue.open()) as queue:
        for letter in found:
            settle(queue, letter, outcome, _again(project, letter, mended) if outcome == "retried" else ())
    click.echo(msgspec.json.encode({outcome: len(found)}).decode() if is_json else f"{len(found):,} {outcome}")
    if found and not is_loading(project):
        click.echo("in force once something runs that loads it\n  Try: catchment up", err=True)


def _again(project: Project, letter: Letter, mended: bytes | None) -> list[bytes]:
    """The messages that take the letter's place."""
    from catchment.collect.again import is_request, refiled
    from catchment.pack import messages_of

    if is_heard(letter.origin):
        return _heard_again(project, letter, mended)
    if not is_request(letter.origin):
        return [record_again(letter, mended)]
    body = letter.body if mended is None else mended
    lines = _refusing(
        letter,
        lambda: refiled(
            body,
            letter.origin,
            letter.source,
            letter.received_at,
            letter.id,
            project.collect,
            project.load.dedupe_window,
        ),
    )
    return messages_of(lines)


def _heard_again(project: Project, letter: Letter, mended: bytes | None) -> list[bytes]:
    """The same of a message that a listener heard; where that forwards, what takes its place has been sent on."""
    from catchment.cli.listen import part_of
    from catchment.listen.again import refiled
    from catchment.listen.listener import bodies_of
    from catchment.pack import messages_of

    part = part_of(project, listener_of(letter.origin))
    body = letter.body if mended is None else mended
    heard, outcome = _refusing(
        letter,
        lambda: refiled(
            body,
            letter.origin,
            letter.received_at,
            letter.id,
            part.settings,
            project.root,
            project.load.dedupe_window,
        ),
    )
    if part.forward is None:
        return messages_of(outcome.lines)
    with contextlib.closing(part.forward.open()) as queue:
        queue.publish(bodies_of(part.send, outcome.lines, [heard], [outcome]))
    return []


def _refusing(letter: Letter, file: Callable[[], T]) -> T:
    """What filing it once more gives. Raises `UsageError` where it would be a dead letter again."""
    try:
        return file()
    except Malformed as error:
        raise UsageError(
            f"the dead letter {letter.id[:_SHOWN_CHARACTERS]} would be one again: {error.reason}: {error.detail}",
            f"mend what was sent: catchment dead-letters retry {letter.id[:_SHOWN_CHARACTERS]} --mended FILE",
        ) from None


def _one(project: Project, letter: str) -> Letter:
    if not letter:
        raise UsageError("a dead letter's id is empty", "name it by its id: catchment dead-letters list")
    with warehouse_of(project) as warehouse:
        found = open_letters(warehouse, letter=letter, limit=2)
    if not found:
        raise UsageError(f"no open dead letter's id begins with {letter!r}", "catchment dead-letters list")
    if len(found) > 1:
        raise UsageError(f"the ids of several dead letters begin with {letter!r}", "write more of the id")
    return found[0]


def _described(letter: Letter) -> dict[str, object]:
    return {
        "id": letter.id,
        "table": letter.table,
        "reason": letter.reason,
        "detail": letter.detail,
        "origin": letter.origin,
        "received_at": letter.received_at,
        "source": letter.source,
        "record_id": letter.record_id,
        "bytes": len(letter.body),
    }


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().removesuffix("+00:00") + "Z"
    return str(value) if value != "" else "-"
