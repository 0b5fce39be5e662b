"""The collector takes what SDKs were recorded to send, also where none can be installed."""

from __future__ import annotations

from collections import Counter

import pytest

from catchment.collect.config import SourceConfig
from catchment.collect.handler import Handler
from tests.collect.asking import Asked, ask, handler
from tests.sdk.recording import WRITE_KEY, RecordedRequest, Recording, load
from tests.sdk.sdks import SDKS


@pytest.fixture(params=list(SDKS))
def recording(request: pytest.FixtureRequest) -> Recording:
    return load(request.param)


@pytest.fixture
def collect() -> Handler:
    return handler(sources={"app": SourceConfig(write_key=WRITE_KEY)})


def replay(collect: Handler, request: RecordedRequest) -> Asked:
    headers, body = request.to_send()
    return ask(collect, request.method, request.path, body, headers)


def test_every_request_is_taken(collect: Handler, recording: Recording) -> None:
    ids: Counter[str] = Counter()
    sent: Counter[str] = Counter()
    for request in recording.requests:
        asked = replay(collect, request)
        assert asked.status == (204 if request.method == "OPTIONS" else 200)
        assert asked.answer.rejected == 0
        if request.method == "POST":
            ids.update(record["id"] for record in asked.records)
            # A track is a row in `tracks` and one in the table of its event.
            sent.update({event["messageId"]: 1 + (event["type"] == "track") for event in request.events()})
    assert ids == sent


def test_what_is_sent_again_is_the_same_records(collect: Handler, recording: Recording) -> None:
    """In the same tables, with the same ids, and copies of them are looked for since the same time."""
    if not recording.attempts:
        assert not SDKS[recording.sdk].retries
        return
    attempts = [
        {(record["table"], record["id"]): record["not_before"] for record in replay(collect, request).records}
        for request in recording.attempts
    ]
    assert len(attempts) > 1
    assert attempts[0]
    assert all(each == attempts[0] for each in attempts)


def test_a_page_of_another_origin_may_send(collect: Handler, recording: Recording) -> None:
    for request in recording.requests:
        asked = replay(collect, request)
        origin = request.headers.get("Origin")
        assert asked.headers.get("access-control-allow-origin") == origin
        if request.method == "OPTIONS":
            assert asked.headers["access-control-allow-headers"] == request.headers["Access-Control-Request-Headers"]
