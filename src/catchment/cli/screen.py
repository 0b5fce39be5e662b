"""Text for a terminal: what others sent must not move its cursor, colour it, retitle it or hide.

What is piped on is left as it is, byte by byte.
"""

from __future__ import annotations

import codecs
import sys
from typing import BinaryIO

from catchment.rendering import Out


def visible(text: str) -> str:
    """One line, with escapes for what would not be seen as it stands."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def visible_lines(text: str) -> str:
    """The same for several lines, which stay lines."""
    return "\n".join(map(visible, text.split("\n")))


class Screen:
    """Writes UTF-8 to a terminal so that all of it is seen."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._decode = codecs.getincrementaldecoder("utf-8")("backslashreplace").decode

    def write(self, data: bytes, /) -> int:
        """Write the data, of which a character may have come in part."""
        self._out.write(visible_lines(self._decode(data)).encode(errors="backslashreplace"))
        return len(data)


def stdout() -> Out:
    """Standard output for bytes: made visible on a terminal."""
    return Screen(sys.stdout.buffer) if sys.stdout.isatty() else sys.stdout.buffer
