"""The settings of the outbox."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct


class OutboxConfig(Struct, frozen=True, kw_only=True):
    """Where publishers keep what a broker does not take at once. The embedded queue needs none."""

    path: (
        Annotated[
            str,
            Meta(
                min_length=1,
                description="A folder on a local disk that outlives a restart, relative to the project; else within"
                " `.catchment`.",
            ),
        ]
        | None
    ) = None
    patience_s: Annotated[
        float,
        Meta(gt=0, le=60, description="So long a publisher waits for the broker before it writes to the outbox."),
    ] = 3.0
    max_bytes: Annotated[
        int,
        Meta(ge=1_000_000, description="How much of one process may wait in it before publishers are held back."),
    ] = 10_000_000_000

    def folder(self, runtime: Path) -> Path:
        """Where it lies in a project with this runtime folder."""
        return runtime / "outbox" if self.path is None else runtime.parent / self.path
