"""The floor under an HTTP collector: granian's RSGI, which decodes each event and answers, and stores nothing."""

from __future__ import annotations

from typing import Any

import msgspec

_decode = msgspec.json.Decoder(dict[str, Any]).decode


async def app(scope: Any, protocol: Any) -> None:
    """Decode one body and answer."""
    _decode(await protocol())
    protocol.response_str(200, [("content-type", "application/json")], '{"success":true}')
