"""The made-up company: that its history is what it claims to be, and that the questions get the right answers."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import chain, islice, pairwise, takewhile
from pathlib import Path
from statistics import mean
from typing import Any

import duckdb
import msgspec
import pytest

from catchment.demo.company import Call, history, live, questions
from catchment.demo.company.calls import stamp
from catchment.demo.company.live import following, queue
from catchment.demo.company.story import Story
from tests.demo.conftest import NOW
from tests.demo.segment_tables import load

START = datetime(2026, 5, 28, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def calls(half_year: list[Call]) -> list[Call]:
    return half_year


@pytest.fixture(scope="module")
def asked() -> list[Call]:
    """Two months, about which the questions are asked."""
    return list(history(2, NOW, 60))


@pytest.fixture(scope="module")
def tables(asked: list[Call], tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    with load(asked, tmp_path_factory.mktemp("tables")) as connection:
        yield connection


def events(calls: list[Call], event: str) -> list[Call]:
    return [call for call in calls if call.body.get("event") == event]


def kinds(calls: list[Call], kind: str) -> list[Call]:
    return [call for call in calls if call.body["type"] == kind]


def properties(call: Call) -> dict[str, Any]:
    found: dict[str, Any] = call.body["properties"]
    return found


def by_chat(calls: list[Call], event: str) -> dict[str, Call]:
    return {properties(call)["chat_id"]: call for call in events(calls, event)}


def monday(at: datetime) -> date:
    return (at - timedelta(days=at.weekday())).date()


# The history as a whole


def test_the_same_seed_gives_the_same_calls() -> None:
    first, again, other = (list(history(seed, NOW, 5)) for seed in (1, 1, 2))
    assert first == again
    assert not {call.body["messageId"] for call in first} & {call.body["messageId"] for call in other}


def test_half_a_year_is_about_90_000_calls(calls: list[Call]) -> None:
    assert 85_000 <= len(calls) <= 95_000
    ids = {call.body["messageId"] for call in calls}
    assert len(ids) == len(calls)


def test_it_is_in_order_of_time_and_ends_now(calls: list[Call]) -> None:
    assert all(before.at <= after.at for before, after in pairwise(calls))
    assert START <= calls[0].at < START + timedelta(hours=6)
    assert NOW - timedelta(hours=1) < calls[-1].at <= NOW


@pytest.mark.parametrize("more", [timedelta(minutes=20), 1.5 * DAY], ids=["minutes later", "days later"])
def test_made_again_later_it_only_adds(more: timedelta) -> None:
    before = {call.body["messageId"]: call for call in history(1, NOW, 5)}
    later = list(history(1, NOW + more, 5 + ((NOW + more).date() - NOW.date()).days))
    again = {call.body["messageId"]: call for call in later if call.body["messageId"] in before}
    added = [call for call in later if call.body["messageId"] not in before]
    assert again == before
    assert added
    assert all(call.at > NOW for call in added)


def test_a_history_of_no_whole_day_is_that_of_today() -> None:
    assert {call.at.date() for call in history(1, NOW, 0)} == {NOW.date()}


# Each call


class Body(msgspec.Struct, forbid_unknown_fields=True, tag_field="type", rename="camel", kw_only=True):
    """As Segment specifies a call."""

    message_id: str
    anonymous_id: str
    timestamp: str
    context: dict[str, Any]
    user_id: str | msgspec.UnsetType = msgspec.UNSET


class Track(Body, tag="track"):
    event: str
    properties: dict[str, Any]


class Page(Body, tag="page"):
    name: str
    properties: dict[str, Any]


class Screen(Body, tag="screen"):
    name: str
    properties: dict[str, Any]


class Identify(Body, tag="identify"):
    traits: dict[str, Any]


def test_each_call_is_valid(calls: list[Call]) -> None:
    decoder = msgspec.json.Decoder(Track | Page | Screen | Identify)
    is_id = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-a[0-9a-f]{3}-[0-9a-f]{12}").fullmatch
    is_stamp = re.compile(r"2026-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z").fullmatch
    for call in calls:
        encoded = msgspec.json.encode(call.body)
        assert msgspec.json.decode(encoded) == call.body
        body = decoder.decode(encoded)
        assert is_id(body.message_id)
        assert is_id(body.anonymous_id)
        assert is_stamp(body.timestamp)
        assert datetime.fromisoformat(body.timestamp) == call.at
    assert {(call.source, call.body["type"]) for call in calls} == {
        ("website", "page"), ("website", "identify"), ("website", "track"),
        ("app", "screen"), ("app", "identify"), ("app", "track"),
    }  # fmt: skip


def test_types_of_every_kind_are_among_them(calls: list[Call]) -> None:
    def leaves(value: object) -> Iterator[object]:
        if isinstance(value, dict):
            for each in value.values():
                yield from leaves(each)
        else:
            yield value

    values = [value for call in calls[-5000:] for value in leaves(call.body)]
    kinds = {type(value) for value in values}
    assert kinds == {str, int, float, bool, list, type(None)}
    assert any(isinstance(value, str) and "👋🏽" in value for value in values)
    assert any(isinstance(value, int) and 2**53 < value < 2**63 for value in values)
    assert [] in values
    assert any("point" in properties(call)["location"] for call in events(calls, "Card Payment"))


def test_who_uses_the_app_is_known_and_visitors_are_not(calls: list[Call]) -> None:
    assert all("userId" in call.body for call in calls if call.source == "app")
    strangers = [call for call in kinds(calls, "page") if "userId" not in call.body]
    assert 0.5 < len(strangers) / len(kinds(calls, "page")) < 0.8
    identified: set[str] = set()
    for call in calls:
        if call.source == "app" and call.body["type"] == "identify":
            identified.add(call.body["userId"])
        if call.body["type"] == "screen":
            assert call.body["userId"] in identified


# Rhythm and growth


def test_nights_and_weekends_are_quieter(calls: list[Call]) -> None:
    for some in (
        kinds(calls, "page"),
        kinds(calls, "screen"),
        events(calls, "Signed Up"),
        events(calls, "Chat Opened"),
    ):
        hours = Counter(call.at.hour for call in some)
        assert sum(hours[hour] for hour in range(10, 15)) > 5 * sum(hours[hour] for hour in range(1, 6))
    for some in (kinds(calls, "page"), events(calls, "Signed Up"), events(calls, "Chat Opened")):
        days = Counter(call.at.weekday() for call in some)
        assert mean((days[5], days[6])) < 0.8 * mean(days[day] for day in range(5))
    days = Counter(call.at.weekday() for call in events(calls, "Card Payment"))
    assert days[5] > 1.1 * days[1], "people shop on Saturdays"


def test_it_grows_slowly(calls: list[Call]) -> None:
    for some in (kinds(calls, "page"), kinds(calls, "screen"), events(calls, "Card Payment")):
        weeks = Counter((call.at - START) // timedelta(days=7) for call in some)
        first, last = (mean(weeks[week] for week in range(begin, begin + 4)) for begin in (0, 22))
        assert 1.2 < last / first < 1.7


def test_who_signs_up_opens_the_app_within_the_hour(calls: list[Call]) -> None:
    signed_up = {call.body["userId"]: call.at for call in events(calls, "Signed Up") if call.at < NOW - DAY}
    opened: dict[str, datetime] = {}
    for call in kinds(calls, "screen"):
        opened.setdefault(call.body["userId"], call.at)
    assert len(signed_up) > 1000
    assert all(signed_up[user] < opened[user] < signed_up[user] + timedelta(hours=1) for user in signed_up)


# What the story is about


def test_customers_are_content_more_and_more(calls: list[Call]) -> None:
    months: dict[int, list[int]] = defaultdict(list)
    for call in events(calls, "NPS Answered"):
        months[call.at.month].append(properties(call)["score"])
    assert all(0 <= score <= 10 for scores in months.values() for score in scores)
    nps = [nps_of(months[month]) for month in range(6, 12)]
    assert nps == sorted(nps)
    assert 12 < nps[-1] - nps[0] < 35


def nps_of(scores: list[int]) -> float:
    return 100 * (sum(score >= 9 for score in scores) - sum(score <= 6 for score in scores)) / len(scores)


def test_one_week_is_bad(calls: list[Call]) -> None:
    paid = {properties(call)["payment_id"]: call for call in events(calls, "Card Payment")}
    fraud = [paid[properties(call)["payment_id"]] for call in events(calls, "Fraud Confirmed")]
    all_of = Counter(monday(call.at) for call in paid.values())
    shares = {week: number / all_of[week] for week, number in Counter(monday(call.at) for call in fraud).items()}
    worst, *others = sorted(shares, key=lambda week: -shares[week])
    assert worst == date(2026, 10, 5)
    assert 0.03 < shares[worst] < 0.09
    assert all(shares[week] < shares[worst] / 2 for week in others)
    assert 0.001 < mean(shares[week] for week in others) < 0.01

    chats = Counter(monday(call.at) for call in events(calls, "Chat Opened"))
    waits: dict[date, list[float]] = defaultdict(list)
    replies = by_chat(calls, "Chat First Reply")
    for chat_id, opened in by_chat(calls, "Chat Opened").items():
        if chat_id in replies:
            waits[monday(opened.at)].append((replies[chat_id].at - opened.at).total_seconds())
    assert max(chats, key=lambda week: chats[week]) == worst
    assert max(waits, key=lambda week: mean(waits[week])) == worst


def test_payments_are_flagged_and_confirmed_later(calls: list[Call]) -> None:
    paid = {properties(call)["payment_id"]: call for call in events(calls, "Card Payment")}
    assert all(properties(call)["amount"] > 0 for call in paid.values())
    assert {properties(call)["currency"] for call in paid.values()} == {"GBP", "EUR", "USD"}
    for event, at_least, at_most in (("Payment Flagged", 1 / 60, 2), ("Fraud Confirmed", 3, 63)):
        for call in events(calls, event):
            payment = paid[properties(call)["payment_id"]]
            assert timedelta(hours=at_least) <= call.at - payment.at < timedelta(hours=at_most)
            assert call.body["userId"] == payment.body["userId"]


def test_replies_take_minutes_and_longer_by_night(calls: list[Call]) -> None:
    opened, replies = by_chat(calls, "Chat Opened"), by_chat(calls, "Chat First Reply")
    day, night, weekend = (
        mean(
            (replies[chat_id].at - opened[chat_id].at).total_seconds() / 60
            for chat_id in replies
            if opened[chat_id].at.weekday() in weekdays and opened[chat_id].at.hour in hours
        )
        for weekdays, hours in ((range(1, 5), range(9, 17)), (range(7), range(6)), (range(5, 7), range(9, 17)))
    )
    assert 5 < day < 12
    assert night > 2 * day
    assert weekend > 1.3 * day


def test_chats_go_from_opened_to_closed(calls: list[Call]) -> None:
    opened, replies, closed = (by_chat(calls, f"Chat {what}") for what in ("Opened", "First Reply", "Closed"))
    assert replies.keys() | closed.keys() <= opened.keys()
    assert all(opened[chat_id].at < replies[chat_id].at < closed[chat_id].at for chat_id in replies.keys() & closed)
    assert len(closed.keys() - replies.keys()) > 20, "some leave before"
    assert {call.source for call in opened.values()} == {"website", "app"}


@pytest.mark.parametrize("hour", range(1, 24, 5))
def test_some_wait_at_any_hour_and_none_longer_than_an_hour(hour: int) -> None:
    now = NOW.replace(hour=hour, minute=5)
    story = Story(hour, now, 3)
    waiting: dict[str, datetime] = {}
    counts, oldest = [], []
    look = now
    for call in chain(story.history(), queue(story), following(story)):
        while call.at > look:
            counts.append(len(waiting))
            oldest.append(look - min(waiting.values(), default=look))
            look += timedelta(seconds=30)
        if look > now + timedelta(hours=1):
            break
        if call.body.get("event") == "Chat Opened":
            waiting[properties(call)["chat_id"]] = call.at
        elif call.body.get("event") in {"Chat First Reply", "Chat Closed"}:
            waiting.pop(properties(call)["chat_id"], None)
    assert counts[0] >= 12, "from the first moment on"
    assert 1 <= min(counts) <= max(counts) <= 30
    assert 8 <= mean(counts) <= 20
    assert timedelta(minutes=20) < oldest[0]
    assert max(oldest) < timedelta(minutes=70)
    assert len(set(counts)) > 4, "it changes while one looks"


# Live traffic


def test_live_traffic_comes_each_second() -> None:
    some = list(islice(live(1, NOW, 5), 2500))
    assert some == list(islice(live(1, NOW, 5), 2500))
    assert all(before.at <= after.at for before, after in pairwise(some))
    before = list(takewhile(lambda call: call.at <= NOW, some))
    assert len(before) == 12
    assert {call.body["event"] for call in before} == {"Chat Opened"}, "of the last hour, nobody having replied yet"
    assert 300 < (some[-1].at - NOW).total_seconds() < 1200, "some 2 to 8 each second"
    assert {"page", "screen", "track", "identify"} == {call.body["type"] for call in some}
    assert {"Card Payment", "NPS Answered", "Chat Opened", "Signed Up"} <= {call.body.get("event") for call in some}
    assert all(call.body["timestamp"] == stamp(call.at) for call in some)


def test_live_traffic_goes_on_from_the_history() -> None:
    before = list(history(1, NOW, 5))
    some = list(takewhile(lambda call: call.at < NOW + timedelta(minutes=75), live(1, NOW, 5)))
    ids = [call.body["messageId"] for call in some]
    assert len(set(ids)) == len(ids)
    assert not {call.body["messageId"] for call in before} & set(ids)

    signed_up = {call.body["userId"]: call.at for call in events(before + some, "Signed Up")}
    assert all(call.at >= signed_up.get(call.body["userId"], START) for call in some if call.source == "app")

    replies = by_chat(before, "Chat First Reply") | by_chat(before, "Chat Closed")
    waiting = by_chat([call for call in before if call.at > NOW - DAY / 12], "Chat Opened").keys() - replies.keys()
    queued = by_chat(some[:12], "Chat Opened").keys()
    assert waiting | queued <= (by_chat(some, "Chat First Reply") | by_chat(some, "Chat Closed")).keys()

    others = {call.body["messageId"] for call in islice(live(1, NOW + timedelta(seconds=1), 5), 200)}
    natural = {call.body["messageId"] for call in history(1, NOW + 2 * DAY, 7)}
    assert not others & set(ids) - natural, "another moment, other calls"


# The questions


def answer(tables: duckdb.DuckDBPyConnection, name: str) -> list[tuple[Any, ...]]:
    (sql,) = (question.sql for question in questions(NOW) if question.name == name)
    return tables.execute(sql).fetchall()


def test_nps_by_month(asked: list[Call], tables: duckdb.DuckDBPyConnection) -> None:
    months: dict[date, list[int]] = defaultdict(list)
    for call in events(asked, "NPS Answered"):
        months[call.at.date().replace(day=1)].append(properties(call)["score"])
    assert len(months) == 3
    assert answer(tables, "nps_by_month") == [
        (month, len(scores), pytest.approx(nps_of(scores), abs=0.051)) for month, scores in months.items()
    ]


def test_chats_today(asked: list[Call], tables: duckdb.DuckDBPyConnection) -> None:
    days = Counter(call.at.date() for call in events(asked, "Chat Opened") if call.at.time() <= NOW.time())
    expected = [(NOW.date() - 7 * week * DAY, days[NOW.date() - 7 * week * DAY]) for week in range(9)]
    assert all(chats > 5 for _, chats in expected)
    assert answer(tables, "chats_today") == expected


def test_a_day_without_chats_counts_as_none(tmp_path: Path) -> None:
    with load(history(2, NOW, 10), tmp_path) as tables:
        chats = [chats for _, chats in answer(tables, "chats_today")]
    assert len(chats) == 9
    assert chats[0] > 0
    assert chats[2:] == [0] * 7


def oldest_waiting(calls: list[Call]) -> tuple[Any, ...]:
    opened = by_chat(calls, "Chat Opened")
    waiting = opened.keys() - by_chat(calls, "Chat First Reply") - by_chat(calls, "Chat Closed").keys()
    waiting = {chat_id for chat_id in waiting if opened[chat_id].at > NOW - timedelta(hours=2)}
    oldest = min(waiting, key=lambda chat_id: opened[chat_id].at)
    at = opened[oldest].at
    return oldest, properties(opened[oldest])["topic"], at, (NOW - at) // timedelta(minutes=1), len(waiting) - 1


def test_oldest_waiting_chat(asked: list[Call], tables: duckdb.DuckDBPyConnection) -> None:
    assert answer(tables, "oldest_waiting_chat") == [oldest_waiting(asked)]


def test_who_has_a_reply_does_not_wait(asked: list[Call], tmp_path: Path) -> None:
    replies = by_chat(asked, "Chat First Reply")
    closed = [call for chat_id, call in by_chat(asked, "Chat Closed").items() if chat_id not in replies]
    calls = [*events(asked, "Chat Opened"), *replies.values(), *closed]
    with load(calls, tmp_path) as tables:
        assert answer(tables, "oldest_waiting_chat") == [oldest_waiting(calls)]


def test_first_response_by_week(asked: list[Call], tables: duckdb.DuckDBPyConnection) -> None:
    replies = by_chat(asked, "Chat First Reply")
    weeks: dict[date, list[float]] = defaultdict(list)
    for chat_id, opened in by_chat(asked, "Chat Opened").items():
        if chat_id in replies:
            weeks[monday(opened.at)].append((replies[chat_id].at - opened.at) / timedelta(minutes=1))
    assert len(weeks) == 10
    assert answer(tables, "first_response_by_week") == [
        (week, len(waits), pytest.approx(mean(waits), abs=0.051)) for week, waits in weeks.items()
    ]


def test_fraud_by_week(asked: list[Call], tables: duckdb.DuckDBPyConnection) -> None:
    confirmed = {properties(call)["payment_id"] for call in events(asked, "Fraud Confirmed")}
    weeks: dict[date, list[bool]] = defaultdict(list)
    for call in events(asked, "Card Payment"):
        weeks[monday(call.at)].append(properties(call)["payment_id"] in confirmed)
    assert sum(map(sum, weeks.values())) == len(confirmed) > 5
    assert answer(tables, "fraud_by_week") == [
        (week, len(paid), sum(paid), pytest.approx(100 * mean(paid), abs=0.0051)) for week, paid in weeks.items()
    ]


def test_each_question_is_told_in_a_line(tables: duckdb.DuckDBPyConnection) -> None:
    names = [question.name for question in questions()]
    assert len(names) == len(set(names)) == 5
    for question in questions():
        assert question.title.endswith("?")
        assert question.explanation.endswith(".")
        assert not question.sql.startswith("--")
        tables.execute(question.sql)
