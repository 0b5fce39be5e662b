"""The sides of the fill bench: `python -m bench.our_fill FOLDER elected|declared|bare [URL]`.

A million orders lie in an archive, and in a frozen table that kept one of their fields in `_rescued`. Timed is the
way from there to a column that is filled, on a copy of that warehouse: ours with its type found by all values, ours
with a declared type, and the engine's own UPDATE … FROM the same files: DuckDB reads them itself, PostgreSQL gets them
into a temporary table by COPY from DuckDB. With an address the warehouse is PostgreSQL, else DuckDB.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import msgspec
import psycopg

from bench.measure import CACHE, Stopwatch
from catchment.archives.disk import DiskArchive
from catchment.load.config import ColumnConfig, LoadConfig, TableLoadConfig
from catchment.load.files import new_incoming
from catchment.load.fill import fill
from catchment.load.in_flight import InFlight
from catchment.load.loader import Loader
from catchment.load.sweep import Sweep
from catchment.pack import build
from catchment.record import Line, timestamp
from catchment.service import Stop
from catchment.warehouses import Warehouse
from catchment.warehouses.duckdb import DuckDBWarehouse
from catchment.warehouses.postgres import PostgresWarehouse
from catchment.warehouses.postgres_staging import CSV, piped

RECORDS = 1_000_000
TABLE = "shop.orders"
FIELD = "coupon"
FILE_RECORDS, PACK_RECORDS = 50_000, 1_000
SEED = 7
THREADS = 2
START = datetime(2026, 11, 1, 10, tzinfo=UTC)
READ = f"""
read_json(?, format = 'newline_delimited', columns = {{
    'id': 'VARCHAR', 'source': 'VARCHAR', 'received_at': 'TIMESTAMPTZ', 'data': 'STRUCT({FIELD} VARCHAR)'}}) s
