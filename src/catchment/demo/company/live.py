"""Traffic after the history: some calls each second, by day and by night."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from heapq import heapify, heappop, heappush

from catchment.demo.company.calls import Call, later, stamp
from catchment.demo.company.story import DAYS, Story, chat_of

_GAP_S = 0.5
"""Between two things that begin, on average; most are of several calls."""


def live(seed: int, since: datetime, days: int = DAYS) -> Iterator[Call]:
    """What happens after `history(seed, since, days)`, without end and in order of time; `at` tells when each is due.

    There are about 4 calls per second, much more than the history has: it is to be seen. The chats that waited at
    `since` are replied to within some minutes, the oldest first. The same arguments give the same calls; another
    `since` gives other ids. It makes the history first, to know who is there, which takes as long as that does.
    """
    story = Story(seed, since, days)
    for _ in story.history():
        pass
    return following(story)


def following(story: Story) -> Iterator[Call]:
    """As `live`, after a story whose history has been told to its end."""
    story.rng.seed(f"{story.namespace} live {stamp(story.until)}")
    story.sdk.begin(f"{story.namespace} live {stamp(story.until)}")
    return _merged(story)


def _merged(story: Story) -> Iterator[Call]:
    """What is ahead and what begins anew, in order of time."""
    ahead = [(call.at, place, call) for place, call in enumerate(_replied(story))]
    place = len(ahead)
    heapify(ahead)
    at = story.until
    while True:
        at = later(at, 0.001 + story.rng.expovariate(1 / _GAP_S))
        for call in _begin(story, at):
            heappush(ahead, (call.at, place, call))
            place += 1
        while ahead[0][0] <= at:
            yield heappop(ahead)[2]


def _begin(story: Story, at: datetime) -> list[Call]:
    """Something of the usual mix."""
    chance = story.rng.random()
    if chance < 0.31:
        return story.website.visit(at)
    if chance < 0.64:
        return story.app.session(at)
    if chance < 0.96:
        return story.payments.pay(at)
    if chance < 0.98:
        return story.app.answer(at)
    if chance < 0.99:
        return story.sign_up(at)
    return story.chats.chat(at)


def _replied(story: Story) -> Iterator[Call]:
    """What is ahead; where a reply was kept back, it and what follows it in its chat come soon."""
    delays: dict[str | None, timedelta] = {}
    free = story.until
    for call in story.ahead:
        chat_id = chat_of(call)
        if call.at <= story.until and chat_id not in delays:
            free = later(free, 45 + story.rng.random() * 60)
            delays[chat_id] = free - call.at
        if chat_id in delays:
            at = call.at + delays[chat_id]
            yield replace(call, at=at, body={**call.body, "timestamp": stamp(at)})
        else:
            yield call
