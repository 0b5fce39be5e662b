"""Passwords, kept by argon2id."""

from __future__ import annotations

import unicodedata
from functools import cached_property
from typing import TYPE_CHECKING

from catchment.errors import UsageError

if TYPE_CHECKING:
    from argon2 import PasswordHasher

MIN_CHARACTERS = 12
MAX_CHARACTERS = 200
_DIFFERENT_CHARACTERS = 5

_MEMORY_KIB, _PASSES = 19_456, 2
"""OWASP's least, some 30 ms. More memory would be the server's own to lose, since anybody may have it hash."""


class WeakPassword(UsageError):
    """A password that will not do."""


class Passwords:
    """Hashes and checks passwords. Each call takes tens of milliseconds, so none belongs on an event loop."""

    def __init__(self, memory_kib: int = _MEMORY_KIB, passes: int = _PASSES) -> None:
        self._memory_kib = memory_kib
        self._passes = passes

    @cached_property
    def _hasher(self) -> PasswordHasher:
        from argon2 import PasswordHasher

        return PasswordHasher(time_cost=self._passes, memory_cost=self._memory_kib, parallelism=1)

    @cached_property
    def _nobodys(self) -> str:
        """A hash that no password fits, since none is as long."""
        return self._hasher.hash("x" * (MAX_CHARACTERS + 1))

    def warm_up(self) -> None:
        """Do beforehand what would make the first answer, of an unknown user say, slower than others."""
        self._nobodys  # noqa: B018 - computes it

    def hash(self, password: str) -> str:
        """What is kept of it."""
        return self._hasher.hash(_normal(password))

    def fits(self, password: str, password_hash: str | None) -> bool:
        """Whether it is the one; as slow where there is none, so that nobody hears who has one."""
        from argon2.exceptions import InvalidHashError, VerificationError

        if len(password) > MAX_CHARACTERS:
            password, password_hash = "", None
        try:
            found = self._hasher.verify(password_hash or self._nobodys, _normal(password))
        except (VerificationError, InvalidHashError):
            return False
        return found and password_hash is not None

    def is_outdated(self, password_hash: str) -> bool:
        """Whether it was made with other parameters than are used today."""
        return self._hasher.check_needs_rehash(password_hash)


def check_password(password: str, email: str) -> None:
    """Raise `WeakPassword` for what others would guess: length counts, not signs and digits (NIST SP 800-63B)."""
    if len(password) < MIN_CHARACTERS:
        raise WeakPassword(f"the password has fewer than {MIN_CHARACTERS} characters", "a few words, say")
    if len(password) > MAX_CHARACTERS:
        raise WeakPassword(f"the password has more than {MAX_CHARACTERS} characters", "a shorter one")
    plain = password.lower()
    if len(set(plain)) < _DIFFERENT_CHARACTERS or (email and email.partition("@")[0] in plain and len(plain) < 20):
        raise WeakPassword("the password is easily guessed", "a few words that have nothing to do with each other")


def _normal(password: str) -> str:
    """One form for what keyboards write in several."""
    return unicodedata.normalize("NFKC", password.encode(errors="replace").decode())
