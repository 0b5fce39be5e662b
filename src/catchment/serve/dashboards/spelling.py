"""What may have been meant, and what is allowed, in an error's words."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches

MAX_LISTED = 12


def nearest(word: str, known: Collection[str]) -> str | None:
    """The nearest spelling among what is known; upper and lower case are no difference."""
    by_lower = {each.lower(): each for each in known}
    found = get_close_matches(word.lower(), by_lower, n=1, cutoff=0.65)
    return by_lower[found[0]] if found else None


def meant(word: str, known: Collection[str], what: str) -> str:
    """`; did you mean X?`, else `; WHAT: all of them` where that is little, else nothing."""
    near = nearest(word, known)
    if near is not None:
        return f"; did you mean {near}?"
    return listed(known, what)


def listed(known: Collection[str], what: str) -> str:
    """`; WHAT: a, b, c` in the order of the alphabet, where these are few."""
    if not known or len(known) > MAX_LISTED:
        return ""
    return f"; {what}: {', '.join(sorted(known))}"


def joined(words: Collection[str]) -> str:
    """`a, b and c`."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last
