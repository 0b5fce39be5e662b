"""The website: visits, and sign-ups at the end of some."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from random import Random

from catchment.demo.company.calls import Call, Device, Json, Sdk, later
from catchment.demo.company.people import People, Person
from catchment.demo.company.rhythm import Change

_SITE = "https://www.ferry.example"
_PAGES = {
    "Home": "/",
    "Cards": "/cards",
    "Goals": "/goals",
    "Pricing": "/pricing",
    "Help": "/help",
    "Lost card": "/help/lost-card",
    "Blog": "/blog/a-year-of-round-ups",
    "Sign up": "/sign-up",
}
_READING = ("Cards", "Goals", "Pricing", "Help", "Lost card", "Blog", "Home")
_REFERRERS = (None, None, "https://search.example/", "https://news.example/best-bank-apps")
_CAMPAIGNS: tuple[Json, ...] = (
    {"name": "autumn", "source": "newsletter", "medium": "email"},
    {"name": "no-fees", "source": "search.example", "medium": "cpc", "term": "bank app"},
)


class Website:
    """What happens on the website. Each method gives the calls of one visit, in order of time."""

    def __init__(self, rng: Random, sdk: Sdk, people: People) -> None:
        self._rng = rng
        self._sdk = sdk
        self._people = people
        self._office = people.browser(rng, sdk)

    def announce(self, at: datetime, change: Change) -> Call:
        """The company's own people say what is new; dashboards show it beside what came of it."""
        properties: Json = {"name": change.name, "area": change.area}
        return self._sdk.track(at, self._office, None, "Change Announced", properties)

    def visit(self, at: datetime) -> list[Call]:
        """Some pages, read by a stranger or by a customer."""
        rng = self._rng
        first = "Home" if rng.random() < 0.6 else rng.choice(_READING)
        names = [first, *rng.choices(_READING, k=int(rng.expovariate(0.5)))]
        if rng.random() < 0.35:
            customer = self._people.anyone(rng, at)
            return self._read(at, customer.browser, customer.user_id, names)
        return self._read(at, self._people.browser(rng, self._sdk), None, names)

    def sign_up(self, at: datetime) -> tuple[Person, list[Call]]:
        """A visit that ends with an account; who has it now, and the calls."""
        rng, sdk = self._rng, self._sdk
        browser = self._people.browser(rng, sdk)
        calls = self._read(at, browser, None, ["Home", "Pricing", "Sign up"])
        done = later(calls[-1].at, 40 + rng.random() * 140)
        person = self._people.welcome(rng, sdk, done, browser)
        properties: Json = {
            "plan": person.traits["plan"],
            "referral": {"code": sdk.name("ref"), "reward": 5.0} if rng.random() < 0.15 else None,
            "steps": ["email", "identity", "address"],
            "seconds": int((done - calls[-1].at).total_seconds()),
        }
        calls.append(sdk.identify(done, browser, person.user_id, person.traits))
        calls.append(sdk.track(done, browser, person.user_id, "Signed Up", properties))
        return person, calls

    def _read(self, at: datetime, browser: Device, user_id: str | None, names: Sequence[str]) -> list[Call]:
        rng = self._rng
        referrer = rng.choice(_REFERRERS)
        if rng.random() < 0.25:
            browser = Device(
                browser.source, browser.anonymous_id, {**browser.context, "campaign": rng.choice(_CAMPAIGNS)}
            )
        calls = []
        for name in names:
            path = _PAGES[name]
            url = _SITE + path
            properties = {"title": f"{name} · Ferry", "path": path, "url": url, "referrer": referrer, "search": ""}
            calls.append(self._sdk.page(at, browser, user_id, name, properties))
            at = later(at, 4 + rng.expovariate(1 / 30))
            referrer = url
        return calls
