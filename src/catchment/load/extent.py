"""How much of the archive a replay would read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from catchment.archives import Archive
from catchment.errors import Malformed
from catchment.load.walk import walk
from catchment.pack import read_headers


@dataclass(slots=True)
class Extent:
    """Records of one table in the archive, and the files they lie in."""

    files: int = 0
    records: int = 0
    bytes: int = 0
    """Compressed; of files that are shared, its own."""

    def seconds(self, records_per_s: float) -> float:
        """How long they take at that speed."""
        return self.records / records_per_s


def extent(archive: Archive, table: str, since: datetime | None, until: datetime | None) -> Extent:
    """What the headers of the table's packs say, without reading their records. What can't be read is left out."""
    found = Extent()
    for file in walk(archive, tables=[table], since=since, until=until):
        try:
            with archive.open(file.name) as opened:
                for header in read_headers(opened):
                    if header.table == table:
                        found.records += header.count
                        found.bytes += header.bytes
        except FileNotFoundError:
            continue
        except Malformed:
            pass
        found.files += 1
    return found
