"""Secrets that people and programs carry: made of 256 random bits, kept as a hash."""

from __future__ import annotations

import hashlib
import secrets

_BYTES = 32
MAX_CHARACTERS = 200
"""Longer ones are no secrets of ours, and are not even looked up."""


def new_secret(prefix: str = "") -> str:
    """One that nobody can guess, of letters, digits, `-` and `_`."""
    return prefix + secrets.token_urlsafe(_BYTES)


def hashed(secret: str) -> str:
    """What is kept of it. A plain hash will do, since there is nothing to guess from; and it is found by its value,
    of which a timing tells nothing that could be inverted."""
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()
