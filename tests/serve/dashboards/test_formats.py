from __future__ import annotations

import random
import re
from dataclasses import replace
from decimal import Decimal
from html import unescape
from itertools import product

import pytest
import vl_convert
from hypothesis import given, settings
from hypothesis import strategies as st

from catchment.serve.dashboards.formats import Number, parse_format, shown_value, usual_format, write

SPECIFIERS = [
    "", ",", ".0f", ".1f", ".2f", ",.0f", ",.1f", "+.0f", "+.1f", " .1f", "(.1f", ".0%", ".1%", "+.1%", ".2~%", ".0e",
    ".3e", ".2~e", "e", "f", "g", ".3g", ".3~g", "r", ".2r", ".3~r", ",.4~r", "s", ".2s", ".3s", ".3~s", "$,.2f",
    "$.1s", "(,.2f", "d", ",d", "+,d", "08.1f", "012,.1f", "=+12.1f", "*^12.1f", "_<12,d", ".>9.2s", "p", ".2p",
    ".1~p", "$.1%", "0=9d", "09,d", ".5", ".3~", "12", ",.12~g", "~f", "~s", "010,.2%", "(012,.1f", "+$,.2f",
    ".20f", ".15r",
]  # fmt: skip


def values() -> list[float]:
    """Those that are hard to round, and others of every size."""
    hard = [
        0.0, -0.0, 0.5, 1.5, 2.5, -0.5, -0.3, 0.05, 0.15, 0.25, 0.35, 1.005, 2.675, 0.145, 0.285, 0.575, 0.995, 9.995,
        0.9999, 99.95, 999.95, 999.5, 9999.5, 999999.5, 1e-7, 1.5e-7, 1e-10, 1e-30, 123456789.123456789, 1e15, 1e20,
        9007199254740992.0, 0.1, 0.2, 1 / 3, 54.6, 54.4, 0.48, 0.43, 1234.5, -1234.5, 12, 1200, 1e6, 1.5e6, 999e6,
        4.2e-5,
    ]  # fmt: skip
    chance = random.Random(7)
    return hard + [chance.uniform(-1, 1) * 10 ** chance.randint(-9, 18) for _ in range(60)]


def test_numbers_are_written_as_d3_writes_them() -> None:
    """Vega's own `format`, which is d3-format, over every specifier and value, in one picture."""
    cases = list(product(values(), SPECIFIERS))
    theirs = in_vega(cases)
    ours = [write(value, parse_format(specifier)) for value, specifier in cases]
    differ = [(case, got, want) for case, got, want in zip(cases, ours, theirs, strict=True) if got != want]
    assert differ == []


@settings(deadline=None, max_examples=300)
@given(
    st.floats(allow_nan=False, allow_infinity=False, width=32)
    | st.floats(-1e12, 1e12)
    | st.integers(-(2**70), 2**70)
    | st.integers(-400, 400).map(lambda eighths: eighths / 8),
    st.sampled_from(
        [".0f", ",.1f", "+.2f", " .3f", ".0%", "+,.1%", "d", ",d", "+d", ".20f", "", ",.12~g", ",", "+.10~g", ".3~g"]
    ),
)
def test_the_quick_way_says_what_the_exact_one_says(value: Number, specifier: str) -> None:
    """A width of 1 changes nothing, and goes the exact way."""
    how = parse_format(specifier)
    assert write(value, how) == write(value, replace(how, width=1))


def in_vega(cases: list[tuple[float, str]]) -> list[str]:
    text = "'[' + replace(format(datum.v, datum.f), regexp(' ', 'g'), '_') + ']'"
    svg = vl_convert.vega_to_svg(
        {
            "data": [{"name": "d", "values": [{"v": value, "f": specifier} for value, specifier in cases]}],
            "marks": [{"type": "text", "from": {"data": "d"}, "encode": {"enter": {"text": {"signal": text}}}}],
        }
    )
    texts = [unescape(found) for found in re.findall(r"<text[^>]*>\[([^<]*)\]</text>", svg)]
    assert len(texts) == len(cases)
    # A browser's underscores are our spaces, but for those that fill.
    return [
        text if specifier.startswith("_") else text.replace("_", " ")
        for text, (_, specifier) in zip(texts, cases, strict=True)
    ]


@pytest.mark.parametrize(
    ("value", "specifier", "text"),
    [
        (9007199254740993, ",d", "9,007,199,254,740,993"),
        (9007199254740993, ",.0f", "9,007,199,254,740,993"),
        (-9007199254740993, ",.2f", "−9,007,199,254,740,993.00"),
        (10**30 + 1, "d", "1000000000000000000000000000001"),
        (
            Decimal("12345678901234567890123456789.123456789"),
            ",.9f",
            "12,345,678,901,234,567,890,123,456,789.123456789",
        ),
        (Decimal("0.145"), ".0%", "15%"),
        (Decimal("0.1450"), ".1%", "14.5%"),
        (Decimal("2.5"), ".0f", "3"),
        (Decimal("-0.004"), ".2f", "0.00"),
        (10**18, ".3s", "1.00E"),
    ],
)
def test_what_no_double_holds_is_exact(value: Number, specifier: str, text: str) -> None:
    assert write(value, parse_format(specifier)) == text


@pytest.mark.parametrize(
    ("value", "specifier", "shown"),
    [
        (54.6, ".0f", "55"),
        (0.4849, ".0%", "0.48"),
        (431_249, ".3s", "431000"),
        (-0.4, "+.0f", "0"),
        (1.25, ".1f", "1.3"),
    ],
)
def test_the_number_that_is_read(value: float, specifier: str, shown: str) -> None:
    assert shown_value(value, parse_format(specifier)) == Decimal(shown)


@settings(deadline=None)
@given(
    st.integers() | st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**25), max_value=10**25, places=9)
)
def test_all_digits(value: Number) -> None:
    assert Decimal(write(value, parse_format(".9f")).replace("−", "-")) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (1234, "1,234"), (1234.5, "1,235"), (123.45, "123.5"), (12.0, "12"), (1.005, "1"),
        (0.12345, "0.123"), (-0.5, "−0.5"), (Decimal("3.14159265358979"), "3.14"),
        (9007199254740993, "9,007,199,254,740,993"),
    ],
)  # fmt: skip
def test_a_number_without_a_format_is_read_at_a_glance(value: Number, text: str) -> None:
    assert write(value, usual_format(value)) == text


@pytest.mark.parametrize("specifier", [".x", "%b", ".0fx", "c", "#x", ".99f", "99999d", "b"])
def test_what_is_no_format(specifier: str) -> None:
    with pytest.raises(ValueError):
        parse_format(specifier)
