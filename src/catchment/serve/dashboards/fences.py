"""Fences as their lines say them: what they are called, what SQL they hold, and what is wrong with each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from catchment.naming import snake_case
from catchment.serve.dashboards.board import Fence, Filter, Mistake, Place, Prose, Source, sentence
from catchment.serve.dashboards.info import Info, read_info
from catchment.serve.dashboards.layout import FenceLines, ProseLines
from catchment.serve.dashboards.options import KINDS, VEGA_LITE, VEGA_LITE_WIDTH
from catchment.serve.dashboards.sql_text import sql_mistakes
from catchment.serve.dashboards.vega_lite import datasets, read_spec


@dataclass(slots=True)
class _Read:
    """A fence on its way: its lines, what its first line says, and its mistakes until now."""

    path: str
    lines: FenceLines
    info: Info
    body: Source
    mistakes: list[Mistake]
    id: str = ""

    def note(self, place: Place, text: str) -> None:
        self.mistakes.append(Mistake(self.path, place.line, place.column, text))

    def note_body(self, offset: int, text: str) -> None:
        self.note(self.body.at(offset), text)


def read_parts(
    path: str,
    lines: list[str],
    parts: Sequence[FenceLines | ProseLines],
    filters: Mapping[str, Filter] | None,
    dialect: str,
) -> tuple[Prose | Fence, ...]:
    """The fences and the prose; `filters` is None where it is not known which there are."""
    types = None if filters is None else {name: each.type for name, each in filters.items()}
    reads = {part.start: _read(path, lines, part, types) for part in parts if isinstance(part, FenceLines)}
    queries = {read.info.id for read in reads.values() if read.info.kind == "query" and read.info.id}
    _name(list(reads.values()), queries)
    return tuple(
        _prose(lines, part) if isinstance(part, ProseLines) else _fence(reads[part.start], queries, filters, dialect)
        for part in parts
    )


def _prose(lines: list[str], part: ProseLines) -> Prose:
    return Prose("\n".join(lines[part.start - 1 : part.end]), part.start, part.end)


def _read(path: str, lines: list[str], part: FenceLines, filter_types: Mapping[str, str] | None) -> _Read:
    last = part.end - 1 if part.is_closed else part.end
    body = Source("\n".join(lines[part.start : last]), Place(part.start + 1, 1))
    read = _Read(path, part, Info(), body, [])
    read.info = read_info(
        lines[part.start - 1],
        part.info,
        VEGA_LITE if part.language == VEGA_LITE else None,
        filter_types,
        lambda offset, text: read.note(Place(part.start, offset + 1), text),
    )
    if not part.is_closed:
        read.note(Place(part.start, 1), "the fence is not closed: ``` alone on a line ends it")
    return read


def _name(reads: Sequence[_Read], queries: set[str]) -> None:
    """Gives each fence its id: the one written, else one made from its title, which is nobody else's."""
    first_with: dict[str, _Read] = {}
    unnamed: list[_Read] = []
    for read in reads:
        written = read.info.id
        if written is None or (read.info.kind == VEGA_LITE and written in queries):
            unnamed.append(read)
        elif written.lower() in first_with:
            first = first_with[written.lower()]
            read.note(_at(read, "id"), f"duplicate id '{written}': line {first.lines.start} has it")
            unnamed.append(read)
        else:
            read.id = written
            first_with[written.lower()] = read
    taken = set(first_with)
    numbers: dict[str, int] = {}
    for read in unnamed:
        if read.info.kind == "query" and read.info.id is None and not read.mistakes:
            read.note(Place(read.lines.start, 1), "a query needs an id, by which other fences read it")
        wanted = snake_case(read.info.title or read.info.id or read.info.kind or "tile")
        read.id = wanted
        while read.id in taken:
            numbers[wanted] = numbers.get(wanted, 1) + 1
            read.id = f"{wanted}_{numbers[wanted]}"
        taken.add(read.id)


def _fence(read: _Read, queries: set[str], filters: Mapping[str, Filter] | None, dialect: str) -> Fence:
    info = read.info
    spec: dict[str, Any] | None = None
    if info.kind == VEGA_LITE:
        query = info.id if info.id in queries else None
        spec = read_spec(read.body.text, query, queries, read.note_body)
    else:
        for offset, text in sql_mistakes(read.body.text, filters, dialect):
            read.note_body(offset, text)
    usual = VEGA_LITE_WIDTH if info.kind in {VEGA_LITE, None} else KINDS[info.kind].width
    return Fence(
        id=read.id,
        kind=info.kind,
        title=info.title or (sentence(info.id or info.kind or "tile")),
        width=info.width or usual,
        options=info.options,
        sql=read.body,
        start=read.lines.start,
        end=read.lines.end,
        places={key: Place(read.lines.start, offset + 1) for key, offset in info.offsets.items()},
        spec=spec,
        datasets=datasets(spec) if spec is not None else (),
        mistakes=tuple(sorted(set(read.mistakes))),
    )


def _at(read: _Read, key: str) -> Place:
    return Place(read.lines.start, read.info.offsets[key] + 1)
