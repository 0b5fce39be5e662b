"""What browsers send that is nearly JSON: invalid UTF-8, half of an emoji, NUL, a byte order mark.

One clipped emoji must not cost a batch of events: what is no text becomes U+FFFD, and the rest stays as it is.
"""

from __future__ import annotations

import re

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_ESCAPE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"  # a pair: one character
    rb"|\\u(?:0000|[dD][89a-fA-F][0-9a-fA-F]{2})"  # NUL, or half of a pair
    rb"|\\."  # any other escape, so that the u of \\u0000 is not taken for one
    rb"|\x00",
    re.DOTALL,
)


def repaired(body: bytes) -> bytes:
    """The same JSON with U+FFFD for what is no text: never longer by more than a factor of three."""
    body = body.removeprefix(_BYTE_ORDER_MARK)
    if not body.isascii():
        body = body.decode("utf-8", "replace").encode()
    return _ESCAPE.sub(_replaced, body)


def _replaced(found: re.Match[bytes]) -> bytes:
    escape = found[0]
    if escape == b"\x00" or (len(escape) == 6 and escape[1:2] == b"u"):
        return b"\\ufffd"
    return escape
