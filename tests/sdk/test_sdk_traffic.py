"""What SDKs send: all of it arrives, as it is recorded, and what they send again is recognisable."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest

from tests.sdk.calls import calls
from tests.sdk.recorder import RETRY_AFTER_S, Answer, Recorder, Request, mark_of, settings_with_key, values_of
from tests.sdk.recording import FOLDER, PROTOCOL_HEADERS, WRITE_KEY, RecordedRequest, load, version
from tests.sdk.sdks import SDK, SDKS, Expected, NotDelivered, leave_page, send_all

ROUND = [each for each in calls() if each.user_id]
RETRYING = [each for each in SDKS.values() if each.retries]
GIVING_UP = [each for each in SDKS.values() if not each.retries]


@dataclass(frozen=True, slots=True)
class Sent:
    """What an SDK sent to an endpoint that fails nothing."""

    sdk: SDK
    expected: list[Expected]
    requests: list[Request]


@pytest.fixture(scope="module", params=SDKS.values(), ids=list(SDKS))
def sent(request: pytest.FixtureRequest) -> Sent:
    sdk: SDK = request.param
    with Recorder().running() as recorder:
        expected = send_all(sdk, recorder.endpoint, WRITE_KEY)
    return Sent(sdk, expected, recorder.requests)


def events_of(requests: list[Request]) -> list[dict[str, Any]]:
    return [event for each in requests if each.method == "POST" for event in each.events()]


def accepted(recorder: Recorder) -> list[dict[str, Any]]:
    """One event for each id: what is on its way while a page is left is sent by the next page as well."""
    events = events_of([each for each in recorder.posts() if each.answer == "ok"])
    return list({event["messageId"]: event for event in events}.values())


def marks_of(request: Request) -> set[str]:
    return {mark_of(event) for event in request.events()}


def time_of(event: dict[str, Any]) -> datetime | None:
    """When the SDK says it happened."""
    said = event.get("timestamp") or event.get("originalTimestamp")
    return None if said is None else datetime.fromisoformat(said)


def assert_arrived(events: list[dict[str, Any]], expected: list[Expected]) -> None:
    """Each of the expected once, and nothing else."""
    assert sorted(map(mark_of, events)) == sorted(each.mark for each in expected)
    by_mark = {mark_of(event): event for event in events}
    for each in expected:
        event = by_mark[each.mark]
        values = {} if each.type == "alias" else values_of(event)
        named = event.get("event") if each.type == "track" else event.get("name") or values.get("name")
        if each.type in {"page", "screen"}:
            values = {name: values[name] for name in each.values}
        assert event["type"] == each.type
        assert values == each.values
        assert each.type in {"group", "alias"} or named == each.name
        assert event.get("userId") == each.user_id
        assert event.get("anonymousId") == each.anonymous_id
        assert event.get("groupId") == each.group_id
        assert event.get("previousId") == each.previous_id
        assert time_of(event) is not None
        assert each.timestamp is None or time_of(event) == each.timestamp
        assert event["messageId"]
        assert datetime.fromisoformat(event["sentAt"])


def shape(value: Any) -> Any:
    """The keys and the kinds of values, which is what stays from one run to the next."""
    match value:
        case dict():
            return {key: shape(inner) for key, inner in value.items()}
        case list():
            return "list"
        case int() | float() if not isinstance(value, bool):
            return "number"
        case _:
            return type(value).__name__


def understood(request: Request | RecordedRequest) -> tuple[object, ...]:
    """What tells an endpoint how to read a request."""
    headers = {name.lower(): value for name, value in request.headers.items()}
    return (request.method, request.path, *sorted((name, headers[name]) for name in PROTOCOL_HEADERS & set(headers)))


def test_every_call_arrives_with_its_values(sent: Sent) -> None:
    assert_arrived(events_of(sent.requests), sent.expected)


def test_which_clock_is_sent_beside_the_time_that_a_caller_gives(sent: Sent) -> None:
    dated = {each.mark for each in sent.expected if each.timestamp is not None}
    both = ["originalTimestamp" in event for event in events_of(sent.requests) if mark_of(event) in dated]
    assert all(each == sent.sdk.says_both_times for each in both)


def test_the_recording_is_what_is_sent(sent: Sent) -> None:
    """Else: python -m tests.sdk.recording."""
    recorded = load(sent.sdk.name)
    assert recorded.version == version(sent.sdk)
    assert {understood(each) for each in sent.requests} == {understood(each) for each in recorded.requests}
    recorded_events = [event for each in recorded.requests if each.method == "POST" for event in each.events()]
    assert_arrived(recorded_events, sent.expected)
    shapes = {mark_of(event): shape(event) for event in events_of(sent.requests)}
    assert shapes == {mark_of(event): shape(event) for event in recorded_events}


@pytest.mark.parametrize("sdk", RETRYING, ids=lambda sdk: sdk.name)
def test_what_is_sent_again_has_the_same_id_and_time(sdk: SDK) -> None:
    """The first attempt is lost without an answer, the next ones are refused; what is too early is not tried."""
    with Recorder(("closed", "unavailable", "limited")).running() as recorder:
        expected = send_all(sdk, recorder.endpoint, WRITE_KEY)
    assert_arrived(accepted(recorder), expected)
    attempts: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in events_of(recorder.posts()):
        attempts[mark_of(event)].append(event)
    again = [each for each in attempts.values() if len(each) > 1]
    assert again
    for each in again:
        assert len({event["messageId"] for event in each}) == 1
        assert len({time_of(event) for event in each}) == 1
        # A clock is corrected by `sentAt`, so it matters whether a retry says when it was itself sent.
        assert (each[0]["sentAt"] != each[-1]["sentAt"]) == sdk.sent_anew
    limited = next(each for each in recorder.posts() if each.answer == "limited")
    marks = marks_of(limited)
    after = [each.at_s for each in recorder.posts() if each.at_s > limited.at_s and marks & marks_of(each)]
    assert after
    assert min(after) - limited.at_s > 0.9 * RETRY_AFTER_S


@pytest.mark.parametrize("sdk", GIVING_UP, ids=lambda sdk: sdk.name)
def test_what_fails_is_not_sent_again_by_all(sdk: SDK) -> None:
    """Behind such an SDK an event is lost whenever the endpoint is away."""
    with Recorder(("unavailable",)).running() as recorder, pytest.raises(NotDelivered, match="503"):
        send_all(sdk, recorder.endpoint, WRITE_KEY)
    marks = [mark_of(event) for event in events_of(recorder.posts())]
    assert len(marks) == len(set(marks))


@pytest.mark.parametrize("name", ["segment-browser", "segment-browser-batching"])
def test_segment_in_a_browser_has_its_write_key_from_the_settings(name: str) -> None:
    """Whatever the page says: an endpoint whose settings have no `apiKey` gets events without any key."""
    with Recorder(settings=lambda _: {"integrations": {"Segment.io": {}}}).running() as recorder:
        send_all(SDKS[name], recorder.endpoint, WRITE_KEY)
    for each in recorder.posts():
        assert "authorization" not in {name.lower() for name in each.headers}
        assert WRITE_KEY.encode() not in each.body


def test_what_a_page_could_not_deliver_the_next_one_sends_with_the_same_id() -> None:
    visits: list[str] = []

    def settings(path: str) -> dict[str, Any]:
        visits.append(path)
        if len(visits) == 2:
            recorder.recover()
        return settings_with_key(path)

    refused: Answer = "unavailable"
    with Recorder((refused,) * 1_000, settings).running() as recorder:
        expected = leave_page(
            SDKS["segment-browser"], recorder.endpoint, WRITE_KEY, lambda: len(accepted(recorder)) >= len(ROUND)
        )
    assert len(visits) == 2
    assert_arrived(accepted(recorder), expected)
    identities = {(mark_of(event), event["messageId"], time_of(event)) for event in events_of(recorder.posts())}
    assert len(identities) == len(expected)


def test_a_page_that_is_left_sends_the_rest_of_its_batch_as_it_goes() -> None:
    """Nobody then hears of a failure."""
    with Recorder().running() as recorder:
        expected = leave_page(
            SDKS["segment-browser-batching"],
            recorder.endpoint,
            WRITE_KEY,
            lambda: len(accepted(recorder)) == len(ROUND),
        )
    assert_arrived(accepted(recorder), expected)


def test_no_recording_is_left_over() -> None:
    assert {each.stem for each in FOLDER.glob("*.json")} == set(SDKS)
