"""The options that say how a CSV file is written, for every command that reads one."""

from __future__ import annotations

import csv
from collections.abc import Callable
from typing import Any, TypeVar

import click

from catchment.errors import UsageError
from catchment.send.lines import UTF_8
from catchment.send.survey import Options

F = TypeVar("F", bound=Callable[..., Any])

_NAMED = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "space": " "}
NONE = "none"


def csv_options(command: F) -> F:
    """Add the options to a command; `read_options` takes what they give."""
    for option in (
        click.option("--encoding", metavar="NAME", help=f"Of a CSV file.  [default: {UTF_8}]"),
        click.option(
            "--skip", type=click.IntRange(min=0), metavar="N", help="Lines before the header that are no data."
        ),
        click.option(
            "--null",
            "nulls",
            multiple=True,
            metavar="TEXT",
            help="Without quotes it means null, such as NA; repeatable.",
        ),
        click.option(
            "--escape", metavar="C", help="Goes before a quote inside quotes.  [default: a quote is doubled]"
        ),
        click.option("--quote", metavar="C", help='Around fields; none if the file has no quotes.  [default: "]'),
        click.option(
            "--delimiter", metavar="C", help="Between fields; or tab, or none.  [default: what fits every line]"
        ),
        click.option("--columns", metavar="A,B,…", help="Names of the columns, for a file without a header line."),
    ):
        command = option(command)
    return command


def read_options(
    columns: str | None,
    delimiter: str | None,
    quote: str | None,
    escape: str | None,
    nulls: tuple[str, ...],
    skip: int | None,
    encoding: str | None,
) -> Options:
    """What the options say. Raises `UsageError`."""
    options = Options(
        delimiter=_mark("--delimiter", delimiter),
        one_column=delimiter == NONE,
        quote='"' if quote is None else _mark("--quote", quote),
        escape=_mark("--escape", escape),
        nulls=frozenset(nulls),
        columns=_names(columns),
        skip=skip or 0,
        encoding=encoding or UTF_8,
    )
    if options.delimiter is not None and options.delimiter in {options.quote, options.escape}:
        raise UsageError("--delimiter must differ from --quote and --escape")
    if options.quote is not None and any(options.quote in null for null in nulls):
        raise UsageError(f"--null is a text without quotes ({options.quote})", "a quoted text is never null")
    if options.escape is not None and options.quote is None:
        raise UsageError("--escape goes before quotes, of which --quote none says there are none")
    return options


def _mark(flag: str, text: str | None) -> str | None:
    if text is None or text == NONE:
        return None
    mark = _NAMED.get(text, text)
    if len(mark) != 1 or mark in "\r\n":
        raise UsageError(f"{flag} {text!r}: it must be one character", f"{flag} ',', or a name: {', '.join(_NAMED)}")
    return mark


def _names(columns: str | None) -> tuple[str, ...]:
    if columns is None:
        return ()
    names = tuple(next(csv.reader([columns]), ()))
    if not names or "" in names or len(set(names)) < len(names):
        raise UsageError(f"--columns {columns!r}: each column needs a name of its own", "--columns id,name,amount")
    return names
