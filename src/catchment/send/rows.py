"""What the readers of a file hand to the publisher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bad:
    """A record of the file that is no row; it becomes a dead letter."""

    number: int
    """Its place among the file's records, from 1, good and bad ones counted together."""
    line: int
    """Where it begins: the line of a text, the item of a JSON array, the row of a Parquet file; from 1."""
    reason: str
    """One of `catchment.record.REASONS`."""
    detail: str
    raw: bytes
    """The record as it stands in the file; text of another encoding as UTF-8."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Some records of a file in their order. The sequences of rows are parallel."""

    data: Sequence[str]
    """Each row as one JSON object on one line."""
    numbers: Sequence[int]
    lines: Sequence[int]
    raw: Sequence[str]
    """Each row as it stands in the file, for the dead letter that it may yet become."""
    ids: Sequence[str] | None
    """The values of `--id`'s field, or None: then the publisher makes ids of the file's hash and `numbers`."""
    bad: Sequence[Bad]
    at_bytes: int
    """How much of the file has been read."""
