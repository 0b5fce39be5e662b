"""`catchment tail`: records as they reach the archive."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import click

from catchment.archives import INCOMING, Archive
from catchment.cli.parts import check_table_name
from catchment.cli.project import with_project
from catchment.cli.screen import stdout, visible
from catchment.config import Project
from catchment.errors import Malformed
from catchment.load.files import Incoming, parse
from catchment.pack import read_file

_POLL_S = 0.2


@click.command()
@with_project
@click.argument("table", required=False)
@click.option("--all", "from_start", is_flag=True, help="Begin with what lies under incoming/ already.")
@click.option("--once", is_flag=True, help="End when there is nothing more, rather than wait.")
def tail(project: Project, table: str | None, from_start: bool, once: bool) -> None:
    """Print records as they reach the archive, one JSON line each.

    Of TABLE alone, where given. Ctrl-C ends it.
    """
    if table is not None:
        check_table_name(table)
    archive = project.archive.open()
    out = stdout()
    seen = set() if from_start or once else set(_names(archive))
    while True:
        for name in _names(archive):
            if name not in seen:
                seen.add(name)
                for line in _lines(archive, name, table):
                    out.write(line)
        sys.stdout.buffer.flush()
        if once:
            return
        time.sleep(max(_POLL_S, archive.round_age_s / 10))


def _names(archive: Archive) -> list[str]:
    return [entry.name for entry in archive.list(INCOMING) if isinstance(parse(entry.name), Incoming)]


def _lines(archive: Archive, name: str, table: str | None) -> Iterator[bytes]:
    try:
        with archive.open(name) as file:
            for pack in read_file(file, frozenset([table]) if table else None):
                yield pack.plain()
    except FileNotFoundError:
        return  # rewritten meanwhile; it was seen, or lies an hour back
    except Malformed as error:
        click.echo(visible(f"{name}: {error}"), err=True)
