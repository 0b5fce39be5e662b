"""The project's dashboards: Markdown files in a folder, read again when they change."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from catchment.serve.dashboards.board import Board
from catchment.serve.dashboards.files import FOLDER, MAX_BYTES, SUFFIX, dashboard_files
from catchment.serve.dashboards.read import read_board

_PART = re.compile(r"[^\x00-\x1f\x7f\\]{1,200}")


@dataclass(frozen=True, slots=True)
class Entry:
    """One dashboard. `name` is its path below the folder without the suffix, as its address has it."""

    name: str
    path: Path
    text: str
    board: Board
    changed_s: float


class Library:
    """The dashboards of one project. Calls may come from several threads: an entry is whole, and replaced as such."""

    def __init__(self, root: Path, dialect: str) -> None:
        self._root = root
        self._dialect = dialect
        self._read: dict[str, tuple[tuple[int, int], Entry]] = {}

    @property
    def root(self) -> Path:
        """The project's folder."""
        return self._root

    @property
    def folder(self) -> Path:
        return self._root / FOLDER

    def names(self) -> list[str]:
        """Of all there are, in order; hidden files are none."""
        files = (path.relative_to(self.folder) for path in dashboard_files(self._root))
        return sorted(path.as_posix().removesuffix(SUFFIX) for path in files)

    @staticmethod
    def file(name: str) -> str:
        """What the file of a name is called, as from the project's folder."""
        return f"{FOLDER}/{name}{SUFFIX}"

    def entry(self, name: str) -> Entry | None:
        """The dashboard of that name as its file is now; None where there is none."""
        path = self.path(name)
        if path is None:
            return None
        try:
            stat = path.stat()
            stamp = (stat.st_mtime_ns, stat.st_size)
            known = self._read.get(name)
            if known is not None and known[0] == stamp:
                return known[1]
            text = path.read_bytes()[:MAX_BYTES].decode("utf-8", "replace")
        except (OSError, ValueError):  # such as a name that no file can have
            self._read.pop(name, None)
            return None
        entry = Entry(name, path, text, self.board(name, text), stat.st_mtime)
        self._read[name] = (stamp, entry)
        return entry

    def board(self, name: str, text: str) -> Board:
        """A text as the dashboard of that name, such as a draft."""
        return read_board(self.file(name), text, self._dialect)

    def path(self, name: str) -> Path | None:
        """Where the file of a name lies; None for what is no name, such as one that leads out of the folder."""
        parts = name.split("/")
        if any(not part or part.startswith(".") or not _PART.fullmatch(part) for part in parts):
            return None  # each dashboard has one name, so that there are not more names than dashboards
        path = self.folder.joinpath(*parts)
        path = path.with_name(path.name + SUFFIX)
        try:
            inside = path.resolve().is_relative_to(self.folder.resolve())
        except (OSError, ValueError):
            return None
        return path if inside else None

    def entries(self) -> Sequence[Entry]:
        """All of them."""
        return [entry for entry in map(self.entry, self.names()) if entry is not None]
