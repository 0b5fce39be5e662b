"""`catchment status`: what runs, and how far behind it is."""

from __future__ import annotations

import contextlib
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import click
import msgspec

from catchment import presence
from catchment.cli.checks import set_aside
from catchment.cli.exits import ExitCode
from catchment.cli.parts import outbox_of, unloaded_batches, warehouse_of
from catchment.cli.project import with_project
from catchment.cli.screen import visible
from catchment.config import Project
from catchment.config.project import ListenPart
from catchment.errors import CatchmentError
from catchment.load.tables import table_names
from catchment.queues import QueueStats
from catchment.warehouses import Halt, Warehouse
from catchment.warehouses.rows import rows_of

_RECENT_CHANGES = "SELECT count(*) FROM catchment.schema_change WHERE changed_at > $1"
TABLES_AT_ONCE = 100
"""One query over all would be longer than a query may be; and sorted, it takes 256 KB of memory a table."""


class Service(msgspec.Struct):
    """One service; `address` is where it is reached, null for one that nobody calls."""

    name: str
    pid: int | None
    state: str
    address: str | None


class Table(msgspec.Struct):
    """One loaded table."""

    table: str
    rows: int
    last_received_at: datetime | None
    last_loaded_at: datetime | None
    halted: str | None = None
    """Why its loading has stopped."""


class Listening(msgspec.Struct):
    """One listener, and the messages that wait for it with its broker; null where unknown."""

    name: str
    type: str
    messages: int | None


class Status(msgspec.Struct):
    """The contract of `status --json`; counts are null where unknown."""

    services: list[Service]
    queue: QueueStats
    """What waits in the outbox included."""
    unloaded_batches: int | None
    tables: list[Table]
    dead_letters: int | None
    problems: list[str]
    schema_changes: int | None = None
    """Of the last 24 hours; `catchment schema changes` lists them."""
    outbox: QueueStats | None = None
    """What waits in the outbox of this folder; null where the queue needs none."""
    listeners: list[Listening] = []


@click.command()
@with_project
@click.option("--json", "is_json", is_flag=True, help="Print one JSON object.")
def status(project: Project, is_json: bool) -> int:
    """Show what runs and how far behind it is.

    Exits with 3 if a service that should run does not, a table is halted, or a part cannot be asked.
    """
    found = look(project)
    if is_json:
        click.echo(msgspec.json.encode(found).decode())
    else:
        _show(found)
    is_well = not found.problems and all(s.state in {"ready", "stopped"} for s in found.services)
    return ExitCode.DONE if is_well else ExitCode.NOT_WELL


def look(project: Project) -> Status:
    """The project's state as of now. What cannot be asked becomes a problem, not an error."""
    problems: list[str] = []
    states = presence.services(project.runtime)
    services = [Service(state.name, state.pid, state.state, state.address) for state in states]
    problems += [f"{state.name} is not ready: {state.waits_for}" for state in states if state.waits_for]
    stats, outbox_stats = QueueStats(), None
    try:
        with contextlib.closing(project.queue.open()) as queue:
            if (outbox := outbox_of(queue)) is not None:
                outbox_stats = outbox.waiting()
            stats = queue.stats()
    except CatchmentError as error:
        problems.append(f"queue: {error.message}")
    problems += [f"{finding.subject}: {finding.detail}" for finding in set_aside(project.runtime)]
    listeners = [_listening(part, problems) for part in project.listen.values()]
    found = Status(services, stats, None, [], None, problems, outbox=outbox_stats, listeners=listeners)
    if not project.runtime.exists():
        return found  # nothing ever ran: asking would make an empty warehouse
    try:
        with warehouse_of(project) as warehouse:
            halts = {halt.table: halt for halt in warehouse.halts() if halt.resumed_at is None}
            found.tables = tables(warehouse, halts)
            found.dead_letters = _count(warehouse, "SELECT count(*) FROM catchment.open_dead_letters")
            found.schema_changes = _count(warehouse, _RECENT_CHANGES, datetime.now(UTC) - timedelta(days=1))
            found.unloaded_batches = unloaded_batches(project.archive.open(), warehouse)
            problems += [f"{halt.table}: loading has halted: {halt.reason}" for halt in halts.values()]
    except CatchmentError as error:
        problems.append(f"warehouse: {error.message}")
    return found


