"""What a column takes of a JSON value, and what it leaves to `_rescued`."""

from __future__ import annotations

import pytest

from catchment.load.values import Unfit, fitting


@pytest.mark.parametrize(
    "text", [b'{"a":"2026-01-01T00:00:00Z"}', b'["2026-01-01T00:00:00Z"]', b"1234567890123456789012345"]
)
def test_a_column_of_times_takes_text_alone(text: bytes) -> None:
    """Of such a length that it might be a time."""
    with pytest.raises(Unfit):
        fitting(text, "timestamptz")
