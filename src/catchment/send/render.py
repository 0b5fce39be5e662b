"""The second pass over a CSV file: its rows as JSON objects, by whole columns.

A column's type decides how its values are written: canonical text of a number or a boolean is JSON already and
goes out as it stands, everything else as a string.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from json.encoder import encode_basestring

from catchment import sniff
from catchment.errors import UsageError
from catchment.record import MAX_ID_CHARACTERS
from catchment.send.csv import Chunk, Value
from catchment.send.rows import Bad, Batch
from catchment.send.source import Source
from catchment.send.survey import Options, Survey, open_csv

_JSON_ALREADY = frozenset({"boolean", "bigint", "double"})
_escaped_in_json = re.compile(r'[\x00-\x1f"\\]').search


def batches(
    source: Source,
    survey: Survey,
    options: Options,
    id_field: str | None = None,
    names: Sequence[str | None] | None = None,
) -> Iterator[Batch]:
    """The file's rows as JSON objects, in order. A row without a value in `id_field` is bad. `names` are what the
    columns are called, where not as in the file; None leaves one out.

    Raises `UsageError` when there is no such field, and when the file is not what the survey found.
    """
    id_at = None if id_field is None else _position(source, survey, id_field)
    reader = open_csv(source, options, survey.dialect)
    if not options.columns:
        reader.header()
    for chunk in reader.chunks(len(survey.columns)):
        data = objects(names or survey.columns, survey.types, chunk.columns, len(chunk.raw))
        if id_at is None:
            yield Batch(data, chunk.numbers, chunk.lines, chunk.raw, None, chunk.bad, chunk.at_bytes)
        else:
            yield _with_ids(chunk, data, chunk.columns[id_at], id_field or "")


def objects(
    names: Sequence[str | None], types: Sequence[sniff.Type], columns: Sequence[Sequence[Value]], count: int
) -> list[str]:
    """One JSON object a row, of `count` rows given column by column; a column without a name is left out.

    The pieces of all rows are laid out in one list, a column at a time, and joined: several times as fast as
    row by row.
    """
    if not count:
        return []
    kept = [(name, kind, of) for name, kind, of in zip(names, types, columns, strict=True) if name is not None]
    width = 2 * len(kept) + 1
    pieces = [""] * (count * width)
    before = "{"
    for at, (name, kind, values) in enumerate(kept):
        texts, around = _json_texts(kind, values)
        pieces[2 * at :: width] = [f"{before}{encode_basestring(name)}:{around}"] * count
        pieces[2 * at + 1 :: width] = texts
        before = f"{around},"
    pieces[width - 1 :: width] = [f"{before[:-1]}}}\n"] * count
    rows = "".join(pieces).split("\n")  # JSON holds no line end of its own
    rows.pop()
    return rows


def _json_texts(kind: sniff.Type, values: Sequence[Value]) -> tuple[Sequence[str], str]:
    """A column's values as JSON, and the quote to put around each of them."""
    nulls = not all(values) and None in values  # the first half is fast, and settles it for most columns
    if kind in _JSON_ALREADY:
        return (["null" if value is None else value for value in values] if nulls else values), ""  # type: ignore[return-value]
    if nulls or _escaped_in_json("".join(values)):  # type: ignore[arg-type]  # no null among them
        return ["null" if value is None else encode_basestring(value) for value in values], ""
    return values, '"'  # type: ignore[return-value]


def _position(source: Source, survey: Survey, id_field: str) -> int:
    if id_field not in survey.columns:
        raise UsageError(
            f"{source.name} has no field {id_field!r} for --id", f"its fields are {', '.join(survey.columns)}"
        )
    return survey.columns.index(id_field)


def _with_ids(chunk: Chunk, data: Sequence[str], ids: Sequence[Value], id_field: str) -> Batch:
    good: list[int] = []
    bad = list(chunk.bad)
    for at, text in enumerate(ids):
        fault = id_fault(text, id_field)
        if fault:
            bad.append(Bad(chunk.numbers[at], chunk.lines[at], "not-a-record", fault, chunk.raw[at].encode()))
        else:
            good.append(at)
    return Batch(
        [data[at] for at in good],
        [chunk.numbers[at] for at in good],
        [chunk.lines[at] for at in good],
        [chunk.raw[at] for at in good],
        [ids[at] or "" for at in good],
        bad,
        chunk.at_bytes,
    )


def id_fault(text: Value, id_field: str) -> str:
    """Why a text is no id; empty if it is one."""
    if not text:
        return f"its field {id_field!r}, which --id names, is missing or empty"
    if len(text) > MAX_ID_CHARACTERS:
        return f"its field {id_field!r}, which --id names, has {len(text):,} characters; {MAX_ID_CHARACTERS} may be"
    return ""
