"""The issues: that they are the same each time, that each change is a newer version, and that they are plausible."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from statistics import median
from typing import Any

import pytest

from catchment.demo.company import Call
from catchment.demo.company.calls import stamp
from catchment.demo.company.issues import KEY, VERSION, Issues
from tests.demo.conftest import NOW

START = datetime(2026, 5, 28, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def calls() -> list[Call]:
    return list(Issues(1, NOW).history())


def last(calls: list[Call]) -> dict[int, dict[str, Any]]:
    return {call.body[KEY]: call.body for call in calls}


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_the_same_seed_gives_the_same_issues(calls: list[Call]) -> None:
    assert list(Issues(1, NOW).history()) == calls
    assert list(Issues(2, NOW).history()) != calls


def test_made_again_later_they_only_change_further(calls: list[Call]) -> None:
    later = list(Issues(1, NOW + 1.5 * DAY, 184).history())
    assert later[: len(calls)] == calls
    added = later[len(calls) :]
    assert added
    assert all(NOW < call.at <= NOW + 1.5 * DAY for call in added)


def test_each_change_is_a_newer_version_of_one_issue(calls: list[Call]) -> None:
    assert all(before.at <= after.at for before, after in pairwise(calls))
    versions: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for call in calls:
        assert call.source == "github"
        assert call.at <= NOW
        versions[call.body[KEY]].append(call.body)
    assert max(map(len, versions.values())) > 5
    for bodies in versions.values():
        for before, after in pairwise(bodies):
            assert before[VERSION] < after[VERSION], "as texts"
            assert before["created_at"] == after["created_at"]
            assert before["comments"] <= after["comments"]
            assert before["plus_ones"] <= after["plus_ones"]
            assert before["state"] == "open", "nothing happens to what is closed"
    names = Counter((body["repository"], body["number"]) for body in last(calls).values())
    assert max(names.values()) == 1


def test_they_are_as_on_the_first_day_and_then_live(calls: list[Call]) -> None:
    first = [call for call in calls if call.at == START]
    assert len({call.body[KEY] for call in first}) == len(first) > 1000
    assert all(at(call.body[VERSION]) < START for call in first)
    assert min(at(call.body["created_at"]) for call in first) < START - 1000 * DAY
    assert all(call.body[VERSION] == stamp(call.at) for call in calls[len(first) :])
    assert 2000 < len(calls) < 6000


def test_people_wish_for_features_and_bugs_are_closed_in_days(calls: list[Call]) -> None:
    issues = list(last(calls).values())
    assert {issue["organization"] for issue in issues} == {"ferry", "ferry-open", "harbour-labs"}
    assert len({issue["repository"] for issue in issues}) == 9
    assert 120 < sum(issue["state"] == "open" for issue in issues) < 400
    days, wishes = defaultdict(list), defaultdict(list)
    for issue in issues:
        label = issue["labels"][0]
        wishes[label].append(issue["plus_ones"])
        assert (issue["state"] == "closed") == (issue["closed_at"] is not None)
        if issue["closed_at"] is not None:
            days[label].append((at(issue["closed_at"]) - at(issue["created_at"])) / DAY)
    assert 2 < median(days["bug"]) < 9 < median(days["feature"])
    assert sum(wishes["feature"]) / len(wishes["feature"]) > 2 * sum(wishes["bug"]) / len(wishes["bug"])


def test_they_go_on_every_few_seconds(calls: list[Call]) -> None:
    issues = Issues(1, NOW)
    assert list(issues.history()) == calls
    some = list(islice(issues.following(), 300))
    assert all(before.at < after.at for before, after in pairwise(some))
    assert some[0].at > NOW
    assert 1000 < (some[-1].at - NOW).total_seconds() < 6000
    known = last(calls)
    opened = {call.body[KEY] for call in some} - known.keys()
    assert 15 < len(opened) < 80
    for call in some:
        before = known.get(call.body[KEY])
        assert before is None or (before["state"], before[VERSION] < call.body[VERSION]) == ("open", True)
        known[call.body[KEY]] = call.body
    assert any(call.body["state"] == "closed" for call in some)
    other = Issues(1, NOW)
    list(other.history())
    assert list(islice(other.following(), 300)) == some
