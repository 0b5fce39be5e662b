"""Traffic after the history: some calls each second, by day and by night."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from heapq import heapify, heappop, heappush

from catchment.demo.company.calls import Call, later, stamp
from catchment.demo.company.chats import FIRST_REPLY
from catchment.demo.company.story import DAYS, Story

_GAP_S = 0.5
"""Between two things that begin, on average; most are of several calls."""
_LAST_HOUR = timedelta(minutes=52)
QUEUE = 12
"""About so many chats wait for a reply, at any hour: with fewer people take longer over each, with more they hurry."""
_SLOWEST = 8.0


def live(seed: int, since: datetime, days: int = DAYS) -> Iterator[Call]:
    """What happens after `history(seed, since, days)`, without end and in order of time; `at` tells when each is due.

    There are about 4 calls per second, much more than the history has: it is to be seen. It begins with some chats of
    the hour before `since` (see `queue`). The same arguments give the same calls; another `since` gives other ones. It
    makes the history first, to know who is there, which takes as long as that does.
    """
    story = Story(seed, since, days)
    for _ in story.history():
        pass
    yield from queue(story)
    yield from following(story)


def queue(story: Story) -> Iterator[Call]:
    """Chats of the last hour that wait for a reply, after a story whose history has been told to its end.

    A history on its own has almost nobody waiting at its end. These are no part of it: told again later, it has
    others, and these have lapsed. What becomes of them is ahead in the story.
    """
    moment = f"{story.namespace} live {stamp(story.until)}"
    story.rng.seed(moment)
    story.sdk.begin(moment)
    # The longer ago, the fewer of them are left.
    ages = sorted((_LAST_HOUR * story.rng.random() ** 1.7 for _ in range(QUEUE)), reverse=True)
    for age in ages:
        at = story.until - age
        opened, *rest = story.chats.chat(at.replace(microsecond=at.microsecond // 1000 * 1000))
        # The one that waits longest is next; each of the others some time after it.
        delay = story.until - rest[0].at + (1 - age / _LAST_HOUR) * timedelta(minutes=35) + timedelta(seconds=40)
        story.ahead += [_moved(call, delay) for call in rest]
        yield opened


def _moved(call: Call, delay: timedelta) -> Call:
    at = later(call.at, delay.total_seconds())
    return Call(call.source, at, {**call.body, "timestamp": stamp(at)})


def following(story: Story) -> Iterator[Call]:
    """As `live`, after a story whose `queue` has been told to its end."""
    ahead = [(call.at, place, call) for place, call in enumerate(story.ahead)]
    place = len(ahead)
    heapify(ahead)
    waiting = _Waiting()
    for call in story.ahead:
        waiting.note(call)
    at = story.until
    while True:
        at = later(at, 0.001 + story.rng.expovariate(1 / _GAP_S))
        for call in _begin(story, at, waiting):
            waiting.note(call)
            heappush(ahead, (call.at, place, call))
            place += 1
        while ahead[0][0] <= at:
            yield heappop(ahead)[2]


class _Waiting:
    """How many wait for a reply. It knows beforehand when each gets it."""

    def __init__(self) -> None:
        self._until: list[datetime] = []

    def note(self, call: Call) -> None:
        """A reply that will come."""
        if call.body.get("event") == FIRST_REPLY:
            heappush(self._until, call.at)

    def pace(self, at: datetime) -> float:
        """What a chat that is opened now should make of its usual wait. `at` does not go back."""
        while self._until and self._until[0] <= at:
            heappop(self._until)
        return min(_SLOWEST, float((QUEUE / max(1, len(self._until))) ** 2))


def _begin(story: Story, at: datetime, waiting: _Waiting) -> list[Call]:
    """Something: mostly visits and sessions, so that what dashboards show of money and goals is not all of today."""
    chance = story.rng.random()
    if chance < 0.42:
        return story.website.visit(at)
    if chance < 0.89:
        return story.app.session(at)
    if chance < 0.976:
        return story.payments.pay(at)
    if chance < 0.988:
        return story.app.answer(at)
    if chance < 0.993:
        return story.sign_up(at)
    return story.chats.chat(at, waiting.pace(at))
