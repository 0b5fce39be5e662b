"""What charts lay out: grid lines, labels, buckets, stacks."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catchment.serve.charts import bars, frame, heat, lines, ticks
from catchment.serve.charts.series import Buckets, Columns, Series, filled, series_of, wall_ms
from catchment.serve.results import Column, Result
from catchment.serve.tiles.palette import Palette

FINITE = st.floats(-1e12, 1e12)
DAY_MS = 86_400_000


@given(FINITE, FINITE, st.booleans())
def test_four_grid_lines_span_what_they_are_for_in_round_steps(one: float, other: float, from_zero: bool) -> None:
    low, high = min(one, other), max(one, other)
    found = ticks.four(low, high, from_zero=from_zero)
    assert len(found) == 4
    step = found[1] - found[0]
    assert found[0] <= low + step * 1e-6
    assert found[3] >= high - step * 1e-6
    assert all(math.isclose(b - a, step, rel_tol=1e-6) for a, b in pairwise(found))
    if from_zero and low >= 0:
        assert found[0] == 0


def test_grid_lines_are_as_one_would_draw_them() -> None:
    assert ticks.four(0, 14, from_zero=True) == [0, 5, 10, 15]
    assert ticks.four(45.2, 57) == [45, 50, 55, 60]
    assert ticks.four(0.1, 0.3) == [0.08, 0.16, 0.24, 0.32]


@given(st.datetimes(datetime(2000, 1, 1), datetime(2040, 1, 1)), st.integers(1, 4000), st.integers(2, 14))
def test_labels_of_time_stand_on_whole_units_within_the_axis(start: datetime, days: int, most: int) -> None:
    low = round(start.replace(tzinfo=UTC).timestamp() * 1000)
    high = low + days * DAY_MS
    found = ticks.times(low, high, most)
    assert all(low <= at <= high for at in found)
    assert found == sorted(set(found))
    for at in found:
        moment = datetime.fromtimestamp(at / 1000, UTC)
        assert (moment.minute, moment.second) == (0, 0)
        if days > 100:
            assert (moment.day, moment.hour) == (1, 0)
        elif days > max(most, 10):
            assert moment.weekday() == 0


def test_names_at_the_ends_of_lines_are_pushed_apart_and_stay_inside() -> None:
    assert frame.spread([10, 12, 13], 16, 190) == [10, 26, 42]
    assert frame.spread([180, 185, 189], 16, 190) == [158, 174, 190]


@given(st.lists(st.floats(0, 190), min_size=1, max_size=8))
def test_pushed_apart_they_are_far_enough_where_there_is_room(places: list[float]) -> None:
    found = frame.spread(sorted(places), 16, 190)
    assert all(b - a >= 16 - 1e-9 for a, b in pairwise(found))
    assert found[-1] <= 190 + 1e-9


def test_a_time_is_drawn_by_the_wall_clock_of_the_zone() -> None:
    kolkata, angeles = ZoneInfo("Asia/Kolkata"), ZoneInfo("America/Los_Angeles")
    moment = datetime(2026, 11, 1, 8, 30, tzinfo=UTC)
    assert wall_ms(moment, kolkata) == round(datetime(2026, 11, 1, 14, 0, tzinfo=UTC).timestamp() * 1000)
    # Both hours of the night when clocks go back stand at the same place of the wall clock.
    assert wall_ms(datetime(2026, 11, 1, 8, 30, tzinfo=UTC), angeles) == wall_ms(
        datetime(2026, 11, 1, 9, 30, tzinfo=UTC), angeles
    )
    assert wall_ms(date(2026, 11, 1), kolkata) == round(datetime(2026, 11, 1, tzinfo=UTC).timestamp() * 1000)


def test_rows_become_a_series_for_each_value_of_the_colour() -> None:
    result = Result(
        (Column("day", "date"), Column("queue", "text"), Column("n", "number")),
        ((date(2026, 1, 1), "b", 1), (date(2026, 1, 1), "a", Decimal(2)), (date(2026, 1, 2), "b", None)),
    )
    found = series_of(result, Columns(0, (2,), 1), str, Palette().color, order=("a",))
    assert [(series.name, series.color) for series in found] == [("a", "s3"), ("b", "s2")]
    assert found[1].points == (("2026-01-01", 1.0), ("2026-01-02", None))


def test_missing_buckets_are_gaps_or_noughts() -> None:
    series = Series("n", "s1", ((2, 5.0),))
    assert filled(series, (1, 2, 3), None).points == ((1, None), (2, 5.0), (3, None))
    assert filled(series, (1, 2, 3), 0.0).points == ((1, 0.0), (2, 5.0), (3, 0.0))


@given(st.lists(st.lists(st.one_of(st.none(), st.floats(0, 1e6)), min_size=3, max_size=3), min_size=1, max_size=5))
def test_shares_of_a_whole_reach_one_or_nothing(heights: list[list[float | None]]) -> None:
    series = [Series(str(at), "s1", tuple(enumerate(ys))) for at, ys in enumerate(heights)]
    stacked = lines.stack(series, share=True)
    for at in range(3):
        top = stacked[-1][at][2]
        whole = sum(ys[at] or 0 for ys in heights)
        assert math.isclose(top, 1.0 if whole else 0.0, rel_tol=1e-9)


def a_week(running: bool) -> Buckets:
    start = round(datetime(2026, 11, 23, tzinfo=UTC).timestamp() * 1000)
    starts = tuple(start + day * DAY_MS for day in range(7))
    return Buckets(starts[0], starts[-1], starts, starts[-1] if running else None)


def test_the_running_bucket_of_a_line_is_dashed_and_hollow() -> None:
    buckets = a_week(running=True)
    series = Series("n", "s1", tuple((at, float(n)) for n, at in enumerate(buckets.starts_ms)))
    spec = lines.line_spec(lines.Lines((series,), buckets, str, str))
    assert [len(data["values"]) for data in spec["data"]] == [6, 2]
    assert spec["marks"][1]["encode"]["update"]["strokeDash"]
    whole = lines.line_spec(lines.Lines((series,), a_week(running=False), str, str))
    assert [len(data["values"]) for data in whole["data"]] == [7]


def test_the_running_bucket_of_bars_is_pale() -> None:
    buckets = a_week(running=True)
    series = Series("n", "s1", tuple((at, 1.0) for at in buckets.starts_ms))
    spec = bars.standing_spec(bars.Bars((series,), str, str, buckets))
    assert str(buckets.running_ms) in json.dumps(spec["marks"][0]["encode"]["update"]["fillOpacity"])


def test_of_many_lying_bars_the_first_are_shown() -> None:
    series = Series("n", "s1", tuple((f"name {at}", float(at)) for at in range(40)))
    spec = bars.lying_spec(bars.Bars((series,), str, str))
    assert len(spec["data"][0]["values"]) == bars.MOST_LYING


def test_a_heat_map_has_six_steps_and_blanks() -> None:
    values = {(str(x), "row"): None if x == 3 else float(x) for x in range(12)}
    spec = heat.heat_spec(heat.Heat(tuple(map(str, range(12))), ("row",), values, str, str))
    steps = {cell["x"]: cell["k"] for cell in spec["data"][0]["values"]}
    assert "3" not in steps
    assert set(steps.values()) == set(range(6))


@pytest.mark.parametrize("text", ["it's", "a \\ b", "</script>", "'] + alert(1) + ['"])
def test_no_text_breaks_out_of_an_expression(text: str) -> None:
    # Run as Vega would: the texts of the axis are one expression, and must come out as they went in.
    import vl_convert

    scale, axis, left = frame.y_axis([0, 1, 2, 3], [text, "b", "c", "d"])
    spec = frame.chart(left=left, right=6, data=[], scales=[scale], axes=[axis], marks=[])
    shown = vl_convert.vega_to_scenegraph(inks(spec))
    assert text in texts(shown)


def inks(spec: frame.Spec) -> frame.Spec:
    """With plain colours in place of the page's tokens."""
    return json.loads(json.dumps(spec).replace("@", "#"))  # type: ignore[no-any-return]


def texts(node: object) -> set[str]:
    """Every text that is drawn."""
    if isinstance(node, dict):
        own = {str(node["text"])} if "text" in node else set()
        return own.union(*(texts(each) for each in node.values()))
    if isinstance(node, list):
        return set().union(*map(texts, node))
    return set()


def test_a_value_keeps_its_colour_whatever_else_is_there() -> None:
    kept: dict[tuple[str, str], int] = {}
    palette = Palette(remember=lambda column, value, color: kept.__setitem__((column, value), color))
    first = [palette.color("queue", name) for name in ("Cards", "Other", "Goals")]
    assert first == ["s2", "s3", "s4"]
    again = Palette(kept)
    assert again.color("Queue", "Goals") == "s4"
    assert again.color("queue", "Cards") == "s2"
    many = [palette.color("x", str(at)) for at in range(9)]
    assert len(set(many[:7])) == 7
