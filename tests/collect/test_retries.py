"""What becomes of an event that a client sends again, from its requests to the rows in the warehouse."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from catchment.collect.handler import Handler, Request
from catchment.pack import packs
from catchment.queues import Message
from catchment.testing.content import rows
from tests.collect.asking import APP_KEY, NOW, WINDOW, handler
from tests.load.loading import Rig

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
EVENT = {"type": "page", "messageId": "m1", "name": "Home"}


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.close()


def arrive(rig: Rig, collect: Handler, call: dict[str, Any], at: datetime) -> None:
    """One request at this time, loaded in a round of its own."""
    headers = {b"x-write-key": APP_KEY.encode()}
    body = msgspec.json.encode({"batch": [call]})
    answer = collect(Request(b"POST", b"/v1/batch", headers, body, "192.0.2.7", at, 0.0))
    assert answer.response.startswith(b"HTTP/1.1 200")
    [line] = answer.lines
    (pack,) = packs(line.table, [line])
    rig.loader.load(rig.put(Message(pack, None, None)))


def pages(rig: Rig) -> int:
    [(count,)] = rows(rig.warehouse, "SELECT count(*) FROM app.pages")
    return int(count)


def sent_twice(rig: Rig, first: dict[str, Any], second: dict[str, Any], after: timedelta) -> int:
    """The rows of two events, the second one so much later."""
    collect = handler()
    arrive(rig, collect, first, NOW)
    arrive(rig, collect, second, NOW + after)
    return pages(rig)


@pytest.mark.parametrize("after", [timedelta(seconds=1), 5 * HOUR, WINDOW - HOUR])
@pytest.mark.parametrize("own", [NOW, NOW - DAY, None], ids=["a time", "an old time", "no time"])
def test_the_same_message_within_the_window_is_one_row(rig: Rig, after: timedelta, own: datetime | None) -> None:
    call = EVENT | ({} if own is None else {"timestamp": own})
    assert sent_twice(rig, call, call, after) == 1


def test_the_same_message_after_the_window_is_another_row(rig: Rig) -> None:
    call = EVENT | {"timestamp": NOW}
    assert sent_twice(rig, call, call, WINDOW + DAY) == 2


def test_a_changed_message_id_is_another_row(rig: Rig) -> None:
    assert sent_twice(rig, EVENT, EVENT | {"messageId": "m2"}, HOUR) == 2


def test_without_a_message_id_a_retry_is_another_row(rig: Rig) -> None:
    call = {"type": "page", "name": "Home", "timestamp": NOW}
    assert sent_twice(rig, call, call, HOUR) == 2


def test_the_first_of_two_with_one_message_id_stays(rig: Rig) -> None:
    assert sent_twice(rig, EVENT, EVENT | {"name": "Prices"}, HOUR) == 1
    assert rows(rig.warehouse, "SELECT name FROM app.pages") == [("Home",)]


@pytest.mark.parametrize("off", [2 * HOUR, -2 * HOUR, 30 * DAY, -365 * DAY], ids=["fast", "slow", "far", "stuck"])
@pytest.mark.parametrize("after", [HOUR, 2 * DAY])
def test_a_retry_by_a_wrong_clock_is_one_row(rig: Rig, off: timedelta, after: timedelta) -> None:
    """Each attempt says when it was sent, so that both are filed under different times."""
    happened = NOW + off - timedelta(seconds=10)
    first = EVENT | {"timestamp": happened, "sentAt": NOW + off}
    assert sent_twice(rig, first, first | {"sentAt": NOW + off + after}, after) == 1


def test_a_clock_that_is_set_between_two_attempts_changes_nothing(rig: Rig) -> None:
    happened = datetime(1970, 1, 1, 0, 5, tzinfo=UTC)
    first = EVENT | {"timestamp": happened, "sentAt": happened}
    assert sent_twice(rig, first, first | {"sentAt": NOW + HOUR}, HOUR) == 1
