"""The settings of the state on PostgreSQL: apart from it, since a project is read without loading the driver."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta


def _check_url(url: str) -> None:
    if not url.startswith(("postgresql://", "postgres://")):
        raise ValueError("must be an address", "such as postgresql://catchment:${PASSWORD}@db.example:5432/catchment")


class PostgresStateConfig(msgspec.Struct, frozen=True, kw_only=True):
    """`[state] type = "postgres"`."""

    url: Annotated[
        str,
        Meta(
            description="Where the database is, `postgresql://user:password@host:5432/database?sslmode=verify-full`;"
            " its tables are in a schema of their own, `catchment_state`.",
            extra={"check": _check_url},
        ),
    ]
