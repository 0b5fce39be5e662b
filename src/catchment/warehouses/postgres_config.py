"""The settings of the PostgreSQL warehouse: apart from it, since a project is read without loading the driver."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

_SCHEMES = ("postgresql://", "postgres://")


def _check_url(url: str) -> None:
    if not url.startswith(_SCHEMES):
        raise ValueError("must be an address", "such as postgresql://loader:${PASSWORD}@db.example:5432/warehouse")


class PostgresConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """`[warehouse] type = "postgres"`."""

    url: Annotated[
        str,
        Meta(
            description="Where the database is, `postgresql://user:password@host:5432/database?sslmode=verify-full`;"
            " `${WAREHOUSE_URL}` keeps it out of the file. Whatever libpq understands may follow the `?`.",
            extra={"check": _check_url},
        ),
    ]
    grant_select_to: Annotated[
        list[str],
        Meta(description="Roles that may read every table loaded from now on, such as the analysts'."),
    ] = []
    reader_role: (
        Annotated[
            str,
            Meta(
                min_length=1,
                description="The role that people's queries run as, of which the role of `url` must be a member; else"
                " they have the rights of `url`.",
            ),
        ]
        | None
    ) = None
    application_name: Annotated[
        str, Meta(min_length=1, description="How its connections are named in `pg_stat_activity`.")
    ] = "catchment"
    connect_timeout_s: Annotated[
        int, Meta(ge=2, le=600, description="How long a connection may take to come about, in seconds.")
    ] = 10
