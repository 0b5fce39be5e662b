"""Field names → column names: snake_case, at most 63 bytes, one column a field, the same wherever it is asked.

A name that is taken (by another field, by our metadata, in any case: DuckDB and Redshift fold it) is told apart
by a hash of the field's own name, so that what a field is called depends on no counter.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Collection

from catchment.warehouses.shape import METADATA

MAX_NAME_BYTES = 63
_HASH_CHARACTERS = 8

_WORD_BREAKS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_OTHER = re.compile(r"[^a-z0-9_]+")


def column_name(field: str, taken: Collection[str]) -> str:
    """The column for `field`, given the table's other column names."""
    plain = snake_case(field)
    if plain not in taken and plain not in METADATA and len(plain) <= MAX_NAME_BYTES:
        return plain
    for salt in range(len(taken) + 2):
        digest = hashlib.sha256(f"{salt or ''}{field}".encode("utf-8", "surrogatepass")).hexdigest()
        hashed = f"{plain[: MAX_NAME_BYTES - _HASH_CHARACTERS - 1]}_{digest[:_HASH_CHARACTERS]}"
        if hashed not in taken:
            return hashed
    raise AssertionError("there are more salts than names")


def snake_case(field: str) -> str:
    """ASCII letters, digits and `_`, beginning with a letter or `_`: `userId` and `User ID` → `user_id`."""
    latin = unicodedata.normalize("NFKD", field).encode("ascii", "ignore").decode()
    words = _OTHER.sub("_", _WORD_BREAKS.sub("_", latin).lower())
    stripped = words.strip("_") if not latin.startswith("_") else "_" + words.strip("_")
    if not stripped.strip("_"):
        return "field"
    return f"_{stripped}" if stripped[0].isdigit() else stripped
