"""How often somebody may ask: a token bucket for each, in memory that is bounded."""

from __future__ import annotations

from collections import OrderedDict

_BURST_S = 10.0
"""Who was quiet may send what these seconds allow, at once."""
_MAX_BUCKETS = 100_000


class Rates:
    """A bucket for each name, `per_s` tokens a second; 0 is no limit. Times are in seconds of any steady clock."""

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._full = max(per_s * _BURST_S, 1.0)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, name: str, tokens: float, now_s: float) -> float:
        """Take tokens, and answer 0; or, where there are too few, take none and answer after how many seconds there
        will be. Whoever asks for more than a full bucket gets it from a full one, and owes the rest."""
        if not self._per_s:
            return 0.0
        left, then_s = self._buckets.get(name, (self._full, now_s))
        left = min(self._full, left + (now_s - then_s) * self._per_s)
        wanted = min(tokens, self._full)
        if left < wanted:
            return (wanted - left) / self._per_s
        self._buckets[name] = left - tokens, now_s
        self._buckets.move_to_end(name)
        if len(self._buckets) > _MAX_BUCKETS:  # the one longest unused is the fullest
            self._buckets.popitem(last=False)
        return 0.0
