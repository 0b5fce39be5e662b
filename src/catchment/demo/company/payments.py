"""Card payments, and the few that are fraud."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from random import Random

from catchment.demo.company.calls import Call, Json, Sdk, later
from catchment.demo.company.people import People, Person
from catchment.demo.company.rhythm import Plot


@dataclass(frozen=True, slots=True)
class Merchant:
    """A shop. `price` is a usual amount there, in its currency; `spread` is that of the amount's logarithm."""

    name: str
    category: str
    price: float
    spread: float
    currency: str
    place: Json
    """Shown in the payment as it is."""
    weight: float
    """How often it is paid at, compared with others."""


def _place(city: str, country: str, latitude: float, longitude: float) -> Json:
    return {"city": city, "country": country, "point": {"lat": latitude, "lon": longitude}}


_LONDON = _place("London", "GB", 51.5072, -0.1276)
_LEEDS = _place("Leeds", "GB", 53.8008, -1.5491)
_DUBLIN = _place("Dublin", "IE", 53.3498, -6.2603)
_LISBON = _place("Lisbon", "PT", 38.7223, -9.1393)
_ONLINE: Json = {"city": None, "country": "US", "point": None}

_GADGETS = Merchant("Gadget Cellar", "electronics", 210, 0.5, "USD", _ONLINE, 1)
"""Where the card numbers of the bad week were stolen, and are used."""
_MERCHANTS = (
    _GADGETS,
    Merchant("Gift Cards 24", "gift cards", 50, 0.6, "USD", _ONLINE, 0.6),
    Merchant("Kelp & Co", "groceries", 24, 0.6, "GBP", _LONDON, 16),
    Merchant("Corner Larder", "groceries", 9, 0.6, "GBP", _LEEDS, 12),
    Merchant("Mercearia Tejo", "groceries", 19, 0.6, "EUR", _LISBON, 5),
    Merchant("Café Loti", "coffee", 3.8, 0.3, "GBP", _LONDON, 12),
    Merchant("The Daily Grind ☕️", "coffee", 4.1, 0.3, "EUR", _DUBLIN, 7),
    Merchant("Noodle Bar 麺", "restaurants", 16, 0.4, "GBP", _LONDON, 8),
    Merchant("O Pescador", "restaurants", 31, 0.5, "EUR", _LISBON, 4),
    Merchant("City Trams", "transport", 2.9, 0.2, "GBP", _LEEDS, 11),
    Merchant("Night Taxi", "transport", 14, 0.5, "EUR", _DUBLIN, 4),
    Merchant("Coast Rail", "travel", 46, 0.7, "GBP", _LONDON, 3),
    Merchant("Albatross Air", "travel", 140, 0.6, "EUR", _DUBLIN, 1.5),
    Merchant("Streamly", "subscriptions", 10.99, 0, "GBP", _ONLINE, 4),
    Merchant("Yarn & Thread", "shopping", 38, 0.7, "GBP", _LEEDS, 5),
)
_WEIGHTS = tuple(accumulate(merchant.weight for merchant in _MERCHANTS))
_RISKY = (*_MERCHANTS[:2], *_MERCHANTS[:2], *_MERCHANTS[-5:])
"""Where stolen numbers are tried, those that fall for it more often more than once."""
_METHODS: tuple[list[str], ...] = (["contactless"], ["contactless", "wallet"], ["chip"], ["online"], [])

_FRAUD, _FRAUD_WITH_THE_NEW_RULES = 0.0075, 0.0042
_FRAUD_IN_THE_BAD_WEEK = 0.05
_FALSE_ALARMS, _FALSE_ALARMS_WITH_THE_NEW_RULES = 0.003, 0.0045
_TRIED = 11.0
"""What is tried with a stolen number, usually: little, so that nobody looks."""
_GOLDEN = 0.6180339887498949


class Payments:
    """Payments by card. Each method gives the calls of one payment, in order of time."""

    def __init__(self, rng: Random, sdk: Sdk, people: People, plot: Plot) -> None:
        self._rng = rng
        self._sdk = sdk
        self._people = people
        self._plot = plot
        self._paid = 0

    def pay(self, at: datetime) -> list[Call]:
        """A payment; if it is fraud, it is mostly flagged within two hours and always confirmed within three days."""
        rng = self._rng
        person = self._people.anyone(rng, at)
        is_bad, is_new = self._plot.is_bad(at), self._plot.has_new_rules(at)
        # Evenly spread, as in `App`: four frauds a week would else be two or seven by chance.
        self._paid += 1
        usual = _FRAUD_WITH_THE_NEW_RULES if is_new else _FRAUD
        is_fraud = self._paid * _GOLDEN % 1 < (_FRAUD_IN_THE_BAD_WEEK if is_bad else usual)
        false_alarms = _FALSE_ALARMS_WITH_THE_NEW_RULES if is_new else _FALSE_ALARMS
        merchant = rng.choices(_MERCHANTS, cum_weights=_WEIGHTS)[0]
        if is_fraud:
            merchant = _GADGETS if is_bad else rng.choice(_RISKY)
        payment_id = self._sdk.name("pay")
        amount = (_TRIED if is_fraud else merchant.price) * rng.lognormvariate(0, 0.3 if is_fraud else merchant.spread)
        calls = [self._payment(at, person, payment_id, merchant, round(amount, 2))]
        if is_fraud:
            calls += self._fraud(at, person, payment_id)
        elif rng.random() < false_alarms:
            calls.append(self._flag(at, person, payment_id, 0.5 + 0.3 * rng.random()))
        return calls

    def _payment(self, at: datetime, person: Person, payment_id: str, merchant: Merchant, amount: float) -> Call:
        rng = self._rng
        properties: Json = {
            "payment_id": payment_id,
            "amount": amount,
            "currency": merchant.currency,
            "merchant": merchant.name,
            "category": merchant.category,
            "location": merchant.place,
            "methods": ["online"] if merchant.place is _ONLINE else rng.choice(_METHODS),
            "network_reference": rng.randrange(10**17, 10**18),
            "note": None,
        }
        return self._sdk.track(at, person.phone, person.user_id, "Card Payment", properties)

    def _fraud(self, at: datetime, person: Person, payment_id: str) -> list[Call]:
        rng = self._rng
        calls = []
        if rng.random() < 0.9:
            calls.append(self._flag(at, person, payment_id, 0.8 + 0.2 * rng.random()))
        confirmed = later(at, 3 * 3600 + rng.random() * 60 * 3600)
        properties: Json = {"payment_id": payment_id, "reported_by": "bank" if calls else "customer", "refunded": True}
        calls.append(self._sdk.track(confirmed, person.phone, person.user_id, "Fraud Confirmed", properties))
        return calls

    def _flag(self, at: datetime, person: Person, payment_id: str, risk: float) -> Call:
        rng = self._rng
        properties: Json = {
            "payment_id": payment_id,
            "risk": round(risk, 3),
            "rules": rng.sample(("amount", "country", "merchant", "hour", "velocity"), 1 + rng.randrange(3)),
        }
        flagged = later(at, 60 + rng.random() * 7000)
        return self._sdk.track(flagged, person.phone, person.user_id, "Payment Flagged", properties)
