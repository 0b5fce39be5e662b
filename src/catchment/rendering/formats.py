"""A query's result as a file: JSON, CSV, Parquet or Arrow, a batch at a time however large it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nanoarrow
from nanoarrow.ipc import InputStream

from catchment.errors import StorageError, UsageError
from catchment.rendering import Out
from catchment.warehouses.ipc import opened

Pieces = Iterator[bytes]
"""An Arrow IPC stream."""


def write_arrow(pieces: Pieces, out: Out) -> None:
    """The IPC stream itself."""
    for piece in pieces:
        out.write(piece)


def write_json(pieces: Pieces, out: Out) -> None:
    """One array of objects, one line each."""
    from catchment.rendering.texts import json_objects

    out.write(b"[")
    separator_bytes = 1  # none before the first object
    with _texts(pieces, lambda relation: f"concat(',\n', {json_objects(relation)})") as (_, texts):
        for text in texts:
            out.write(text[separator_bytes:])
            separator_bytes = 0
    out.write(b"]\n" if separator_bytes else b"\n]\n")


def write_csv(pieces: Pieces, out: Out) -> None:
    """A header and a line each."""
    from catchment.rendering.texts import csv_header, csv_lines

    with _texts(pieces, lambda relation: f"concat({csv_lines(relation)}, '\n')") as (names, texts):
        out.write(csv_header(names).encode() + b"\n")
        for text in texts:
            out.write(text)


def write_parquet(pieces: Pieces, path: Path) -> None:
    """A Parquet file, compressed with zstd. Raises `UsageError` for a type that Parquet does not have."""
    import duckdb

    with opened(pieces) as file, local_duckdb() as local:
        try:
            local.from_arrow(file.capsule()).write_parquet(str(path), compression="zstd")
        except duckdb.IOException as error:
            raise StorageError(f"{path}: {error}") from None
        except duckdb.Error as error:
            if file.error is not None:
                raise file.error from None
            raise UsageError(f"Parquet can't keep this result: {error}", "CAST that column to VARCHAR") from None


@contextmanager
def local_duckdb() -> Iterator[Any]:
    """A DuckDB of our own in memory, to write values with; in UTC, and in the order in which rows come."""
    import duckdb

    with duckdb.connect(config={"threads": 1, "python_enable_replacements": "false"}) as local:
        local.execute("SET TimeZone = 'UTC'")
        yield local


@contextmanager
def _texts(pieces: Pieces, expression: Callable[[Any], str]) -> Iterator[tuple[list[str], Iterator[bytes]]]:
    """The columns' names, unique, and for each batch the texts of its rows by `expression`, end to end.

    Arrow keeps the texts of a column end to end in one buffer, so that no row is met in Python.
    """
    with (
        opened(pieces) as file,
        nanoarrow.c_array_stream(InputStream.from_readable(file)) as batches,
        local_duckdb() as local,
    ):
        schema = batches.get_schema()
        relation = local.from_arrow(_stream([], schema))
        select = f"{expression(relation)} AS text"

        def texts() -> Iterator[bytes]:
            for batch in batches:
                written = local.from_arrow(_stream([batch], schema)).project(select)
                for texts in nanoarrow.c_array_stream(written):
                    yield bytes(texts.child(0).view().buffer(2))

        yield relation.columns, texts()


def _stream(batches: list[Any], schema: Any) -> object:
    from nanoarrow.c_array_stream import CArrayStream

    return CArrayStream.from_c_arrays(batches, schema, validate=False).__arrow_c_stream__()


WRITERS: Mapping[str, Callable[[Pieces, Out], None]] = {
    "csv": write_csv,
    "json": write_json,
    "arrow": write_arrow,
}
"""Those that write as they read; Parquet needs a file to go back in."""
