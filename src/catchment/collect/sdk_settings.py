"""What browser SDKs load before they start: that there is nothing to send to but here."""

from __future__ import annotations

import msgspec


def segment_settings(key: str) -> bytes:
    """What Segment's browser SDK loads before it starts: nothing to send to but here."""
    return msgspec.json.encode(
        {
            "integrations": {"Segment.io": {"apiKey": key, "unbundledIntegrations": []}},
            "plan": {"track": {"__default": {"enabled": True, "integrations": {}}}},
            "edgeFunction": {},
        }
    )


def rudder_settings(name: str, key: str) -> bytes:
    """What RudderStack's browser SDK loads before it starts."""
    source = {
        "id": name,
        "name": name,
        "writeKey": key,
        "enabled": True,
        "workspaceId": "catchment",
        "connections": [],
        "destinations": [],
        "dataplanes": {},
        "config": {"statsCollection": {"errors": {"enabled": False}, "metrics": {"enabled": False}}},
    }
    return msgspec.json.encode({"source": source, "updatedAt": "2024-01-01T00:00:00.000Z"})
