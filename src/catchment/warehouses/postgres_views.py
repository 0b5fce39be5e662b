"""Views with the latest value of every field, for each value of a key: see `warehouses.LatestView`."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg

from catchment.errors import Retry
from catchment.warehouses import LatestView
from catchment.warehouses.postgres_connections import Connection
from catchment.warehouses.postgres_shapes import drop_views, grant_select
from catchment.warehouses.quoting import name, table_name
from catchment.warehouses.shape import Shape


def make_view(connection: Connection, view: LatestView, shape: Shape, roles: Sequence[str]) -> None:
    """Make the view anew, under the locks of it and its table. CREATE OR REPLACE would only add columns.

    Raises `Retry` where a view of somebody's stands on the one there is.
    """
    statement = _statement(view, shape)
    if statement is None:
        return
    try:
        drop_views(connection, "view_name", view.view)
    except psycopg.errors.DependentObjectsStillExist:
        raise Retry(
            f"the view {view.view} lacks the newest columns of {view.table}, since other views stand on it",
            "drop those, and make them again once it is new",
        ) from None
    connection.execute(statement)
    connection.execute("INSERT INTO catchment.views VALUES (%s, %s)", [view.view, view.table])
    grant_select(connection, view.view, roles)


def _statement(view: LatestView, shape: Shape) -> str | None:
    """None while the table has no column for the key."""
    columns = {column.field: column for column in shape.columns}
    key, order = columns.get(view.key), columns.get(view.order)
    if key is None:
        return None
    time = "o._received_at"
    if order is not None and order.type == "timestamptz":
        time = f"coalesce(o.{name(order.name)}, {time})"
    latest = "".join(
        f", (array_agg(o.{name(column.name)} ORDER BY {time} DESC, o._received_at DESC, o._id DESC) "
        f"FILTER (WHERE o.{name(column.name)} IS NOT NULL))[1] AS {name(column.name)}"
        for column in shape.columns
        if column.field not in {view.key, *view.without} and column.name != view.key_column
    )
    return (
        f"CREATE VIEW {table_name(view.view)} AS SELECT o.{name(key.name)} AS {name(view.key_column)}{latest} "
        f"FROM {table_name(view.table)} AS o WHERE o.{name(key.name)} IS NOT NULL GROUP BY o.{name(key.name)}"
    )
