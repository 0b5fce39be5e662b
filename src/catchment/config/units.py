"""Sizes such as "64 MB" and durations such as "7 days": read, and written."""

from __future__ import annotations

import re
from datetime import timedelta

SIZE_PATTERN = r"^\s*\d+(\.\d+)?\s*([kKMGT]i?)?B\s*$"
DURATION_PATTERN = (
    r"^\s*\d+(\.\d+)?\s*(ms|s|m|h|d|seconds?|sec|minutes?|min|hours?|days?|weeks?|years?|milliseconds?)\s*$"
)

_SIZES: dict[str, int] = {
    "B": 1,
    **{prefix + "B": 1000**power for power, prefix in enumerate("kMGT", 1)},
    **{prefix + "iB": 1024**power for power, prefix in enumerate("KMGT", 1)},
    "KB": 1000,
}
_DURATIONS_S = {"ms": 0.001, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_DURATION_WORDS_S = {
    "millisecond": 0.001, "second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800,
    "year": 31_536_000,
}  # fmt: skip
_QUANTITY = re.compile(r"\s*(?P<number>\d+(?:_\d+)*(?:\.\d+)?)\s*(?P<unit>[A-Za-z]*)\s*\Z")


def parse_size(text: str) -> int:
    """Bytes in a text such as "64 MB" (a million each) or "64 MiB" (1024 × 1024). Raises ValueError."""
    match = _QUANTITY.match(text)
    unit = _SIZES.get(match["unit"]) if match else None
    if match is None or unit is None:
        raise ValueError('must be a size with its unit, such as "64 MB" or "64 MiB"')
    return round(float(match["number"]) * unit)


def parse_duration(text: str) -> timedelta:
    """The time in a text such as "7 days", "90 s" or "1.5 hours". Raises ValueError."""
    match = _QUANTITY.match(text)
    unit = match["unit"] if match else ""
    scale = _DURATIONS_S.get(unit) or _DURATION_WORDS_S.get(unit.removesuffix("s"))
    if match is None or scale is None:
        raise ValueError('must be a duration with its unit, such as "7 days", "90 s" or "1 hour"')
    try:
        return timedelta(seconds=float(match["number"]) * scale)
    except OverflowError:
        raise ValueError("is longer than any duration can be") from None


def size_text(size_bytes: int) -> str:
    """The size in the largest unit of which it is a whole number; `parse_size` reads it back."""
    for unit, factor in sorted(_SIZES.items(), key=lambda item: (-item[1], item[0])):
        if size_bytes and size_bytes % factor == 0 and unit != "KB":
            return f"{size_bytes // factor} {unit}"
    return "0 B"


def duration_text(duration: timedelta) -> str:
    """The duration in the largest unit of which it is a whole number; `parse_duration` reads it back."""
    total_ms = round(duration / timedelta(milliseconds=1))
    for word, scale_s in sorted(_DURATION_WORDS_S.items(), key=lambda item: -item[1]):
        count, rest = divmod(total_ms, round(scale_s * 1000))
        if count and not rest and word not in {"week", "year"}:
            return f"{count} {word}" if count == 1 else f"{count} {word}s"
    return "0 seconds"
