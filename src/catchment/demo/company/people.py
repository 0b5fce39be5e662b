"""The customers and visitors, with their browsers and phones. All of them are made up."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random

from catchment.demo.company.calls import Device, Json, Sdk, stamp

_FIRST = (
    "Aoife", "Ben", "Chloé", "Dinis", "Efua", "Fergus", "Grace", "Hana", "Idris", "Jürgen", "Kasia", "Lucía", "Maeve",
    "Noor", "Oscar", "Priya", "Quinn", "Rosa", "Søren", "Tomás", "Uma", "Violet", "Wren", "Xin", "Yusuf", "Zoë",
)  # fmt: skip
_LAST = (
    "Adeyemi", "Byrne", "Costa", "Doyle", "Evans", "Ferreira", "García", "Hughes", "Ibrahim", "Jones", "Khan", "Lopes",
    "Murphy", "Nowak", "O'Neill", "Patel", "Quigley", "Roberts", "Silva", "Taylor", "Usman", "Vaz", "Walsh", "Young",
)  # fmt: skip
_CITIES = (
    ("London", "GB", "en-GB", "Europe/London"),
    ("Leeds", "GB", "en-GB", "Europe/London"),
    ("Glasgow", "GB", "en-GB", "Europe/London"),
    ("Dublin", "IE", "en-IE", "Europe/Dublin"),
    ("Cork", "IE", "en-IE", "Europe/Dublin"),
    ("Lisbon", "PT", "pt-PT", "Europe/Lisbon"),
    ("Porto", "PT", "pt-PT", "Europe/Lisbon"),
)
_AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 "
    "Safari/605.1.15",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 "
    "Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (X11; Linux x86_64; rv:131.0) Gecko/20100101 Firefox/131.0",
)
_PHONES = (
    ("Apple", "iPhone15,4", "iOS", "18.0", 393, 852),
    ("Apple", "iPhone12,8", "iOS", "17.6", 375, 667),
    ("Google", "Pixel 8", "Android", "15", 412, 915),
    ("Samsung", "SM-S921B", "Android", "14", 360, 780),
)
_VERSIONS = ("4.17.2", "4.18.0", "4.18.1")
_FLAIR = ("🦊", "🌊", "👩🏽‍🚀", "🇵🇹", "☕️")
SETTLING = timedelta(hours=1)
"""From signing up to being a customer like others."""
_EARLIER_CUSTOMERS = 800
"""Who were there before the first day."""


@dataclass(frozen=True, slots=True)
class Person:
    """A customer. `traits` are all that is known at sign-up."""

    user_id: str
    since: datetime
    """From then on they come and go; before, they are busy with signing up."""
    traits: Json
    browser: Device
    phone: Device


class People:
    """The customers. There are some hundreds from the start, and more sign up."""

    def __init__(self, rng: Random, sdk: Sdk, start: datetime) -> None:
        self._customers: list[Person] = []
        self._newcomers: deque[Person] = deque()
        for _ in range(_EARLIER_CUSTOMERS):
            joined = start - SETTLING - timedelta(seconds=rng.randrange(700 * 86_400))
            self.welcome(rng, sdk, joined, self.browser(rng, sdk))

    def anyone(self, rng: Random, at: datetime) -> Person:
        """One of the customers of that moment. `at` does not go back from call to call."""
        while self._newcomers and self._newcomers[0].since <= at:
            self._customers.append(self._newcomers.popleft())
        return self._customers[int(rng.random() * len(self._customers))]

    def browser(self, rng: Random, sdk: Sdk) -> Device:
        """A browser not seen before, somewhere."""
        _, _, locale, timezone = rng.choice(_CITIES)
        context: Json = {
            "ip": f"198.51.100.{rng.randrange(1, 255)}",
            "library": {"name": "analytics.js", "version": "next-1.74.0"},
            "locale": locale,
            "timezone": timezone,
            "userAgent": rng.choice(_AGENTS),
        }
        return Device("website", sdk.uuid(), context)

    def welcome(self, rng: Random, sdk: Sdk, at: datetime, browser: Device) -> Person:
        """Somebody signs up at that browser, and installs the app on a phone."""
        city, country, locale, timezone = rng.choice(_CITIES)
        first, last = rng.choice(_FIRST), rng.choice(_LAST)
        user_id = sdk.name("user")
        traits: Json = {
            "firstName": first,
            "lastName": last,
            "nickname": f"{first} {rng.choice(_FLAIR)}" if rng.random() < 0.1 else None,
            "email": f"{user_id}@mail.example",
            "createdAt": stamp(at),
            "plan": "plus" if rng.random() < 0.2 else "free",
            "accountNumber": rng.randrange(10**17, 10**18),
            "address": {"city": city, "country": country},
            "interests": rng.sample(("saving", "travel", "budget", "shares"), rng.randrange(3)),
            "marketing": {"email": rng.random() < 0.6, "push": rng.random() < 0.4},
        }
        person = Person(user_id, at + SETTLING, traits, browser, self._phone(rng, sdk, locale, timezone))
        self._newcomers.append(person)
        return person

    def _phone(self, rng: Random, sdk: Sdk, locale: str, timezone: str) -> Device:
        maker, model, system, version, width, height = rng.choice(_PHONES)
        context: Json = {
            "app": {"name": "Ferry", "version": rng.choice(_VERSIONS), "build": str(rng.randrange(4000, 4200))},
            "device": {"id": sdk.uuid(), "manufacturer": maker, "model": model, "adTrackingEnabled": False},
            "ip": f"203.0.113.{rng.randrange(1, 255)}",
            "library": {"name": f"analytics-{'swift' if system == 'iOS' else 'kotlin'}", "version": "1.6.2"},
            "locale": locale,
            "network": {"carrier": None, "cellular": rng.random() < 0.5, "wifi": True},
            "os": {"name": system, "version": version},
            "screen": {"width": width, "height": height, "density": 3.0},
            "timezone": timezone,
        }
        return Device("app", sdk.uuid(), context)
