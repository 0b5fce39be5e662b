from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catchment.serve.dashboards.formats import parse_format, write
from catchment.serve.dashboards.numbers import Judged, began_late, judge
from catchment.serve.dashboards.periods import Span
from tests.serve.dashboards.boards import fence


def judged(words: str, value: Any, previous: Any = None) -> Judged:
    return judge(value, previous, fence(f'number "A" {words}').options)


@pytest.mark.parametrize(
    ("words", "value", "previous", "text", "signed", "before", "is_good"),
    [
        # The pictures', and the format's examples.
        ("format=.0%", 0.48, 0.43, "48%", "+5 pts", "from 43%", None),
        ("format=.3s good=up", 431_249, 312_020, "431k", "+38%", "from 312k", True),
        ("format=+.0f target=55", 56.8, 48.9, "+57", "+8", "from +49", True),
        ("format=.0f unit=s target=<90", 95.2, 128.1, "95", "−26%", "from 128 s", True),
        ("format=.1f unit=bp good=down", 4.12, 6.6, "4.1", "−2.5 bp", "from 6.6", True),
        ("format=.0% good=up", 0.43, 0.48, "43%", "−5 pts", "from 48%", False),
        ("format=.1%", 0.481, 0.471, "48.1%", "+1 pt", "from 47.1%", None),
        # As displayed: 48.4 and 47.6 are both shown as 48.
        ("format=.0f good=up", 48.4, 47.6, "48", "no change", "from 48", None),
        ("", 1001, 1000, "1,001", "+0.1%", "from 1,000", None),
        ("", 100001, 100000, "100,001", "+under 0.1%", "from 100,000", None),
        ("good=down", 30, 10, "30", "+200%", "from 10", False),
        ("", Decimal("9007199254740993"), 9007199254740992, "9,007,199,254,740,993", "+under 0.1%",
         "from 9,007,199,254,740,992", None),
        ("", -5, 10, "−5", "−15", "from 10", None),
    ],
)  # fmt: skip
def test_change(
    words: str, value: Any, previous: Any, text: str, signed: str, before: str, is_good: bool | None
) -> None:
    found = judged(words, value, previous)
    assert (found.text, found.before) == (text, before)
    assert found.change is not None
    assert (found.change.signed, found.change.is_good) == (signed, is_good)


@pytest.mark.parametrize(
    ("words", "value", "previous", "before"),
    [
        ("", 5, 0, "from 0"),
        ("format=.0f", 5, 0.3, "from 0"),
        ("format=.0%", 0.5, 0.001, "from 0"),
        ("", 5, None, ""),
        ("", 5, float("nan"), ""),
        ("compare=off", 5, 4, ""),
    ],
)
def test_no_change_where_there_is_nothing_to_compare_with(words: str, value: Any, previous: Any, before: str) -> None:
    found = judged(words, value, previous)
    assert found.change is None
    assert found.before == before
    assert judge(5, 4, fence("number").options, has_previous=False).before == ""


@pytest.mark.parametrize(
    ("words", "value", "is_reached", "target", "said"),
    [
        ("target=55 format=.0f", 54.6, True, "55", "at least 55"),
        ("target=55 format=.1f", 54.6, False, "55", "at least 55"),
        ("target=55 format=.0f good=down", 55.4, True, "55", "at most 55"),
        ("target=<20", 20, False, "20", "under 20"),
        ("target=<20", 19, True, "20", "under 20"),
        ("target=<=20 unit=min", 20, True, "20 min", "at most 20 min"),
        ("target=>0.5 format=.0%", 0.504, False, "50%", "over 50%"),
        ("target=50% format=.0%", 0.496, True, "50%", "at least 50%"),
        ("target=450000 format=.3s", 449_600, True, "450k", "at least 450k"),
        ("target=55.4 format=.0f", 55.2, False, "55.4", "at least 55.4"),
        ("target=5 format=.1f unit=bp good=down", 4.12, True, "5 bp", "at most 5 bp"),
        ("target=55 format=+.0f", 57, True, "55", "at least 55"),
        ("target=1500", 1500, True, "1,500", "at least 1,500"),
    ],
)
def test_target(words: str, value: Any, is_reached: bool, target: str, said: str) -> None:
    found = judged(words, value).target
    assert found is not None
    assert (found.is_reached, found.text, found.words) == (is_reached, target, said)


def test_what_is_no_number_is_shown_and_judged_by_nothing() -> None:
    assert judged("target=5 unit=s", None) == Judged("–", "", None)
    assert judged("unit=s", float("inf")) == Judged("–", "", None)
    assert judged("", "Cards", "Other") == Judged("Cards", "", None)
    assert judged("", date(2026, 11, 25)).text == "2026-11-25"
    assert judged("unit=s", True) == Judged("true", "", None)


def test_meter() -> None:
    meter = judged("target=<60 unit=min", 78).meter
    assert meter is not None
    assert (meter.filled, round(meter.tick, 3)) == (0.8, 0.615)
    share = judged("target=50% format=.0%", 0.48).meter
    assert share is not None
    assert (share.filled, share.tick) == (0.48, 0.5)
    assert judged("target=10", -3).meter is None
    assert judged("", 5).meter is None


ZONE = ZoneInfo("America/Los_Angeles")


def test_a_period_whose_first_tenth_has_no_rows_is_not_compared_with() -> None:
    """Data that began in the middle of it gave +565 %."""
    previous = Span(datetime(2026, 10, 1, tzinfo=ZONE), datetime(2026, 10, 31, tzinfo=ZONE))
    assert began_late(previous, None)
    assert not began_late(previous, datetime(2026, 10, 1, tzinfo=ZONE))
    assert not began_late(previous, datetime(2026, 10, 3, 23, 59, tzinfo=ZONE))
    assert began_late(previous, datetime(2026, 10, 4, tzinfo=ZONE))


@settings(deadline=None)
@given(
    st.floats(-1e9, 1e9),
    st.floats(-1e9, 1e9),
    st.sampled_from([".0f", ".2f", ".1%", ".3s", "+.1f", ",d", ".2r", ".3e"]),
    st.sampled_from(["target=<{}", "target={}", "target={} good=down", "target=>={} good=up"]),
)
def test_two_numbers_that_look_alike_are_judged_alike(value: float, other: float, how: str, target: str) -> None:
    words = f"format={how} {target.format(round(other, 2))}"
    one = judged(words, value, other)
    assert one.shown is not None
    as_read = judged(words, one.shown, other)
    if one.shown:  # a zero that is read has no sign
        assert write(one.shown, parse_format(how)) == one.text
    assert as_read.target is not None
    assert one.target is not None
    assert as_read.target.is_reached == one.target.is_reached
    assert as_read.change == one.change
