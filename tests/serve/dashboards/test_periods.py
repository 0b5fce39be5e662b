from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import duckdb
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from catchment.serve.dashboards.clock import UNITS, as_moment, floor, following, in_zone, instant, move
from catchment.serve.dashboards.periods import MAX_BUCKETS, Period, PeriodText, buckets, days_label, parse_period

LOS_ANGELES = ZoneInfo("America/Los_Angeles")
KOLKATA = ZoneInfo("Asia/Kolkata")
NOW = datetime(2026, 11, 25, 12, 40, tzinfo=LOS_ANGELES)


def moment(text: str, zone: ZoneInfo = LOS_ANGELES) -> datetime:
    """`11-25 12:40` of 2026, else with its year in front."""
    return datetime.fromisoformat(text if text[4:5] == "-" else f"2026-{text}").replace(tzinfo=zone)


def seen(text: str, now: datetime = NOW) -> Period:
    return parse_period(text).at(now)


# ---- the table of the format --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "start", "end", "previous_start", "previous_end", "grain"),
    [
        ("last 30 days", "10-27", "11-26", "09-27", "10-26 12:40", "day"),
        ("last 30 full days", "10-26", "11-25", "09-26", "10-26", "day"),
        ("last 12 months", "2025-12-01", "2026-12-01", "2024-12-01", "2025-11-25 12:40", "week"),
        ("this week", "11-23", "11-30", "11-16", "11-18 12:40", "day"),
        ("previous month", "10-01", "11-01", "09-01", "10-01", "day"),
        ("2026-11-01..2026-11-10", "11-01", "11-11", "10-22", "11-01", "day"),
        ("last 24 hours", "11-24 13:00", "11-25 13:00", "11-23 13:00", "11-24 12:40", "hour"),
        # What the table leaves to its words:
        ("today", "11-25", "11-26", "11-24", "11-24 12:40", "hour"),
        ("this day", "11-25", "11-26", "11-24", "11-24 12:40", "hour"),
        ("previous day", "11-24", "11-25", "11-23", "11-24", "hour"),
        ("last 1 day", "11-25", "11-26", "11-24", "11-24 12:40", "hour"),
        ("last 24 full hours", "11-24 12:00", "11-25 12:00", "11-23 12:00", "11-24 12:00", "hour"),
        ("last 49 hours", "11-23 12:00", "11-25 13:00", "11-21 11:00", "11-23 11:40", "day"),
        ("last 2 weeks", "11-16", "11-30", "11-02", "11-11 12:40", "day"),
        ("last 2 full quarters", "04-01", "10-01", "2025-10-01", "2026-04-01", "week"),
        ("this quarter", "10-01", "2027-01-01", "07-01", "08-25 12:40", "day"),
        ("last 2 years", "2025-01-01", "2027-01-01", "2023-01-01", "2024-11-25 12:40", "month"),
        ("2026-11-20..2026-11-30", "11-20", "12-01", "11-09", "11-14 12:40", "day"),
        ("2026-11-25..2026-11-25", "11-25", "11-26", "11-24", "11-24 12:40", "hour"),
    ],
)
def test_periods(text: str, start: str, end: str, previous_start: str, previous_end: str, grain: str) -> None:
    period = seen(text)
    assert (period.start, period.end) == (moment(start), moment(end))
    assert period.previous is not None
    assert (period.previous.start, period.previous.end) == (moment(previous_start), moment(previous_end))
    assert period.grain == grain
    assert getattr(period.start, "tzinfo", None) is LOS_ANGELES


def test_a_month_without_such_a_day_is_compared_as_far_as_its_end() -> None:
    period = seen("this month", moment("03-31 12:40"))
    assert (period.start, period.end) == (moment("03-01"), moment("04-01"))
    assert period.previous is not None
    assert (period.previous.start, period.previous.end) == (moment("02-01"), moment("03-01"))
    leap = seen("this year", datetime(2028, 2, 29, 12, 40, tzinfo=LOS_ANGELES)).previous
    assert leap is not None
    assert leap.end == moment("2027-03-01")


@pytest.mark.parametrize(
    ("text", "before", "now"),
    [
        ("last 30 days", "09-27 10:00", "10-27 10:00"),
        ("this week", "11-16", "11-23"),
        ("previous month", "09-15", "10-15"),
        ("last 12 months", "2024-12-01", "2025-12-01"),
        ("2026-11-01..2026-11-10", "10-22", "11-01"),
        ("last 24 hours", "11-23 13:00", "11-24 13:00"),
    ],
)
def test_a_moment_of_the_period_before_is_as_far_into_this_one(text: str, before: str, now: str) -> None:
    assert seen(text).forward(moment(before)) == moment(now)


