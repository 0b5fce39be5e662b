"""Numbers as d3-format writes them, since the browser's charts and the server's pages must say the same."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from decimal import ROUND_HALF_UP, Decimal, localcontext
from functools import lru_cache

Number = int | float | Decimal

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
    def is_signed(self) -> bool:
        """Whether a plus is written, as for numbers that may as well be negative."""
        return self.sign == "+"

    @property
    def is_percent(self) -> bool:
        """Whether a hundredth is shown as 1."""
        return self.type in {"%", "p"}


@lru_cache(maxsize=512)
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


def write(value: Number, how: Format) -> str:
    """The number as d3 writes it. An int or Decimal is exact, however long; a float is rounded as a browser rounds."""
    if isinstance(value, float) and not math.isfinite(value):
        return _put_together("NaN" if math.isnan(value) else "Infinity", "", value < 0, how)
    quick = _quick(value, how)
    if quick is not None:
        return quick
    body, exponent = _body(value, how)
    is_negative = math.copysign(1, value) < 0 if isinstance(value, float) else value < 0
    if is_negative and how.sign != "+" and not Decimal(body):
        is_negative = False
    return _put_together(body, _PREFIXES[8 + exponent // 3] if how.type == "s" else "", is_negative, how)


def shown_value(value: Number, how: Format) -> Decimal:
    """The number that is read in what `write` says: 55 where 54.6 is shown as 55, 0.48 where it is 48%."""
    body, exponent = _body(value, how)
    shown = Decimal(body).scaleb(exponent - (2 if how.is_percent else 0))
    return -shown if value < 0 else shown


def usual_format(value: Number) -> Format:
    """How a number is written in large where its author says nothing: so that it is read at a glance."""
    if isinstance(value, int) or value == int(value):
        return parse_format(",d")
    size = abs(Decimal(value))
    return parse_format(",.0f" if size >= 1000 else ",.1~f" if size >= 10 else ",.2~f" if size >= 1 else ".3~r")


def trimmed(how: Format) -> Format:
    """The same without a written plus and without zeros at the end, as a target is written."""
    return replace(how, sign="-", trim=how.type not in {"", "d"} or how.trim, width=0, zero=False)


# ---- digits ---------------------------------------------------------------------------------------------

_PREFIXES = ("y", "z", "a", "f", "p", "n", "µ", "m", "", "k", "M", "G", "T", "P", "E", "Z", "Y")
_WIDEST = 400
"""Digits of precision that are enough for any double, and any number of a warehouse."""
_MAX_EXACT = 2**53
_JS_FIXED_LIMIT = Decimal(10) ** 21


def _quick(value: Number, how: Format) -> str | None:
    """The number by Python's own formatting, for the plain formats of charts and tables, where it says the same: it
    rounds halves to even digits, and d3 up. None where that or anything else needs a closer look."""
    if how.width or how.symbol or how.sign == "(" or isinstance(value, Decimal):
        return None
    if how.type in {"f", "%", "d"} and not how.trim:
        written = _quick_fixed(abs(value * 100 if how.type == "%" else value), how)
    elif how.type == "" or (how.type == "g" and how.trim):
        written = _quick_precise(abs(value), how)
    else:
        return None
    if written is None:
        return None
    is_negative = math.copysign(1, value) < 0 if isinstance(value, float) else value < 0
    has_minus = is_negative and (how.sign == "+" or bool(written.strip("0.,")))
    sign = "−" if has_minus else "" if how.sign == "-" else how.sign
    return f"{sign}{written}{'%' if how.type == '%' else ''}"


def _quick_fixed(number: int | float, how: Format) -> str | None:
    digits = 0 if how.type == "d" else 6 if how.precision is None else how.precision
    if isinstance(number, int):
        return None if digits else _whole(number, how)
    halves = number * 2 * 10**digits
    if not halves < _MAX_EXACT or (halves == int(halves) and int(halves) % 2):
        return None
    return f"{number:{',' if how.comma else ''}.{digits}f}"


def _quick_precise(number: int | float, how: Format) -> str | None:
    digits = (12 if how.type == "" else 6) if how.precision is None else how.precision
    if isinstance(number, int):
        return _whole(number, how) if number < 10**digits else None
    # Fewer digits have exponents of one digit, which Python writes with two; so have numbers below these.
    if digits < 10 or (number and number < 1e-4):
        return None
    is_near_half = f"{number:.{digits}e}".partition("e")[0].endswith("5")
    return None if is_near_half else f"{number:{',' if how.comma else ''}.{digits}g}"


def _whole(number: int, how: Format) -> str:
    return f"{number:,d}" if how.comma else str(number)


def _body(value: Number, how: Format) -> tuple[str, int]:
    """The digits of the number without its sign, and the power of ten that is written behind them as a letter."""
    if how.is_percent:
        # A browser multiplies doubles; what is no double is exact.
        value = value * 100 if isinstance(value, int | float) else _exactly(value) * 100
    is_double = isinstance(value, float)
    with localcontext() as context:
        context.prec = _WIDEST
        number = abs(_exactly(value))
        precision = 6 if how.precision is None else how.precision
        if how.type in {"g", "p", "r", "s"}:
            precision = max(1, precision)
        exponent = 0
        match how.type:
            case "d":
                # Beyond 2^53 a browser writes the fewest digits that mean this double.
                is_vague = is_double and number > _MAX_EXACT
                body = f"{Decimal(repr(abs(float(value)))):f}" if is_vague else _fixed(number, 0)
                body = body.partition(".")[0]
            case "f" | "%":
                body = str(float(number)) if is_double and number >= _JS_FIXED_LIMIT else _fixed(number, precision)
            case "e":
                body = _exponential(number, precision)
            case "g":
                body = _precise(number, precision)
            case "r" | "p":
                body = _rounded(number, precision)
            case "s":
                body, exponent = _with_prefix(number, precision)
            case _:
                body = _precise(number, max(1, 12 if how.precision is None else how.precision))
    if how.trim or not how.type:
        body = _trim(body)
    return body, exponent


def _exactly(value: Number) -> Decimal:
    return value if isinstance(value, Decimal) else Decimal(value)


def _fixed(number: Decimal, digits: int) -> str:
    return f"{number.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP):f}"


def _parts(number: Decimal, digits: int) -> tuple[str, int]:
    """So many significant digits, and the power of ten of the first."""
    if not number:
        return "0" * digits, 0
    exponent = number.adjusted()
    rounded = number.quantize(Decimal(1).scaleb(exponent - digits + 1), ROUND_HALF_UP)
    if rounded.adjusted() > exponent:  # 9.99 became 10.0
        exponent += 1
        rounded = rounded.quantize(Decimal(1).scaleb(exponent - digits + 1), ROUND_HALF_UP)
    return "".join(map(str, rounded.as_tuple().digits)).rjust(digits, "0"), exponent


def _exponential(number: Decimal, digits: int) -> str:
    coefficient, exponent = _parts(number, digits + 1)
    point = f".{coefficient[1:]}" if digits else ""
    return f"{coefficient[0]}{point}e{'-' if exponent < 0 else '+'}{abs(exponent)}"


def _precise(number: Decimal, digits: int) -> str:
    _, exponent = _parts(number, digits)
    if exponent < -6 or exponent >= digits:
        return _exponential(number, digits - 1)
    return _fixed(number, max(0, digits - 1 - exponent))


def _rounded(number: Decimal, digits: int) -> str:
    coefficient, exponent = _parts(number, digits)
    return _placed(coefficient, exponent + 1)


def _with_prefix(number: Decimal, digits: int) -> tuple[str, int]:
    coefficient, exponent = _parts(number, digits)
    power = max(-8, min(8, exponent // 3)) * 3
    point = exponent - power + 1
    if point <= 0:  # less than a yocto
        shorter = _parts(number, digits + point - 1)[0] if digits + point > 1 else _shortest(number)
        return f"0.{'0' * -point}{shorter}", power
    return _placed(coefficient, point), power


def _shortest(number: Decimal) -> str:
    return "".join(map(str, Decimal(repr(float(number))).normalize().as_tuple().digits))


def _placed(coefficient: str, point: int) -> str:
    """The digits with a point after so many of them."""
    if point <= 0:
        return f"0.{'0' * -point}{coefficient}"
    if len(coefficient) > point:
        return f"{coefficient[:point]}.{coefficient[point:]}"
    return coefficient.ljust(point, "0")


_ZEROS = re.compile(r"(?P<whole>\d+)(?:\.0*|(?P<part>\.\d*?[1-9])0*)(?P<rest>e.*)?\Z")


def _trim(body: str) -> str:
    found = _ZEROS.match(body)
    return f"{found['whole']}{found['part'] or ''}{found['rest'] or ''}" if found else body


# ---- what stands around them ------------------------------------------------------------------------------


def _put_together(body: str, prefix_letter: str, is_negative: bool, how: Format) -> str:
    is_zero_filled = how.zero or (how.fill == "0" and how.align == "=")
    fill, align = ("0", "=") if is_zero_filled else (how.fill, how.align)
    is_in_parentheses = how.sign == "("
    plain_sign = "" if how.sign in {"-", "("} else how.sign
    before = plain_sign if not is_negative else "(" if is_in_parentheses else "−"
    before += how.symbol
    whole = re.match(r"\d*", body)
    assert whole is not None, "a number begins with digits, and what is none has none"
    digits, after = whole[0], body[whole.end() :]
    if not digits:
        digits, after = body, ""
    after += prefix_letter + ("%" if how.is_percent and not how.symbol else "")
    after += ")" if is_negative and is_in_parentheses else ""
    if how.comma and not is_zero_filled:
        digits = _grouped(digits, None)
    padding = fill * (how.width - len(before) - len(digits) - len(after))
    if how.comma and is_zero_filled:
        digits = _grouped(padding + digits, how.width - len(after) if padding else None)
        padding = ""
    match align:
        case "<":
            return before + digits + after + padding
        case "=":
            return before + padding + digits + after
        case "^":
            half = len(padding) // 2
            return padding[:half] + before + digits + after + padding[half:]
    return padding + before + digits + after


def _grouped(digits: str, width: int | None) -> str:
    """Commas between thousands, from the right; at most `width` characters of digits and commas."""
    groups: list[str] = []
    at, length = len(digits), 0
    while at > 0:
        size = 3 if width is None or length + 4 <= width else max(1, width - length)
        groups.append(digits[max(0, at - size) : at])
        at -= size
        length += size + 1
        if width is not None and length > width:
            break
    return ",".join(reversed(groups))
