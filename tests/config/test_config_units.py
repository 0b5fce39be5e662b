from __future__ import annotations

import re
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catchment.config.units import (
    DURATION_PATTERN,
    SIZE_PATTERN,
    duration_text,
    parse_duration,
    parse_size,
    size_text,
)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("64 MB", 64_000_000),
        ("64MiB", 64 * 2**20),
        ("1.5 GB", 1_500_000_000),
        ("0 B", 0),
        (" 2 kB ", 2000),
        ("1TiB", 2**40),
    ],
)
def test_sizes(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes
    assert re.match(SIZE_PATTERN, text)


@pytest.mark.parametrize("text", ["", "64", "64 mb", "MB", "-1 MB", "1,5 MB", "64 MB/s", "1e3 MB", "64 days"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(ValueError, match="must be a size"):
        parse_size(text)
    assert not re.match(SIZE_PATTERN, text)


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("7 days", timedelta(days=7)),
        ("1 day", timedelta(days=1)),
        ("90s", timedelta(seconds=90)),
        ("1.5 hours", timedelta(minutes=90)),
        ("250 ms", timedelta(milliseconds=250)),
        ("2 weeks", timedelta(days=14)),
        ("5 min", timedelta(minutes=5)),
    ],
)
def test_durations(text: str, duration: timedelta) -> None:
    assert parse_duration(text) == duration
    assert re.match(DURATION_PATTERN, text)


@pytest.mark.parametrize("text", ["", "7", "days", "-1 day", "7 fortnights", "7 MB", "1 month"])
def test_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match="must be a duration"):
        parse_duration(text)
    assert not re.match(DURATION_PATTERN, text)


def test_a_duration_beyond_any() -> None:
    with pytest.raises(ValueError, match="longer than any"):
        parse_duration("99999999999999 days")


@given(st.integers(0, 2**50))
def test_a_size_written_is_read_back(size_bytes: int) -> None:
    assert parse_size(size_text(size_bytes)) == size_bytes


@given(st.integers(0, 10**12))
def test_a_duration_written_is_read_back(milliseconds: int) -> None:
    duration = timedelta(milliseconds=milliseconds)
    assert abs(parse_duration(duration_text(duration)) - duration) < timedelta(milliseconds=1)


@pytest.mark.parametrize(
    ("duration", "text"),
    [(timedelta(days=7), "7 days"), (timedelta(hours=1), "1 hour"), (timedelta(minutes=90), "90 minutes")],
)
def test_durations_are_written_as_people_do(duration: timedelta, text: str) -> None:
    assert duration_text(duration) == text
