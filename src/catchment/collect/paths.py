"""Where SDKs post their calls: Segment's paths and its browser SDK's short ones, RudderStack's beacons, Jitsu's."""

from __future__ import annotations

from catchment.collect.calls import KINDS

_BATCHES = ("/v1/batch", "/v1/b", "/v1/import", "/beacon/v1/batch", "/api/s/batch", "/api/s/s2s/batch")


def _kinds_by_path() -> dict[str, str]:
    kinds = dict.fromkeys(_BATCHES, "batch")
    for kind in KINDS:
        short = f"/v1/{kind[0]}"
        for path in (short, f"/v1/{kind}", f"/beacon/v1/{kind}", f"/api/s/{kind}", f"/api/s/s2s/{kind}"):
            kinds[path] = kind
    return kinds


KINDS_BY_PATH = _kinds_by_path()
"""The kind of call that a path takes, or `batch`."""
