"""Numbers as d3-format writes them, since the browser's charts and the server's pages must say the same."""

from __future__ import annotations

import re
from dataclasses import dataclass

TYPES = ("", "%", "d", "e", "f", "g", "p", "r", "s")

_SPECIFIER = re.compile(
    r"(?:(?P<fill>.)?(?P<align>[<>=^]))?(?P<sign>[+\-( ])?(?P<symbol>\$)?(?P<zero>0)?(?P<width>\d+)?(?P<comma>,)?"
    r"(?:\.(?P<precision>\d+))?(?P<trim>~)?(?P<type>[a-zA-Z%])?\Z"
)
MAX_WIDTH = 40
MAX_PRECISION = 20


@dataclass(frozen=True, slots=True)
class Format:
    """`[[fill]align][sign][symbol][0][width][,][.precision][~][type]`; the browser takes `text` as it is."""

    text: str
    fill: str
    align: str
    sign: str
    symbol: str
    zero: bool
    width: int
    comma: bool
    precision: int | None
    trim: bool
    type: str

    @property
    def is_percent(self) -> bool:
        """Whether a hundredth is shown as 1."""
        return self.type in {"%", "p"}


def parse_format(text: str) -> Format:
    """Raises ValueError in words for the author of a dashboard."""
    found = _SPECIFIER.match(text)
    if found is None:
        raise ValueError("no number's format of d3, such as .0f or ,.1% or .3s")
    kind = found["type"] or ""
    if kind not in TYPES:
        raise ValueError(f"no type '{kind}' of number; types: {' '.join(filter(None, TYPES))}")
    width, precision = int(found["width"] or 0), found["precision"]
    if width > MAX_WIDTH or (precision is not None and int(precision) > MAX_PRECISION):
        raise ValueError(f"at most {MAX_WIDTH} wide and {MAX_PRECISION} digits precise")
    return Format(
        text=text,
        fill=found["fill"] or " ",
        align=found["align"] or ">",
        sign=found["sign"] or "-",
        symbol=found["symbol"] or "",
        zero=found["zero"] is not None,
        width=width,
        comma=found["comma"] is not None,
        precision=None if precision is None else int(precision),
        trim=found["trim"] is not None,
        type=kind,
    )