"""
UPDATE = f"""
UPDATE wh.shop.orders o SET {FIELD} = s.data.{FIELD}, _rescued = NULL FROM {READ}
WHERE o._id = s.id AND o._source = s.source AND o._received_at = s.received_at AND s.data.{FIELD} IS NOT NULL
"""
POSTGRES_UPDATE = f"""
UPDATE shop.orders o SET {FIELD} = s.value, _rescued = NULL FROM given s
WHERE o._id = s.id AND o._source = s.source AND o._received_at = s.received_at
"""


def main() -> None:
    """Fill the column and say how long it took."""
    folder, side, *url = Path(sys.argv[1]), *sys.argv[2:]
    made = data()
    (folder / "archive").symlink_to(made / "archive")
    if not url:
        shutil.copyfile(made / "warehouse.duckdb", folder / "warehouse.duckdb")
    with Stopwatch() as watch:
        if side == "bare":
            rows = _bare_postgres(folder, *url) if url else _bare(folder)
        else:
            rows = _ours(folder, *url, declared=side == "declared")
    assert rows == RECORDS, f"{rows} rows"
    watch.tell(RECORDS)


def _ours(folder: Path, url: str = "", *, declared: bool) -> int:
    columns = {FIELD: ColumnConfig(type="varchar")} if declared else {}
    with _opened(folder, TableLoadConfig(contract="freeze", columns=columns), url) as loader:
        return fill(loader, loader.archive, TABLE, [FIELD]).rows


def _bare(folder: Path) -> int:
    with duckdb.connect(config={"threads": THREADS, "checkpoint_threshold": "1GB"}) as connection:
        connection.execute(f"ATTACH '{folder / 'warehouse.duckdb'}' AS wh")
        connection.execute(f"ALTER TABLE wh.shop.orders ADD COLUMN {FIELD} VARCHAR")
        row = connection.execute(UPDATE, [_files(folder)]).fetchone()
        return int(row[0]) if row else 0


def _bare_postgres(folder: Path, url: str) -> int:
    values = f"SELECT s.id, s.source, s.received_at, s.data.{FIELD} FROM {READ} WHERE s.data.{FIELD} IS NOT NULL"
    with psycopg.connect(url) as connection, duckdb.connect(config={"threads": THREADS}) as reading:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"ALTER TABLE shop.orders ADD COLUMN {FIELD} text")
        connection.execute("CREATE TEMP TABLE given (id text, source text, received_at timestamptz, value text)")
        reading.execute("SET TimeZone = 'UTC'")
        with (
            piped(reading, values, [_files(folder)]) as pieces,
            connection.cursor().copy(f"COPY given FROM STDIN (FORMAT csv, {CSV})") as copy,
        ):
            for piece in pieces:
                copy.write(piece)
        return connection.execute(POSTGRES_UPDATE.encode()).rowcount


def _files(folder: Path) -> list[str]:
    return [str(path) for path in (folder / "archive" / "incoming").iterdir()]


@contextlib.contextmanager
def _opened(folder: Path, table: TableLoadConfig, url: str = "") -> Iterator[Loader]:
    archive = DiskArchive(DiskArchive.Config(), folder)
    readable = (folder / "archive").resolve()
    warehouse: Warehouse
    if url:
        warehouse = PostgresWarehouse(PostgresWarehouse.Config(url), folder)
    else:
        warehouse = DuckDBWarehouse(DuckDBWarehouse.Config(threads=THREADS), folder, [folder / "archive", readable])
    with contextlib.closing(warehouse):
        yield Loader.of(warehouse, archive, LoadConfig(tables={TABLE: table}), paced=False)


def data() -> Path:
    """The archive and the frozen table, made now if this machine does not have them yet."""
    folder = CACHE / f"fill-{RECORDS}-{SEED}"
    if not folder.exists():
        unfinished = folder.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        archive, rng = DiskArchive(DiskArchive.Config(), unfinished), random.Random(SEED)
        for at in range(0, RECORDS, FILE_RECORDS):
            packs = [build(TABLE, _lines(rng, start)) for start in range(at, at + FILE_RECORDS, PACK_RECORDS)]
            archive.put(new_incoming(START + timedelta(seconds=at), 1).name, packs)
        load(unfinished)
        unfinished.rename(folder)
    return folder


def load(folder: Path, url: str = "") -> None:
    """The archive of a folder into a frozen table that keeps the one field in `_rescued`."""
    others = {name: ColumnConfig() for name in _data(random.Random(SEED), 0) if name != FIELD}
    with _opened(folder, TableLoadConfig(contract="freeze", columns=others), url) as loader:
        Sweep(loader, loader.archive, InFlight()).everything(Stop())
        loader.warehouse.tidy(START)


def _data(rng: random.Random, number: int) -> dict[str, object]:
    return {
        "order": number,
        "total": round(rng.random() * 500, 2),
        "currency": rng.choice(("USD", "EUR", "GBP")),
        "country": rng.choice(("US", "FR", "DE", "GB", "BR", "IN", "JP")),
        "session_id": f"{rng.getrandbits(64):016x}",
        "url": f"/p/{rng.randrange(5_000)}/item?x={rng.randrange(100)}",
        "is_new": rng.random() < 0.3,
        "tags": [f"t{rng.randrange(20)}" for _ in range(rng.randrange(4))],
        FIELD: f"spring-{rng.getrandbits(32):08x}",
    }


def _lines(rng: random.Random, start: int) -> list[Line]:
    lines = []
    for number in range(start, start + PACK_RECORDS):
        received_at = START + timedelta(milliseconds=3 * number)
        stamp = timestamp(received_at).decode()
        record = {
            "table": TABLE, "id": f"{rng.getrandbits(128):032x}", "received_at": stamp, "not_before": stamp,
            "source": "website", "data": _data(rng, number),
        }  # fmt: skip
        lines.append(Line(TABLE, msgspec.json.encode(record) + b"\n", received_at, received_at))
    return lines


if __name__ == "__main__":
    main()
