"""A query's rows as Python values, for whoever asks a warehouse something with a small answer.

What ends the query is raised as it is: between nanoarrow and the warehouse lies C, which would make `WarehouseDown`,
after which one tries again, an error of nanoarrow's like any other.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

from catchment.warehouses import ArrowStream, Warehouse


def rows_of(warehouse: Warehouse, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """All rows of a query. Raises as `Warehouse.query`."""
    return list(each_row(warehouse.query(sql, list(params))))


def each_row(stream: ArrowStream) -> Generator[tuple[Any, ...], None, None]:
    """The rows as they come; the stream is closed once they end, or are given up. Raises as `Warehouse.query`."""
    import nanoarrow
    from nanoarrow.ipc import InputStream

    from catchment.warehouses.ipc import opened

    try:
        with opened(stream.ipc()) as file:
            yield from nanoarrow.ArrayStream(InputStream.from_readable(file)).iter_tuples()
    finally:
        stream.close()
