"""`catchment send`: a file into the queue."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import msgspec

from catchment import record
from catchment.cli.csv_options import csv_options, read_options
from catchment.cli.parts import check_table_name, is_loaded, is_loading, outbox_of
from catchment.cli.project import with_project
from catchment.cli.screen import visible, visible_lines
from catchment.config import Project
from catchment.errors import CatchmentError, Retry, UsageError
from catchment.queues import Queue
from catchment.send import formats, parquet, render
from catchment.send.publish import Publisher, Sent, Target
from catchment.send.rows import Batch
from catchment.send.source import Source, opened
from catchment.send.survey import Options, survey

FORMATS = ("csv", "ndjson", "json", "parquet")
_BY_SUFFIX = {
    ".csv": "csv", ".tsv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson", ".json": "json", ".parquet": "parquet",
}  # fmt: skip
_PLACES = {"csv": "line", "ndjson": "line", "json": "item", "parquet": "row"}
_POLL_S = 0.2
_LOADER_PATIENCE_S = 10.0
"""How long `--wait` waits for something that loads to start, or to come back."""


@dataclass(frozen=True, slots=True)
class Destination:
    """What the command needs of a project."""

    queue: Queue
    is_loading: Callable[[], bool]
    """Whether something runs that loads what is queued."""
    is_loaded: Callable[[float], bool]
    """Whether what was queued for the table until then (monotonic seconds) is in the warehouse."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to send, and how to read it."""

    table: str
    file: str
    format: str
    id_field: str | None
    source: str
    options: Options


@click.command()
@with_project
@click.argument("table")
@click.argument("file", default="-")
@click.option(
    "--id", "id_field", metavar="FIELD", help="The field that identifies a row.  [default: file and row number]"
)
@click.option("--format", "kind", type=click.Choice(FORMATS), help="[default: by the file's name]")
@csv_options
@click.option(
    "--source", default="send", metavar="NAME", show_default=True, help="Who sent it; ids are unique within it."
)
@click.option("--wait", is_flag=True, help="Return only when it is loaded.")
@click.option("--json", "is_json", is_flag=True, help='Print {"table", "rows", "dead_letters"} as JSON.')
def send(
    project: Project,
    /,
    table: str,
    file: str,
    id_field: str | None,
    kind: str | None,
    source: str,
    wait: bool,
    is_json: bool,
    **csv_flags: Any,
) -> None:
    """Send a file's rows to TABLE.

    The file is NDJSON, JSON, CSV or Parquet; - is standard input. Returns when they are queued. Without --id,
    sending the same file again adds nothing. CSV is read without guessing: a column has a type only where each of
    its values is written as that type is. What is no row becomes a dead letter, with its line.
    """
    request = Request(_checked_table(table), file, _format(file, kind), id_field, source, read_options(**csv_flags))
    if request.format != "csv":
        _refuse_csv_flags(csv_flags, request.format)
    if file == "-" and sys.stdin.isatty():
        _say("reading standard input; Ctrl-D ends it")
    with opened(file) as opened_file:
        batches = read(opened_file, request)
        with _destination(project, table) as destination:
            publish(opened_file, request, batches, destination, is_json=is_json)
            outbox = outbox_of(destination.queue)
            if outbox is not None and outbox.trouble:
                _say(f"what the queue did not take waits in the outbox: {outbox.trouble}\n  Try: catchment doctor")
            if wait:
                _wait(destination)
            elif not destination.is_loading():
                _say("queued, but nothing runs that would load it\n  Try: catchment up")


@contextmanager
def _destination(project: Project, table: str) -> Iterator[Destination]:
    with closing(project.queue.open()) as queue:
        yield Destination(
            queue, lambda: is_loading(project), lambda queued_at_s: is_loaded(project, table, queued_at_s)
        )


def read(source: Source, request: Request) -> Iterator[Batch]:
    """The file's batches; of a CSV file, everything that could be wrong with it as a whole is said first."""
    match request.format:
        case "csv":
            return render.batches(source, survey(source, request.options), request.options, request.id_field)
        case "ndjson":
            return formats.ndjson(source, request.id_field)
        case "json":
            return formats.array(source, request.id_field)
        case _:
            return parquet.rows(source, request.id_field)


def publish(
    source: Source, request: Request, batches: Iterator[Batch], destination: Destination, *, is_json: bool
) -> None:
    """Queue it all, and say how much it was."""
    target = Target(request.table, request.source, source.digest, source.name, _PLACES[request.format])
    with _progress(source) as progress:
        publisher = Publisher(destination.queue, target, _say, progress)
        try:
            sent = publisher.send(batches)
            source.check_unchanged()
        except (CatchmentError, KeyboardInterrupt):
            _say_what_is_queued(publisher.sent)
            raise
    if sent.dead_letters:
        _say(f"{sent.dead_letters:,} records are no rows: kept as dead letters\n  Try: catchment dead-letters list")
    counts = {"table": request.table, "rows": sent.rows, "dead_letters": sent.dead_letters}
    words = f"{request.table}: {sent.rows:,} rows, {sent.dead_letters:,} dead letters"
    click.echo(msgspec.json.encode(counts).decode() if is_json else words)


def _say_what_is_queued(sent: Sent) -> None:
    if sent.rows or sent.dead_letters:
        _say(
            f"not finished: {sent.rows:,} rows and {sent.dead_letters:,} dead letters are queued; "
            "sending the same again adds nothing twice"
        )
    else:
        _say("nothing is queued")


def _wait(destination: Destination) -> None:
    """Until all is loaded. Raises `Retry` where nothing runs that would do it."""
    loading_at_s = queued_at_s = time.monotonic()
    try:
        while not destination.is_loaded(queued_at_s):
            if destination.is_loading():
                loading_at_s = time.monotonic()
            elif time.monotonic() - loading_at_s > _LOADER_PATIENCE_S:
                raise Retry("all of it is queued, but nothing runs that would load it", "catchment up")
            time.sleep(_POLL_S)
    except KeyboardInterrupt:
        _say("all of it is queued; loading goes on without this command")
        raise
    _say("loaded")


def _checked_table(table: str) -> str:
    check_table_name(table)
    if table.startswith(f"{record.OWN_SCHEMA}."):
        raise UsageError(f"{table} is Catchment's own", "a name such as shop.orders")
    return table


def _format(file: str, kind: str | None) -> str:
    kind = kind or _BY_SUFFIX.get(Path(file).suffix.lower())
    if kind is None:
        name = "standard input" if file == "-" else file
        raise UsageError(f"the name does not say what {name} holds", f"--format {', '.join(FORMATS)}")
    return kind


def _refuse_csv_flags(flags: dict[str, Any], kind: str) -> None:
    given = [name for name, value in flags.items() if value]
    if given:
        flag = "null" if given[0] == "nulls" else given[0]
        raise UsageError(f"--{flag} is about CSV, but the file is read as {kind}", "leave it out, or --format csv")


@contextmanager
def _progress(source: Source) -> Iterator[Callable[[int], None]]:
    """A function that takes how many bytes are done; a bar, if somebody may be watching."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    with click.progressbar(length=source.size_bytes, label=visible(source.name), file=sys.stderr) as bar:
        yield lambda at_bytes: bar.update(at_bytes - bar.pos)


def _say(words: str) -> None:
    click.echo(visible_lines(words), err=True)
