"""The archive: everything ever loaded, as received; the source of truth and of replay."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO, Protocol

INCOMING = "incoming/"
MAX_NAME_BYTES = 1024
MAX_PART_BYTES = 255

_PART = re.compile(r"[A-Za-z0-9_=-][A-Za-z0-9_.=-]*")


def check_name(name: str) -> None:
    """Raise `ValueError` unless every archive, on any disk or object store, can hold a file of this name."""
    if len(name) > MAX_NAME_BYTES:
        raise ValueError(f"{name[:80]!r}… is no name in the archive: it is longer than {MAX_NAME_BYTES} bytes")
    for part in name.split("/"):
        if not _PART.fullmatch(part) or len(part) > MAX_PART_BYTES:
            raise ValueError(
                f"{name!r} is no name in the archive: {part!r} needs 1 to {MAX_PART_BYTES} of the characters "
                "A-Z a-z 0-9 _ - . = and no dot at its start"
            )


def check_prefix(prefix: str) -> None:
    """Raise `ValueError` unless a name could start like this; the empty prefix is every name's."""
    if prefix:
        check_name(prefix.removesuffix("/"))


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of the archive, as listed."""

    name: str
    bytes: int
    modified_at: datetime


class Archive(Protocol):
    """Named, immutable files, on disk or in an object store: one implementation a file in this folder.

    Names are relative, with `/` between folders, of the characters `A-Z a-z 0-9 _ - . = /`, and no part
    begins with a dot; any other is a `ValueError` (`check_name`). A file is whole
    or absent to every reader, also after kill -9 or a power cut in the middle of `put`. Once `put` has
    returned, the file is durable. The calls may come from several threads and processes at once.

    Errors: `FileNotFoundError` from `open` for a name that is not there; `Retry` when the same call may
    succeed later; `StorageError` (no space, no permission) when it can't until somebody acts.
    """

    shares_files: bool
    """Whether small tables of a round share a file, since each file costs a sync. Else each table has its own, as a
    warehouse that reads from an object store wants it, and several are written at a time."""
    round_age_s: float
    """The age, in seconds, at which a round closes where the project does not say: short where a file costs little."""

    def put(self, name: str, data: Iterable[bytes]) -> None:
        """Write a file whole or not at all, durably. A name is written once: the same name again with the
        same bytes is fine, with other bytes it raises `FileExistsError`."""

    def open(self, name: str) -> BinaryIO:
        """The file's bytes, from the start, seekable."""

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """Every file whose name starts with `prefix`, in order of name; unfinished ones are never among them.

        Files that come or go while listing may or may not be met: who must not miss one lists again until
        nothing new is met.
        """

    def delete(self, name: str) -> None:
        """Remove a file; one that is not there is fine."""

    def url(self, name: str) -> str:
        """Where a warehouse finds the file: a path on disk, or an address such as `s3://bucket/key`."""
