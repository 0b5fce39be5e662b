"""The app: sessions of some screens, and answers to the question whether one would recommend it."""

from __future__ import annotations

from datetime import datetime
from random import Random

from catchment.demo.company.calls import Call, Json, Sdk, later
from catchment.demo.company.people import People, Person
from catchment.demo.company.rhythm import Plot

_SCREENS = ("Activity", "Card", "Goals", "Transfer", "Profile", "Payment", "Chat")
_GOLDEN = 0.6180339887498949
_PRAISE = ("Love the round-ups 💚", "It just works 👍🏽", "Best bank I've had", "Obrigada! 🇵🇹", None, None, None)
_INDIFFERENCE = ("Fine.", "Cash deposits would be nice", None, None, None, None)
_COMPLAINTS = ("Chat took ages 😡", 'My card was declined "for safety"', "Why no web app?\nReally", None, None)


class App:
    """What happens in the app. Each method gives the calls of one session, in order of time."""

    def __init__(self, rng: Random, sdk: Sdk, people: People, plot: Plot) -> None:
        self._rng = rng
        self._sdk = sdk
        self._people = people
        self._plot = plot
        self._identified: set[str] = set()
        self._answers = 0

    def session(self, at: datetime) -> list[Call]:
        """A customer looks at some screens; now and then one takes another plan."""
        rng = self._rng
        person = self._people.anyone(rng, at)
        calls = self._open(at, person, ["Activity", *rng.choices(_SCREENS, k=int(rng.expovariate(0.5)))])
        if rng.random() < 0.02:
            at = later(calls[-1].at, 5 + rng.random() * 60)
            calls.append(self._sdk.identify(at, person.phone, person.user_id, {"plan": rng.choice(("free", "plus"))}))
        return calls

    def first_session(self, at: datetime, person: Person) -> list[Call]:
        """Somebody who has just signed up opens the app."""
        return self._open(at, person, ["Welcome", "Card", "Activity"])

    def _open(self, at: datetime, person: Person, names: list[str]) -> list[Call]:
        rng, sdk = self._rng, self._sdk
        calls = []
        if person.user_id not in self._identified:
            self._identified.add(person.user_id)
            calls.append(sdk.identify(at, person.phone, person.user_id, person.traits))
            at = later(at, 0.05 + rng.random() / 4)
        previous = None
        for name in names:
            properties: Json = {"previous": previous, "load": {"ms": int(rng.lognormvariate(5, 0.5)), "cached": False}}
            calls.append(sdk.screen(at, person.phone, person.user_id, name, properties))
            at = later(at, 2 + rng.expovariate(1 / 15))
            previous = name
        return calls

    def answer(self, at: datetime) -> list[Call]:
        """The survey: would you recommend us, from 0 to 10?"""
        rng = self._rng
        person = self._people.anyone(rng, at)
        score = self._score(at)
        words = _PRAISE if score >= 9 else _INDIFFERENCE if score >= 7 else _COMPLAINTS
        properties: Json = {
            "score": score,
            "comment": rng.choice(words),
            "survey": {"version": 3, "trigger": rng.choice(("monthly", "after_chat"))},
        }
        return [self._sdk.track(at, person.phone, person.user_id, "NPS Answered", properties)]

    def _score(self, at: datetime) -> int:
        """More promoters and fewer detractors with every month.

        Multiples of the golden ratio spread evenly over 0 to 1, whichever of them are taken in a row: so a month of
        two hundred answers shows the company's mood and not chance, which would move it by six points.
        """
        progress = min(self._plot.progress(at), 1.5)
        self._answers += 1
        place = self._answers * _GOLDEN % 1
        promoters, detractors = 0.40 + 0.18 * progress, 0.26 - 0.10 * progress
        if place < promoters:
            return 10 if self._rng.random() < 0.55 else 9
        if place < 1 - detractors:
            return 8 if self._rng.random() < 0.6 else 7
        return int(7 * self._rng.random() ** 0.5)
