"""What a project's own function may return in place of a plain dict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """One row with what it is to be called. `table` and `id` stand in for the settings', where given; nothing of the
    row is filed under these names."""

    data: Mapping[str, Any]
    table: str | None = None
    id: str | None = None
