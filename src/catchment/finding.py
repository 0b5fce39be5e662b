"""What `catchment doctor` finds, and what an adapter's `diagnose(config, folder)` returns."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at, and whether it is well. `hint` says how to fix what is not.

    `detail` and `hint` are shown to users and hold no secret.
    """

    subject: str
    is_well: bool
    detail: str
    hint: str = ""
