"""Chats with the company's people: opened, answered some minutes later, closed."""

from __future__ import annotations

from datetime import datetime
from random import Random

from catchment.demo.company.calls import Call, Device, Json, Sdk, later
from catchment.demo.company.people import People
from catchment.demo.company.rhythm import Plot

OPENED = "Chat Opened"
FIRST_REPLY = "Chat First Reply"
CLOSED = "Chat Closed"

_AGENTS = ("Amara", "Bram", "Ciara", "Duarte", "Elif")
_WORDS = {
    "Cards": ("My card was declined 😕", "Where is my new card?", "I don't know this payment!"),
    "Transfers": ("When does my transfer arrive?", "Wrong account, can I stop it? 🙏"),
    "Account": ("How do I change my address?", "Posso mudar o meu número?"),
    "Goals": ("Can two people share a goal? 🏖️",),
    "Other": ("hi 👋🏽", "Are you a real bank?"),
}
_TOPICS = tuple(_WORDS)
_TOPIC_WEIGHTS = (38, 24, 20, 8, 10)
_TOPIC_WEIGHTS_IN_THE_BAD_WEEK = (80, 15, 14, 5, 8)
_IN_APP = 0.7
_ABANDONED = 0.03
"""Closed by the customer before anybody replied."""


class Chats:
    """Chats, in the app or on the website. The events of one have its `chat_id`."""

    def __init__(self, rng: Random, sdk: Sdk, people: People, plot: Plot) -> None:
        self._rng = rng
        self._sdk = sdk
        self._people = people
        self._plot = plot

    def chat(self, at: datetime, pace: float = 1.0) -> list[Call]:
        """The calls of one chat, in order of time. Its wait is as usual at that hour, times `pace`."""
        rng, sdk = self._rng, self._sdk
        device, user_id = self._who(at)
        weights = _TOPIC_WEIGHTS_IN_THE_BAD_WEEK if self._plot.is_bad(at) else _TOPIC_WEIGHTS
        topic = rng.choices(_TOPICS, weights)[0]
        words = rng.choice(_WORDS[topic])
        chat_id = sdk.name("chat")
        opened: Json = {"chat_id": chat_id, "topic": topic, "message": {"text": words, "length": len(words)}}
        calls = [sdk.track(at, device, user_id, OPENED, opened)]
        replied = later(at, min(pace * self._wait_s(at), (50 + 15 * rng.random()) * 60))
        is_abandoned = rng.random() < _ABANDONED
        if not is_abandoned:
            reply: Json = {"chat_id": chat_id, "agent": rng.choice(_AGENTS), "template": None}
            calls.append(sdk.track(replied, device, user_id, FIRST_REPLY, reply))
            replied = later(replied, 60 + rng.expovariate(1 / 700))
        closed: Json = {
            "chat_id": chat_id,
            "messages": 1 if is_abandoned else 2 + int(rng.expovariate(0.2)),
            "resolved": not is_abandoned and rng.random() < 0.9,
            "rating": None if is_abandoned else rng.choice((None, None, 3, 4, 5, 5)),
            "tags": rng.sample(("urgent", "refund", "bug", "praise"), rng.randrange(3)),
        }
        calls.append(sdk.track(replied, device, user_id, CLOSED, closed))
        return calls

    def _who(self, at: datetime) -> tuple[Device, str | None]:
        rng = self._rng
        if rng.random() < _IN_APP:
            customer = self._people.anyone(rng, at)
            return customer.phone, customer.user_id
        return self._people.browser(rng, self._sdk), None

    def _wait_s(self, at: datetime) -> float:
        """Until the first reply: by how many people work at that hour, and how much there is to do.

        Half are answered soon; the others need somebody who knows, and wait up to an hour.
        """
        evening = 4.6 if self._plot.has_evening_shift(at) else 9.0
        minutes = 17.0 if at.hour < 7 else 4.3 if at.hour < 18 else evening
        if at.weekday() == 0:
            minutes *= 1.3
        elif at.weekday() >= 5:
            minutes *= 1.7
        if self._plot.is_bad(at):
            minutes *= 2.2
        return 20 + 60 * minutes * self._rng.lognormvariate(0, 0.9)
