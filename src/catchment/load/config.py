"""`[load]`: when a round closes, what a table's contract is, when loading of a table halts."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from msgspec import Meta, Struct


class LoadConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """A round closes on age, rows or bytes, whichever comes first."""

    max_age_s: Annotated[float, Meta(gt=0, description="Age at which a round closes; stretches under load.")] = 0.5
    max_rows: Annotated[int, Meta(ge=1, description="Rows at which a round closes.")] = 250_000
    max_bytes: Annotated[int, Meta(ge=1024, description="Bytes as received at which a round closes.")] = 64_000_000
    contract: Annotated[
        Literal["evolve"], Meta(description="What happens to a field that the table does not have.")
    ] = "evolve"
    dedupe_window: Annotated[
        timedelta, Meta(description="How long a record without a time of its own may be sent again.")
    ] = timedelta(days=7)
    max_rejected_share: Annotated[
        float, Meta(gt=0, le=1, description="Share of a table's records that may become dead letters.")
    ] = 0.5
    min_rejected: Annotated[
        int, Meta(ge=1, description="Dead letters of a table below which loading never halts.")
    ] = 100
    rewrite_after: Annotated[
        timedelta, Meta(description="Age at which files of the archive are rewritten by table and hour.")
    ] = timedelta(hours=1)
    loader_threads: Annotated[int, Meta(ge=1, le=64, description="Threads that load side by side.")] = 2
