"""What a source wants to know less of, and whom it wants to tell apart: fields that are dropped or masked, people who
ask not to be tracked, bots and its own staff. Bots and staff are flagged, never dropped."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_network
from typing import Any

import msgspec

from catchment.addresses import parsed
from catchment.collect.calls import BadCall, Call, Calls, check_values, read_any
from catchment.collect.config import SourceConfig
from catchment.errors import Malformed

_ATTRIBUTES = {"userId": "user_id", "anonymousId": "anonymous_id", "groupId": "group_id", "previousId": "previous_id"}
"""As clients call them → as `Call` does, where that differs."""
_BOTS = ("bot", "crawl", "spider", "slurp", "headless", "lighthouse", "preview")
"""What those who say so call themselves."""
_MAX_REMEMBERED = 10_000
_ANONYMOUS = ("userId", "anonymousId", "previousId", "traits", "context.ip")
"""What tells who somebody is."""

_Rule = tuple[tuple[str, ...], bool]
"""A field by its path, and whether a hash of it stays."""


class Privacy:
    """The rules of one source."""

    def __init__(self, name: str, config: SourceConfig) -> None:
        self._name = name
        self._do_not_track = config.do_not_track
        self._rules = [*_rules(config.drop, is_masked=False), *_rules(config.mask, is_masked=True)]
        self._anonymous = [*_rules(_ANONYMOUS, is_masked=False), *self._rules]
        self._bots = (*_BOTS, *(pattern.lower() for pattern in config.bots))
        self._internal = [ip_network(network, strict=False) for network in config.internal]
        self._agents: dict[str, bool] = {}

    def is_dropped(self, headers: Mapping[bytes, bytes]) -> bool:
        """Whether nothing of this request may be kept."""
        return self._do_not_track == "drop" and _asks_not_to_be_tracked(headers)

    def keeps_address(self, headers: Mapping[bytes, bytes]) -> bool:
        """Whether the address of a request may be kept with its events."""
        return all(path != ("context", "ip") for path, _ in self._rules_for(headers))

    def apply(self, calls: Calls, headers: Mapping[bytes, bytes], address: str | None) -> None:
        """Change the calls of a request as the rules want, those too that become dead letters. `address` is that of a
        browser, None of another client."""
        rules = self._rules_for(headers)
        if rules:
            calls.is_changed = True
            for call in calls.good:
                self._clean_call(call, rules)
            calls.bad = [BadCall(self._cleaned(bad.body, rules), bad.error) for bad in calls.bad]
            if calls.context:
                self._clean({"context": calls.context}, rules)
        self._flag(calls, headers, address)

    def cleaned(self, body: bytes, headers: Mapping[bytes, bytes]) -> bytes:
        """A body that is to become a dead letter, less what may not be kept; as it is where it is no JSON, in which
        nobody can tell fields."""
        rules = self._rules_for(headers)
        return self._cleaned(body, rules) if rules else body

    def _rules_for(self, headers: Mapping[bytes, bytes]) -> list[_Rule]:
        if self._do_not_track == "anonymous" and _asks_not_to_be_tracked(headers):
            return self._anonymous
        return self._rules

    # ---- fields -----------------------------------------------------------------------

    def _clean_call(self, call: Call, rules: list[_Rule]) -> None:
        for (first, *rest), is_masked in rules:
            field = _ATTRIBUTES.get(first, first)
            value = getattr(call, field)
            if rest:
                self._clean(value, [(tuple(rest), is_masked)])
            elif value is not None:
                setattr(call, field, self._mask(value) if is_masked else None)

    def _cleaned(self, body: bytes, rules: list[_Rule]) -> bytes:
        try:
            check_values(body)
            value = read_any(body)
        except Malformed:
            return body
        inner = value.get("batch") if isinstance(value, dict) else value
        for each in (value, *(inner if isinstance(inner, list) else ())):
            self._clean(each, rules)
        return msgspec.json.encode(value)

    def _clean(self, values: Any, rules: list[_Rule]) -> None:
        """Take the fields out of an object, or their values. What is no object has none."""
        for (*above, name), is_masked in rules:
            inner = values
            for each in above:
                inner = inner.get(each) if isinstance(inner, dict) else None
            if not isinstance(inner, dict) or inner.get(name) is None:
                continue
            if is_masked:
                inner[name] = self._mask(inner[name])
            else:
                del inner[name]

    def _mask(self, value: Any) -> str:
        """The same for the same value, so that it can be counted and joined. Who guesses a value can check it."""
        return hashlib.sha256(f"{self._name}/{value}".encode()).hexdigest()[:32]

    # ---- bots and staff ---------------------------------------------------------------

    def _flag(self, calls: Calls, headers: Mapping[bytes, bytes], address: str | None) -> None:
        agent = headers.get(b"user-agent", b"").decode("latin-1") if address is not None else ""
        shared = _agent_of(calls.context) or agent
        is_internal = address is not None and self._is_internal(address)
        for call in calls.good:
            if self._is_bot(_agent_of(call.context) or shared):
                call.context = {**(call.context or {}), "isBot": True}
            if is_internal:
                call.context = {**(call.context or {}), "isInternal": True}

    def _is_bot(self, agent: str) -> bool:
        known = self._agents.get(agent)
        if known is None:
            lower = agent.lower()
            known = any(pattern in lower for pattern in self._bots)
            if len(self._agents) < _MAX_REMEMBERED and len(agent) < 500:
                self._agents[agent] = known
        return known

    def _is_internal(self, address: str) -> bool:
        found = parsed(address) if self._internal else None
        return found is not None and any(found in network for network in self._internal)


def _agent_of(context: dict[str, Any] | None) -> str:
    agent = context.get("userAgent") if context else None
    return agent if isinstance(agent, str) else ""


def _rules(paths: Iterable[str], *, is_masked: bool) -> Iterator[_Rule]:
    for path in paths:
        parts = tuple(path.split("."))
        yield parts, is_masked
        if parts[0] == "traits":  # some SDKs give them as a part of the context
            yield ("context", *parts), is_masked


def _asks_not_to_be_tracked(headers: Mapping[bytes, bytes]) -> bool:
    """Global Privacy Control, or its forerunner Do-Not-Track."""
    return headers.get(b"sec-gpc") == b"1" or headers.get(b"dnt") == b"1"
