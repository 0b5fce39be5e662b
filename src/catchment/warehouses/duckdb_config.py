"""The settings of the DuckDB warehouse: apart from it, since a project is read without loading DuckDB."""

from __future__ import annotations

import re
from typing import Annotated

from msgspec import Meta, Struct


def _check_memory(limit: str) -> None:
    if not re.fullmatch(r"[1-9]\d*(\.\d+)? ?[MGT]i?B", limit):
        raise ValueError("must be a size", 'such as "400 MB"')


class DuckDBConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """`[warehouse] type = "duckdb"`."""

    path: Annotated[
        str, Meta(description="The database file, relative to the project; else `.catchment/warehouse.duckdb`.")
    ] = ""
    memory_limit: Annotated[
        str,
        Meta(
            description="What DuckDB may use before it spills to disk, such as `2 GB`.",
            extra={"check": _check_memory},
        ),
    ] = "400 MB"
    threads: Annotated[int, Meta(ge=0, description="Threads of one query; 0 takes half the cores.")] = 0