def test_all_of_time_and_times_to_come_are_compared_with_nothing() -> None:
    everything = seen("all")
    assert (everything.start, everything.end, everything.previous, everything.grain) == (None, None, None, "month")
    assert everything.buckets() == ()
    assert everything.is_running
    assert seen("2027-01-01..2027-01-31").previous is None
    assert not seen("2027-01-01..2027-01-31").is_running


# ---- how they are written --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "text", "label"),
    [
        ("  Last   30 DAYS ", "last 30 days", "Last 30 days"),
        ("last 1 days", "last 1 day", "Last 1 day"),
        ("last 3 full month", "last 3 full months", "Last 3 full months"),
        ("this week", "this week", "This week"),
        ("today", "today", "Today"),
        ("all", "all", "All time"),
        ("2026-11-01..2026-11-10", "2026-11-01..2026-11-10", "1–10 Nov 2026"),
        ("2026-11-01 .. 2026-11-10", "2026-11-01..2026-11-10", "1–10 Nov 2026"),
    ],
)
def test_a_period_has_one_text(written: str, text: str, label: str) -> None:
    period = parse_period(written)
    assert (period.text, period.label) == (text, label)
    assert parse_period(text) == period


def test_days_as_people_read_them() -> None:
    assert days_label(date(2026, 11, 25), date(2026, 11, 25)) == "25 Nov 2026"
    assert days_label(date(2026, 10, 28), date(2026, 11, 3)) == "28 Oct – 3 Nov 2026"
    assert days_label(date(2026, 12, 30), date(2027, 1, 2)) == "30 Dec 2026 – 2 Jan 2027"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("last 30 dayz", "'last 30 dayz': no unit 'dayz'; did you mean day?"),
        ("last 0 days", "'last 0 days': from 1 to 20,000 days"),
        ("last 101 years", "'last 101 years': from 1 to 100 years"),
        ("this fortnight", "'this fortnight': no unit 'fortnight'; units: hour, day, week, month, quarter, year"),
        ("2026-11-10..2026-11-01", "'2026-11-10..2026-11-01' ends before it begins"),
        ("2026-02-30..2026-03-01", "'2026-02-30..2026-03-01' has a day that no calendar has"),
        ("0001-01-01..9999-12-31", "'0001-01-01..9999-12-31': days from 1900-01-01 to 2199-12-31"),
        (
            "yesterday",
            "'yesterday' is no period, such as last 30 days, this month, previous week, today, "
            "2026-11-01..2026-11-10 or all",
        ),
    ],
)
def test_what_is_no_period(text: str, message: str) -> None:
    with pytest.raises(ValueError) as error:
        parse_period(text)
    assert str(error.value) == message


# ---- days of 23 and 25 hours ------------------------------------------------------------------------------


def test_hours_of_short_and_long_days() -> None:
    long_day = seen("2026-11-01..2026-11-01").buckets("hour")
    assert len(long_day) == 25
    assert [bucket.start.hour for bucket in long_day[:4]] == [0, 1, 1, 2]
    assert len(seen("2026-03-08..2026-03-08").buckets("hour")) == 23
    in_kolkata = parse_period("2026-11-01..2026-11-01").at(datetime(2026, 11, 25, 12, 40, tzinfo=KOLKATA))
    assert len(in_kolkata.buckets("hour")) == 24
    assert in_kolkata.start is not None
    assert instant(in_kolkata.start) == datetime(2026, 10, 31, 18, 30, tzinfo=UTC)


def test_the_clocks_hand_is_moved_rather_than_elapsed_seconds() -> None:
    period = seen("last 24 hours", moment("11-01 12:40"))
    assert period.start == moment("10-31 13:00")
    assert period.previous is not None
    assert period.previous.end == moment("10-31 12:40")
    assert len(period.buckets()) == 25
    week = seen("this week", moment("11-02 12:40")).previous
    assert week is not None
    assert week.end == moment("10-26 12:40")
    assert instant(moment("11-02 12:40")) - instant(week.end) == timedelta(days=7, hours=1)


