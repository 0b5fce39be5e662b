"""A query's result as text or as a file, a batch at a time however large it is."""

from __future__ import annotations

from typing import Protocol


class Out(Protocol):
    """Where bytes are written."""

    def write(self, data: bytes, /) -> int:
        """Write all of it."""
