"""One colour for each value, on every tile and dashboard, whatever filters leave out."""

from __future__ import annotations

from collections.abc import Callable, Mapping

FIRST, LAST = 2, 8


class Palette:
    """Which of the series' colours 2 to 8 a value of a column has: the first free one when it is first seen.

    `remembered` is what earlier processes gave out, `remember` keeps what is new.
    """

    def __init__(
        self,
        remembered: Mapping[tuple[str, str], int] = {},
        remember: Callable[[str, str, int], object] = lambda column, value, color: None,
    ) -> None:
        self._colors: dict[tuple[str, str], int] = dict(remembered)
        self._remember = remember

    def color(self, column: str, value: str) -> str:
        """The token, such as `s3`. A column with more than seven values uses them again."""
        key = (column.lower(), value)
        if key not in self._colors:
            taken = [color for (other, _), color in self._colors.items() if other == key[0]]
            free = [color for color in range(FIRST, LAST + 1) if color not in taken]
            self._colors[key] = free[0] if free else FIRST + len(taken) % (LAST - FIRST + 1)
            self._remember(key[0], value, self._colors[key])
        return f"s{self._colors[key]}"
