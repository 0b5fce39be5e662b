"""Everything wrong in a project's dashboards that can be seen without a warehouse."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from catchment.serve.dashboards.board import Mistake
from catchment.serve.dashboards.files import MAX_BYTES, dashboard_files
from catchment.serve.dashboards.read import read_board


def check_dashboards(root: Path, dialect: str = "duckdb") -> list[Mistake]:
    """Every mistake of every dashboard, by file and place; files are named as from the project's folder."""
    return [mistake for path in dashboard_files(root) for mistake in _of_file(root, path, dialect)]


def _of_file(root: Path, path: Path, dialect: str) -> Iterator[Mistake]:
    name = path.relative_to(root).as_posix()
    try:
        content = path.read_bytes()
    except OSError as error:
        yield Mistake(name, 1, 1, f"cannot be read: {error.strerror}")
        return
    if len(content) > MAX_BYTES:
        yield Mistake(name, 1, 1, f"is larger than {MAX_BYTES:,} bytes")
        return
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        column = error.start - (before.rfind(b"\n") + 1) + 1
        yield Mistake(name, before.count(b"\n") + 1, column, "is not UTF-8: save the file as UTF-8")
        return
    yield from read_board(name, text, dialect).all_mistakes()
