"""`catchment query`: ask the warehouse, and get the answer as a table or a file."""

from __future__ import annotations

import os
import queue
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO, TypeVar

import click

from catchment.cli.parts import warehouse_of
from catchment.cli.project import with_project
from catchment.cli.screen import stdout
from catchment.config import Project
from catchment.errors import StorageError, UsageError
from catchment.rendering import Out
from catchment.warehouses import ArrowStream, Warehouse

_T = TypeVar("_T")

FORMATS = ("table", "csv", "json", "parquet", "arrow")
TABLE_ROWS = 1_000
"""A table holds all its rows before it is drawn, and nobody reads more."""
_PUMPED_PIECES = 4
_COPIED_BYTES = 1 << 20


@click.command()
@with_project
@click.argument("sql", required=False)
@click.option("--file", "file", type=click.File(), metavar="FILE", help="Read the SQL from a file.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(FORMATS),
    default="table",
    show_default=True,
    help="json is one array of objects; bytes are base64 in csv and json.",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    metavar="PATH",
    help="Write to a file, which appears when it is whole.",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="End a query that takes longer.",
)
@click.option(
    "--max-rows",
    type=click.IntRange(min=0),
    metavar="N",
    help=f"At most so many rows.  [default: {TABLE_ROWS:,} for table, else all]",
)
def query(
    project: Project,
    sql: str | None,
    file: TextIO | None,
    format_: str,
    output: Path | None,
    timeout_s: float | None,
    max_rows: int | None,
) -> None:
    """Ask the warehouse in SQL.

    SQL is one statement that only reads, such as SELECT, DESCRIBE or EXPLAIN; - reads it from stdin.
    While `catchment up` runs, its warehouse process answers; otherwise the file is opened here.
    """
    text = _statement(sql, file)
    if format_ in {"parquet", "arrow"} and output is None and sys.stdout.isatty():
        raise UsageError(f"{format_} is no text for a terminal", f"--output result.{format_}")
    with warehouse_of(project) as warehouse:
        ask(warehouse, text, format_, output, timeout_s, max_rows)


def ask(
    warehouse: Warehouse,
    text: str,
    format_: str,
    output: Path | None,
    timeout_s: float | None,
    max_rows: int | None,
) -> None:
    """Write a statement's answer to a file, or to stdout."""
    if format_ == "table":
        _ask_table(warehouse, text, output, timeout_s, TABLE_ROWS if max_rows is None else max_rows)
        return
    # The stream too, since a pump that never began to run closes nothing.
    with closing(warehouse.query(text, timeout_s=timeout_s, max_rows=max_rows)) as stream:
        _write(stream, format_, output)


def _statement(sql: str | None, file: TextIO | None) -> str:
    if (sql is None) == (file is None):
        raise UsageError("a query needs its SQL, once", "catchment query 'SELECT 1', --file query.sql, or - for stdin")
    text = file.read() if file is not None else sys.stdin.read() if sql == "-" else sql or ""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError("the SQL is not UTF-8", "save it as UTF-8") from None
    return text


class _Pump:
    """Hands on what is written to it."""

    def __init__(self, pieces: queue.Queue[Any]) -> None:
        self._pieces = pieces

    def write(self, data: bytes, /) -> int:
        self._pieces.put(bytes(data))
        return len(data)


def pumped(stream: ArrowStream, write: Callable[[Iterator[bytes], Out], object]) -> Generator[bytes, None, None]:
    """What `write` makes of the result's IPC stream. Closing it ends the query.

    A thread of its own reads and writes it, so that Ctrl-C is noticed while an engine computes, and never comes upon
    a library in C that reads from us and has no way to pass it on.
    """
    pieces: queue.Queue[bytes | BaseException | None] = queue.Queue(_PUMPED_PIECES)

    def pump() -> None:
        try:
            write(stream.ipc(), _Pump(pieces))
        except BaseException as error:
            pieces.put(error)
        else:
            pieces.put(None)

    reader = threading.Thread(target=pump, name="query-reader", daemon=True)
    reader.start()
    try:
        while (piece := pieces.get()) is not None:
            if isinstance(piece, BaseException):
                raise piece
            yield piece
    finally:
        stream.close()
        while reader.is_alive():
            with suppress(queue.Empty):
                pieces.get(timeout=0.01)


def read_by(read: Callable[[Iterator[bytes]], _T], stream: ArrowStream) -> _T:
    """What `read` makes of the result's IPC stream, likewise."""
    found: list[_T] = []
    with closing(pumped(stream, lambda pieces, _: found.append(read(pieces)))) as nothing:
        for _ in nothing:
            pass
    return found[0]


def _ask_table(warehouse: Warehouse, sql: str, output: Path | None, timeout_s: float | None, max_rows: int) -> None:
    from catchment.cli.table import Table, draw, table

    with closing(warehouse.query(sql, timeout_s=timeout_s, max_rows=max_rows + 1)) as stream:
        result = read_by(table, stream)
    more = len(result.rows) > max_rows
    shown = Table(result.names, result.right, result.rows[:max_rows])
    is_screen = output is None and sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if is_screen else None
    with _opened(output) as out:
        for line in draw(shown, width):
            out.write(line.encode(errors="backslashreplace") + b"\n")
    count = f"{len(shown.rows):,} row{'' if len(shown.rows) == 1 else 's'}"
    click.echo(f"(the first {count}; --max-rows shows more, --format csv all)" if more else f"({count})", err=True)


def _write(stream: ArrowStream, format_: str, output: Path | None) -> None:
    from catchment.rendering.formats import WRITERS, write_parquet

    if format_ != "parquet":
        with _opened(output) as out, closing(pumped(stream, WRITERS[format_])) as pieces:
            for piece in pieces:
                out.write(piece)
        return
    # Parquet's writer goes back to its beginning: it needs a file of its own, also on the way to stdout.
    try:
        with tempfile.TemporaryDirectory(dir=output.parent if output else None, prefix=".catchment-") as folder:
            finished = Path(folder) / "result.parquet"
            read_by(lambda pieces: write_parquet(pieces, finished), stream)
            if output is not None:
                finished.replace(output)
                return
            with finished.open("rb") as file, _opened(None) as out:
                while piece := file.read(_COPIED_BYTES):
                    out.write(piece)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise StorageError(f"{output or error.filename}: {error.strerror}") from None


@contextmanager
def _opened(output: Path | None) -> Iterator[Out]:
    """stdout, or a file that takes the place of `output` once it is whole."""
    if output is None:
        yield stdout()
        sys.stdout.buffer.flush()
        return
    unfinished = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        with unfinished.open("wb") as file:
            yield file
        unfinished.replace(output)
    except OSError as error:
        raise StorageError(f"{output}: {error.strerror}") from None
    finally:
        unfinished.unlink(missing_ok=True)
