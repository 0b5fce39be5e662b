"""What a source wants to know less of, and whom it wants to tell apart: fields that are dropped or masked, people who
ask not to be tracked, bots and its own staff. Bots and staff are flagged, never dropped."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from ipaddress import ip_network
from typing import Any

from catchment.collect.addresses import parsed
from catchment.collect.calls import Call, Calls
from catchment.collect.config import SourceConfig

_ATTRIBUTES = {"userId": "user_id", "anonymousId": "anonymous_id", "groupId": "group_id", "previousId": "previous_id"}
"""As clients call them → as `Call` does, where that differs."""
_BOTS = ("bot", "crawl", "spider", "slurp", "headless", "lighthouse", "preview")
"""What those who say so call themselves."""
_MAX_REMEMBERED = 10_000


class Privacy:
    """The rules of one source."""

    def __init__(self, name: str, config: SourceConfig) -> None:
        self._name = name
        self._do_not_track = config.do_not_track
        self._paths = [(path.split("."), False) for path in config.drop] + [
            (path.split("."), True) for path in config.mask
        ]
        self._drops_address = any(path == ["context", "ip"] for path, _ in self._paths)
        self._bots = (*_BOTS, *(pattern.lower() for pattern in config.bots))
        self._internal = [ip_network(network, strict=False) for network in config.internal]
        self._agents: dict[str, bool] = {}

    def is_dropped(self, headers: Mapping[bytes, bytes]) -> bool:
        """Whether nothing of this request may be kept."""
        return self._do_not_track == "drop" and _asks_not_to_be_tracked(headers)

    def keeps_address(self, headers: Mapping[bytes, bytes]) -> bool:
        """Whether the address of a request may be kept with its events."""
        return not self._drops_address and not self._is_anonymous(headers)

    def _is_anonymous(self, headers: Mapping[bytes, bytes]) -> bool:
        return self._do_not_track == "anonymous" and _asks_not_to_be_tracked(headers)

    def apply(self, calls: Calls, headers: Mapping[bytes, bytes], address: str | None) -> None:
        """Change the calls of a request as the rules want. `address` is that of a browser, None of another client."""
        anonymous = self._is_anonymous(headers)
        if anonymous or self._paths:
            calls.is_changed = True
            for call in calls.good:
                self._clean(call, anonymous)
            if calls.context:
                self._clean_context(calls.context)
        agent = headers.get(b"user-agent", b"").decode("latin-1") if address is not None else ""
        is_internal = address is not None and self._is_internal(address)
        for call in calls.good:
            own = call.context.get("userAgent") if call.context else None
            if self._is_bot(own if isinstance(own, str) else agent):
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

    def _clean(self, call: Call, anonymous: bool) -> None:
        if anonymous:
            call.user_id = call.anonymous_id = call.previous_id = call.traits = None
            if call.context:
                call.context = {name: value for name, value in call.context.items() if name not in {"ip", "traits"}}
        for path, is_masked in self._paths:
            field = _ATTRIBUTES.get(path[0], path[0])
            value = getattr(call, field)
            if value is None:
                continue
            if len(path) == 1:
                setattr(call, field, self._mask(value) if is_masked else None)
            else:
                self._clean_object(value, path[1:], is_masked)

    def _clean_context(self, context: dict[str, Any]) -> None:
        for path, is_masked in self._paths:
            if path[0] == "context" and len(path) > 1:
                self._clean_object(context, path[1:], is_masked)

    def _clean_object(self, values: Any, path: list[str], is_masked: bool) -> None:
        for name in path[:-1]:
            values = values.get(name) if isinstance(values, dict) else None
        if not isinstance(values, dict) or values.get(path[-1]) is None:
            return
        if is_masked:
            values[path[-1]] = self._mask(values[path[-1]])
        else:
            del values[path[-1]]

    def _mask(self, value: Any) -> str:
        """The same for the same value, so that it can be counted and joined, and no way back."""
        return hashlib.sha256(f"{self._name}/{value}".encode()).hexdigest()[:32]


def _asks_not_to_be_tracked(headers: Mapping[bytes, bytes]) -> bool:
    """Global Privacy Control, or its forerunner Do-Not-Track."""
    return headers.get(b"sec-gpc") == b"1" or headers.get(b"dnt") == b"1"
