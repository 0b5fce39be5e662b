"""Webhooks: who may call, as the senders prove it, and what names a delivery."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from catchment.collect.config import WebhookConfig

_TOLERANCE_S = 300.0
"""As Stripe's own libraries have it: an older signature may have been overheard and sent again."""


def is_genuine(
    webhook: WebhookConfig, headers: Mapping[bytes, bytes], query: Mapping[str, str], body: bytes, now: datetime
) -> bool:
    """Whether the request comes from who has the secret. `body` as it came, since signatures are of its bytes."""
    match webhook.scheme:
        case "github":
            given = headers.get(b"x-hub-signature-256", b"")
            return hmac.compare_digest(given, b"sha256=" + _signature(webhook.secret, body))
        case "stripe":
            return _is_stripes(webhook.secret, headers.get(b"stripe-signature", b""), body, now)
        case "secret":
            scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
            given = headers.get(b"x-webhook-secret") or (token.strip() if scheme.lower() == b"bearer" else b"")
            given = given or query.get("secret", "").encode()
            return hmac.compare_digest(given, webhook.secret.encode())


def _is_stripes(secret: str, header: bytes, body: bytes, now: datetime) -> bool:
    parts = [part.strip().partition(b"=") for part in header.split(b",")]
    times = [value for name, _, value in parts if name == b"t"]
    if len(times) != 1 or not times[0].isdigit() or len(times[0]) > 12:
        return False
    if abs(now.timestamp() - int(times[0])) > _TOLERANCE_S:
        return False
    expected = _signature(secret, times[0] + b"." + body)
    # Several while a secret is being replaced: one must be right.
    return any(hmac.compare_digest(value, expected) for name, _, value in parts if name == b"v1")


def _signature(secret: str, body: bytes) -> bytes:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest().encode()


def delivery_id(webhook: WebhookConfig, headers: Mapping[bytes, bytes], payload: Mapping[str, Any]) -> str | None:
    """What the sender calls this delivery, the same when it is delivered again; None where nothing names it."""
    if webhook.scheme == "github":
        given: Any = headers.get(b"x-github-delivery", b"").decode("latin-1")
    else:
        given = payload.get(webhook.id or "id") if webhook.id or webhook.scheme == "stripe" else None
    return str(given) if isinstance(given, str | int) and not isinstance(given, bool) and given != "" else None


def event_name(webhook: WebhookConfig, headers: Mapping[bytes, bytes]) -> str | None:
    """What GitHub says of the event in a header alone."""
    if webhook.scheme != "github":
        return None
    return headers.get(b"x-github-event", b"").decode("latin-1") or None