def _listening(part: ListenPart, problems: list[str]) -> Listening:
    waiting = None
    try:
        with contextlib.closing(part.open()) as tap:
            waiting = tap.stats().messages
    except CatchmentError as error:
        problems.append(f"listen.{part.name}: {error.message}")
    return Listening(part.name, part.type, waiting)


def tables(warehouse: Warehouse, halts: dict[str, Halt]) -> list[Table]:
    """Every loaded table with its counts, by name."""
    names = [table.split(".") for table in table_names(warehouse)]
    rows = []
    for start in range(0, len(names), TABLES_AT_ONCE):
        counts = " UNION ALL ".join(
            f'SELECT \'{schema}.{name}\', count(*), max(_received_at), max(_loaded_at) FROM "{schema}"."{name}"'
            for schema, name in names[start : start + TABLES_AT_ONCE]
        )
        rows += rows_of(warehouse, counts)
    return [
        Table(table, count, received_at, loaded_at, halts[table].reason if table in halts else None)
        for table, count, received_at, loaded_at in sorted(rows)
    ]


def _count(warehouse: Warehouse, sql: str, *params: Any) -> int:
    return int(rows_of(warehouse, sql, params)[0][0])


def _show(found: Status) -> None:
    _section("Services", [_service_cells(service) for service in found.services], "none has run yet: catchment up")
    oldest = f", the oldest for {_span(found.queue.oldest_s)}" if found.queue.messages and found.queue.oldest_s else ""
    click.echo(f"Queue         {_number(found.queue.messages)} messages, {_number(found.queue.bytes)} bytes{oldest}")
    if found.outbox is not None:
        click.echo(f"Outbox        {_number(found.outbox.messages)} messages, {_number(found.outbox.bytes)} bytes")
    for each in found.listeners:
        click.echo(f"Listening     {each.name}: {_number(each.messages)} messages wait")
    click.echo(f"Not loaded    {_number(found.unloaded_batches)} batches")
    click.echo(f"Dead letters  {_number(found.dead_letters)}")
    click.echo(f"Schema        {_number(found.schema_changes)} changes in 24 hours")
    _section("Tables", [_table_cells(table) for table in found.tables], "none yet: catchment send, say")
    for problem in found.problems:
        click.echo(visible(f"! {problem}"), file=sys.stderr)


def _section(title: str, rows: list[tuple[str, ...]], empty: str) -> None:
    """Rows of cells in columns; those of numbers to the right."""
    click.echo(title)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.rjust(w) if cell[:1].isdigit() else cell.ljust(w) for cell, w in zip(row, widths, strict=True)]
        click.echo("  " + "  ".join(cells).rstrip())
    if not rows:
        click.echo(f"  {empty}")


def _service_cells(service: Service) -> tuple[str, ...]:
    return service.name, service.state, f"pid {service.pid}" if service.pid else "", service.address or ""


def _table_cells(table: Table) -> tuple[str, ...]:
    halted = "halted" if table.halted else ""
    return (
        table.table,
        f"{table.rows:,} row{'' if table.rows == 1 else 's'}",
        f"last received {_ago(table.last_received_at)}",
        halted,
    )


def _number(value: int | None) -> str:
    return "unknown" if value is None else f"{value:,}"


def _ago(moment: datetime | None) -> str:
    if moment is None:
        return "never"
    age_s = (datetime.now(UTC) - moment).total_seconds()
    return f"{_span(age_s)} ago" if age_s >= 0 else "in the future"


def _span(seconds: float) -> str:
    for size, unit in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
