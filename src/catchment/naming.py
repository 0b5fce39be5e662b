"""Names of people's things as identifiers of a warehouse: snake_case, ASCII."""

from __future__ import annotations

import hashlib
import re
import unicodedata

MAX_NAME_BYTES = 63
HASH_CHARACTERS = 8

_WORD_BREAKS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_OTHER = re.compile(r"[^a-z0-9_]+")


def snake_case(field: str) -> str:
    """ASCII letters, digits and `_`, beginning with a letter or `_`: `userId` and `User ID` → `user_id`."""
    latin = unicodedata.normalize("NFKD", field).encode("ascii", "ignore").decode()
    words = _OTHER.sub("_", _WORD_BREAKS.sub("_", latin).lower())
    stripped = words.strip("_") if not latin.startswith("_") else "_" + words.strip("_")
    if not stripped.strip("_"):
        return "field"
    return f"_{stripped}" if stripped[0].isdigit() else stripped


def identifier(name: str) -> str:
    """`snake_case` where that keeps every letter and digit and at most 63 bytes; else cut, with a hash of the name, so
    that 東京 and 大阪 stay apart."""
    plain = snake_case(name)
    if len(plain) <= MAX_NAME_BYTES and not _loses_letters(name):
        return plain
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:HASH_CHARACTERS]
    return f"{plain[: MAX_NAME_BYTES - HASH_CHARACTERS - 1]}_{digest}"


def _loses_letters(name: str) -> bool:
    if name.isascii():
        return False
    return any(character.isalnum() and not character.isascii() for character in unicodedata.normalize("NFKD", name))
