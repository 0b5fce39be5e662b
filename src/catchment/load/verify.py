"""What is wrong with an archive file, by reading all of it."""

from __future__ import annotations

from catchment.archives import Archive
from catchment.errors import Malformed
from catchment.load import files
from catchment.pack import Pack, read_file


def problems(archive: Archive, name: str) -> list[str]:
    """What is wrong with a file, a sentence each; empty for a sound one. One pack is in memory at a time.

    Checked are the checksum of each pack, its count of records, whether the file is cut short, and whether
    its name says the truth about what it holds. Raises `FileNotFoundError`.
    """
    file = files.parse(name)
    if file is None:
        return ["its name is none of Catchment's"]
    found: list[str] = []
    tables: set[str] = set()
    with archive.open(name) as opened:
        try:
            for number, pack in enumerate(read_file(opened), 1):
                tables.add(pack.header.table)
                found += [f"pack {number}, {problem}" for problem in _pack_problems(pack)]
                if isinstance(file, files.Rewritten):
                    found += [f"pack {number}, {problem}" for problem in _misplaced(pack, file)]
        except Malformed as error:
            return [*found, f"cannot be read on: {error}"]
    if len(tables) != file.batches:
        found.append(f"it holds {len(tables)} tables, and its name says {file.batches}")
    return found


def _pack_problems(pack: Pack) -> list[str]:
    try:
        pack.plain()
    except Malformed as error:
        return [f"{pack.header.table}: {error}"]
    return []


def _misplaced(pack: Pack, file: files.Rewritten) -> list[str]:
    header = pack.header
    hours = {files.hour_of(header.first_received_at), files.hour_of(header.last_received_at)}
    if header.table == file.table and hours == {file.hour}:
        return []
    return [f"{header.table}: it belongs into another folder by its table or received_at"]
