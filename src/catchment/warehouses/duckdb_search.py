"""Which ids of a batch stand in its table already, asked before its file is read.

The other way, NOT EXISTS in the INSERT itself, has DuckDB put whole rows of the file into a hash table, all columns
of them. Here that holds the ids alone, which the guard has read anyway and which come to DuckDB as Arrow; what is
new then streams from the file into the table.
"""

from __future__ import annotations

import contextlib
from array import array
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import accumulate
from typing import Any

import duckdb
import nanoarrow

from catchment.warehouses import Ids
from catchment.warehouses.duckdb_sql import moment
from catchment.warehouses.quoting import name, table_name, text

WORTH_A_SEARCH = 4_000
"""From so many rows on: a statement of its own costs as much as what it spares fewer of them."""
MAX_KNOWN = 1_000
"""Of so many ids that stand there already, they are left out by name; of more, by the search in the INSERT."""

MAX_BYTES = 2**31 - 1
"""Of all ids together: Arrow's texts tell by 32 bits where each ends."""

_IDS = "ids of the batch"


def known_ids(cursor: duckdb.DuckDBPyConnection, table: str, ids: Ids, search_from: datetime) -> list[str] | None:
    """Those of the ids that rows of the table have, of the same source and received since then; None of too many."""
    column = _Column.of(ids.ids)
    if column is None:
        return None
    with _registered(cursor, column):
        found = cursor.execute(
            f"SELECT DISTINCT _id FROM {table_name(table)} WHERE _source = {text(ids.source)} "
            f"AND _received_at >= {moment(search_from)} AND _id IN (SELECT id FROM {name(_IDS)}) "
            f"LIMIT {MAX_KNOWN + 1}"
        ).fetchall()
    return [identity for (identity,) in found] if len(found) <= MAX_KNOWN else None


@contextlib.contextmanager
def _registered(cursor: duckdb.DuckDBPyConnection, column: _Column) -> Iterator[None]:
    """The column as a view of this cursor alone."""
    cursor.complete()  # of the statement before not all may be read, which is no time to register
    cursor.register(_IDS, column)
    try:
        yield
    finally:
        with contextlib.suppress(duckdb.Error):  # the transaction has failed, and ends with the view
            cursor.unregister(_IDS)


class _Column:
    """Texts as a stream of Arrow with one column `id`."""

    def __init__(self, ends: array[int], together: bytes) -> None:
        count = len(ends) - 1
        column = nanoarrow.c_array_from_buffers(nanoarrow.string(), count, [None, ends, together])
        schema = nanoarrow.struct({"id": nanoarrow.string()})
        self._rows: Any = nanoarrow.c_array_from_buffers(schema, count, [None], children=[column])

    @classmethod
    def of(cls, texts: Sequence[str]) -> _Column | None:
        """None of too many bytes."""
        joined = "".join(texts)
        together = joined.encode()
        if len(together) > MAX_BYTES:
            return None
        ends = array("i", [0])
        ends.extend(accumulate(map(len, texts if joined.isascii() else (each.encode() for each in texts))))
        return cls(ends, together)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return nanoarrow.c_array_stream(self._rows).__arrow_c_stream__()
