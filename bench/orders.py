"""What the dashboards' benches draw: 5M orders of ninety days, and nine queries over all of them.

The queries are the same text for everybody. Whoever looks chooses the smallest amount, so that a choice nobody has
made before finds nothing cached anywhere.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

ROWS = 5_000_000
TABLE = "site.order_placed"
EVENT = "Order Placed"
DAYS = 90
REGIONS = ("North", "South", "East", "West")
CHANNELS = ("App", "Website", "Phone")
PRODUCTS = 40
BOARD = "orders"
TITLE = "Orders"


@dataclass(frozen=True, slots=True)
class Tile:
    """A tile of the dashboard. In `sql`, `{orders}` is the table and `{enough}` the choice."""

    id: str
    kind: str
    title: str
    sql: str
    options: str = ""


TILES = (
    Tile("count", "number", "Count", "select count(*) as orders from {orders} where {enough}"),
    Tile("revenue", "number", "Revenue", "select sum(amount) as amount from {orders} where {enough}"),
    Tile("items", "number", "Items an order", "select avg(items) as items from {orders} where {enough}"),
    Tile(
        "regions",
        "line",
        "Revenue by region",
        "select cast(day as date) as day, region, amount from (select day, region, sum(amount) as amount"
        " from {orders} where {enough} group by day, region) order by day, region",
    ),
    Tile(
        "channels",
        "area",
        "Orders by channel",
        "select cast(day as date) as day, channel, orders from (select day, channel, count(*) as orders"
        " from {orders} where {enough} group by day, channel) order by day, channel",
    ),
    Tile(
        "products",
        "bar",
        "Best products",
        "select product, sum(amount) as amount from {orders} where {enough} group by product"
        " order by amount desc limit 12",
        "x=amount y=product",
    ),
    Tile(
        "hours",
        "heat",
        "Orders by weekday and hour",
        "select hour, weekday, count(*) as orders from {orders} where {enough} group by hour, weekday"
        " order by weekday, hour",
        "x=hour y=weekday color=orders",
    ),
    Tile(
        "baskets",
        "scatter",
        "Amount against items",
        "select avg(amount) as amount, avg(items) as items from {orders} where {enough} group by product"
        " order by amount",
        "x=amount y=items",
    ),
    Tile(
        "latest",
        "table",
        "Latest",
        "select day, hour, region, channel, product, amount, items from {orders} where {enough}"
        " order by _received_at desc limit 25",
    ),
)


def board() -> str:
    """The dashboard as a file of ours."""
    parts = [f"---\ntitle: {TITLE}\nrefresh: 1m\nfilters:\n  amount: {{type: range}}\n---\n"]
    for tile in TILES:
        sql = tile.sql.format(orders=TABLE, enough="amount in $amount")
        parts.append(f'```sql {tile.kind} {tile.id} "{tile.title}" {tile.options}\n{sql}\n```\n')
    return "\n".join(parts)


def chosen(amount: float) -> str:
    """The end of our dashboard's address for a choice."""
    return f"?amount={amount:.4f}.."


def write_for_peers(warehouse: Path, folder: Path) -> tuple[Path, Path]:
    """The tiles as JSON, with SQL whose one parameter is the choice; and a database with the same rows, in the same
    order, of which peers need the columns that the queries read."""
    tiles, database = folder / "tiles.json", folder / "peers.duckdb"
    sql = {tile.id: tile.sql.format(orders="orders", enough="amount >= $1") for tile in TILES}
    described = [{"id": tile.id, "kind": tile.kind, "title": tile.title, "sql": sql[tile.id]} for tile in TILES]
    tiles.write_text(json.dumps(described))
    with duckdb.connect(str(database)) as connection:
        connection.execute(f"ATTACH '{warehouse}' AS warehouse (READ_ONLY)")
        connection.execute(
            "CREATE TABLE orders AS SELECT _received_at, day, hour, weekday, region, channel, product, amount, items"
            f" FROM warehouse.{TABLE}"
        )
    return tiles, database


def insert_standing(path: Path, rows: int) -> None:
    """Rows of the ninety days until now, in order of time, as if they had been loaded. The table is there."""
    with duckdb.connect(str(path)) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(
            f"""
            INSERT INTO {TABLE} BY NAME
            SELECT n::VARCHAR AS _id, received_at AS _received_at, 'bench' AS _source, 'standing' AS _batch,
                received_at AS _loaded_at, strftime(received_at, '%Y-%m-%d') AS day, hour(received_at) AS hour,
                isodow(received_at) AS weekday, $2[1 + (odd % 4)::INTEGER] AS region,
                $3[1 + (odd // 4 % 3)::INTEGER] AS channel, 'Product ' || (1 + odd // 12 % $4) AS product,
                (odd // 4096 % 10000) / 100 AS amount, 1 + odd // 65536 % 9 AS items, n AS seq, false AS probe
            FROM (
                SELECT range AS n, hash(range) AS odd, now() - INTERVAL 1 DAY * $5 * (1 - range / $1) AS received_at
                FROM range($1)
            )
            """,
            [rows, list(REGIONS), list(CHANNELS), PRODUCTS, DAYS],
        )


def properties(seq: int, now: datetime) -> dict[str, Any]:
    """What an order says that is placed now."""
    return {
        "day": now.date().isoformat(),
        "hour": now.hour,
        "weekday": now.isoweekday(),
        "region": _pick(REGIONS, seq),
        "channel": _pick(CHANNELS, seq // 4),
        "product": f"Product {1 + seq // 12 % PRODUCTS}",
        "amount": (seq * 7_919 % 9_999 + 0.5) / 100,  # never whole, so that the column is one of fractions
        "items": 1 + seq % 9,
    }


def _pick(values: Sequence[str], at: int) -> str:
    return values[at % len(values)]