def test_the_hour_that_comes_twice_is_two_hours() -> None:
    first = datetime(2026, 11, 1, 1, 40, tzinfo=LOS_ANGELES)
    second = first.replace(fold=1)
    for now, start in ((first, 8), (second, 9)):
        period = seen("last 1 hour", now)
        assert period.start is not None
        assert period.end is not None
        assert instant(period.start).hour == start
        assert instant(period.end) - instant(period.start) == timedelta(hours=1)
        [bucket] = period.buckets()
        assert bucket.is_running


def test_a_time_that_the_clock_skips_is_the_moment_of_the_skip() -> None:
    skipped = in_zone(datetime(2026, 3, 8, 2, 30), LOS_ANGELES)
    assert (skipped.hour, skipped.minute) == (3, 0)
    assert instant(skipped) == datetime(2026, 3, 8, 10, 0, tzinfo=UTC)
    # In Beirut the day itself begins an hour late, and the next one does not.
    beirut = ZoneInfo("Asia/Beirut")
    day = floor(datetime(2026, 3, 29, 12, tzinfo=beirut), "day")
    assert (day.day, day.hour) == (29, 1)
    assert following(day, "day") == datetime(2026, 3, 30, tzinfo=beirut)
    assert move(datetime(2026, 3, 28, 0, 30, tzinfo=beirut), 1, "day") == day


# ---- grain and buckets --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("days", "grain"), [(1, "hour"), (2, "hour"), (3, "day"), (92, "day"), (93, "week"), (400, "week"), (401, "month")]
)
def test_grain(days: int, grain: str) -> None:
    text = f"{date(2026, 1, 1)}..{date(2026, 1, 1) + timedelta(days=days - 1)}"
    assert seen(text).grain == grain


def test_a_viewer_may_choose_another_grain_but_none_that_is_too_fine() -> None:
    year = parse_period("last 12 months")
    assert year.at(NOW, "day").grain == "day"
    assert year.at(NOW).grains == ("day", "week", "month", "quarter", "year")
    with pytest.raises(ValueError, match="'hour' is too fine for last 12 months; grains: day, week, month"):
        year.at(NOW, "hour")
    assert seen("today").grains == ("hour", "day")


def test_buckets_at_the_edges_are_marked() -> None:
    weeks = seen("2026-11-04..2026-11-30").buckets("week")
    assert [bucket.start.day for bucket in weeks] == [2, 9, 16, 23, 30]
    assert [bucket.is_cut for bucket in weeks] == [True, False, False, False, True]
    assert [bucket.is_running for bucket in weeks] == [False, False, False, True, False]
    assert [bucket.is_future for bucket in weeks] == [False, False, False, False, True]


def test_times_of_the_warehouse_are_read_in_the_zone() -> None:
    assert as_moment(date(2026, 11, 25), LOS_ANGELES) == moment("11-25")
    assert as_moment(datetime(2026, 11, 25, 3), LOS_ANGELES) == moment("11-25 03:00")
    assert as_moment(datetime(2026, 11, 25, 11, tzinfo=UTC), LOS_ANGELES) == moment("11-25 03:00")


# ---- any zone, any moment --------------------------------------------------------------------------------------

ZONES = st.sampled_from(
    [
        ZoneInfo(name)
        for name in (
            "UTC", "America/Los_Angeles", "Asia/Kolkata", "Asia/Kathmandu", "Europe/Berlin", "Asia/Beirut",
            "America/Santiago", "America/Havana", "Australia/Lord_Howe", "Pacific/Apia", "Africa/Casablanca",
            "America/Sao_Paulo", "Pacific/Chatham", "America/St_Johns",
        )
    ]
)  # fmt: skip
MOMENTS = st.datetimes(datetime(2005, 1, 1), datetime(2030, 12, 31), timezones=st.just(UTC))
TEXTS = (
    st.builds(
        lambda count, full, unit: f"last {count} {full}{unit}s",
        st.integers(1, 40), st.sampled_from(["", "full "]), st.sampled_from(UNITS),
    )
    | st.builds(lambda which, unit: f"{which} {unit}", st.sampled_from(["this", "previous"]), st.sampled_from(UNITS))
    | st.builds(
        lambda first, days: f"{first}..{first + timedelta(days=days)}",
        st.dates(date(2005, 1, 1), date(2030, 12, 31)), st.integers(0, 500),
    )
)  # fmt: skip


