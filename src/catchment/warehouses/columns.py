"""Field names → column names: snake_case, at most 63 bytes, one column a field, the same wherever it is asked.

A name that is taken (by another field, by our metadata, by what PostgreSQL has in every table) is told apart
by a hash of the field's own name, so that what a field is called depends on no counter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection

from catchment.naming import HASH_CHARACTERS, MAX_NAME_BYTES, snake_case
from catchment.warehouses.shape import RESERVED


def column_name(field: str, taken: Collection[str]) -> str:
    """The column for `field`, given the table's other column names."""
    plain = snake_case(field)
    if plain not in taken and plain not in RESERVED and len(plain) <= MAX_NAME_BYTES:
        return plain
    for salt in range(len(taken) + 2):
        digest = hashlib.sha256(f"{salt or ''}{field}".encode("utf-8", "surrogatepass")).hexdigest()
        hashed = f"{plain[: MAX_NAME_BYTES - HASH_CHARACTERS - 1]}_{digest[:HASH_CHARACTERS]}"
        if hashed not in taken:
            return hashed
    raise AssertionError("there are more salts than names")