@settings(deadline=None)
@given(TEXTS, MOMENTS, ZONES)
@example("last 1 hours", datetime(2011, 12, 30, 9, 59, tzinfo=UTC), ZoneInfo("Pacific/Apia"))
@example("last 2 days", datetime(2011, 12, 30, 11, 0, tzinfo=UTC), ZoneInfo("Pacific/Apia"))
@example("this hour", datetime(2026, 4, 4, 15, 15, tzinfo=UTC), ZoneInfo("Australia/Lord_Howe"))
def test_any_period(text: str, now: datetime, zone: ZoneInfo) -> None:
    written = parse_period(text)
    assert parse_period(written.text) == written
    local = now.astimezone(zone)
    period = written.at(local)
    assert period.start is not None
    assert period.end is not None
    start, end = instant(period.start), instant(period.end)
    assert start < end
    minute = instant(local.replace(second=0, microsecond=0))
    if written.form == "this" or (written.form == "last" and not written.full):
        assert start <= minute < end
        assert period.is_running
    if written.full or written.form == "previous":
        assert end <= minute
    if period.previous is not None:
        assert instant(period.previous.start) <= instant(period.previous.end) <= start
        if not period.is_running:
            assert instant(period.previous.end) == start
    steps = period.buckets()
    assert 0 < len(steps) <= MAX_BUCKETS
    assert instant(steps[0].start) <= start < instant(steps[0].end)
    assert instant(steps[-1].start) < end <= instant(steps[-1].end)
    assert all(instant(one.end) == instant(next_one.start) for one, next_one in pairwise(steps))
    assert all(instant(one.start) < instant(one.end) for one in steps)
    assert period.is_running <= sum(step.is_running for step in steps) <= 1


@settings(deadline=None)
@given(MOMENTS, ZONES, st.sampled_from(UNITS))
def test_any_moment_lies_within_its_unit(now: datetime, zone: ZoneInfo, unit: str) -> None:
    local = now.astimezone(zone)
    begun = floor(local, unit)  # type: ignore[arg-type]
    assert instant(begun) <= instant(local) < instant(following(begun, unit))  # type: ignore[arg-type]
    assert instant(floor(begun, unit)) == instant(begun)  # type: ignore[arg-type]


@settings(deadline=None)
@given(st.integers(1, 60), MOMENTS)
def test_so_many_days_are_so_many_buckets(count: int, now: datetime) -> None:
    for zone in (LOS_ANGELES, KOLKATA, ZoneInfo("Asia/Beirut")):
        period = parse_period(f"last {count} days").at(now.astimezone(zone))
        assert len(period.buckets("day")) == count


@pytest.mark.parametrize("name", ["America/Los_Angeles", "Asia/Kolkata", "Asia/Beirut"])
def test_buckets_are_those_of_date_trunc(name: str) -> None:
    """Every half hour of eight months, with both changes of the clock among them, in DuckDB."""
    zone = ZoneInfo(name)
    start, end = (in_zone(datetime.combine(date(2026, *day), time()), zone) for day in ((2, 25), (11, 5)))
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute(f"set timezone = '{name}'")
        connection.execute("create table times as from generate_series($1, $2, interval 30 minute) s(t)", [start, end])
        for grain in UNITS:
            rows = connection.execute(
                "select distinct epoch(date_trunc($1, t)) from times where t < $2 order by 1", [grain, end]
            ).fetchall()
            ours = [bucket.start for bucket in buckets(start, end, grain, end)]
            if grain == "hour":
                # DuckDB's date_trunc takes both hours that the clock shows twice for the second of them.
                ours = [hour for hour in ours if instant(hour.replace(fold=1)) == instant(hour)]
            assert [instant(each).timestamp() for each in ours] == [seconds for (seconds,) in rows], grain


@settings(deadline=None)
@given(
    st.builds(PeriodText, st.just("last"), st.sampled_from(UNITS), st.integers(1, 100), st.booleans()), MOMENTS, ZONES
)
def test_the_period_before_is_as_long_by_the_calendar(written: PeriodText, now: datetime, zone: ZoneInfo) -> None:
    period = written.at(now.astimezone(zone))
    assert period.start is not None
    assert period.previous is not None
    # Where the clock skips the very hour of a beginning, its hand cannot stand where it would.
    assume(period.previous.start.minute == 0 and floor(period.start, "day") == period.start)
    assume(period.previous.start.hour == 0)
    assert move(period.previous.start, written.count, written.unit) == period.start
