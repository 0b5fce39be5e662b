"""The archive as files in a folder of this machine."""

from __future__ import annotations

import errno
import fcntl
import filecmp
import os
import re
import secrets
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Annotated, BinaryIO

import msgspec

from catchment.archives import Entry, check_name, check_prefix
from catchment.errors import Retry, StorageError

_TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.tmp")
_BUFFERS_AT_ONCE = 256
_FOLDERS_REMEMBERED = 10_000


class DiskConfig(msgspec.Struct, frozen=True, kw_only=True):
    """`[archive]` with `type = "disk"`."""

    path: (
        Annotated[
            str,
            msgspec.Meta(
                min_length=1,
                description="A folder on a disk with hard links, relative to the project; else within `.catchment`.",
            ),
        ]
        | None
    ) = None


class DiskArchive:
    """An `Archive` in the folder `archive` of the runtime directory, or where `config.path` says.

    A file is written under a temporary name beside its own, made durable, and only then linked to its own:
    a link, unlike a rename, never replaces a file that is there. Temporary names begin with a dot, which no
    name of the archive does, and are locked while their writer lives: an unlocked one was left by a writer
    that died, and is removed when a process first writes to that folder.
    """

    Config = DiskConfig
    shares_files = True
    round_age_s = 0.5

    def __init__(self, config: DiskConfig, folder: Path) -> None:
        """`folder` is the project's runtime folder. Nothing is made or touched before the first `put`."""
        root = folder / "archive" if config.path is None else folder.parent / Path(config.path).expanduser()
        self._root = root.absolute()
        self._ready: set[Path] = set()

    def put(self, name: str, data: Iterable[bytes]) -> None:
        """See `Archive.put`."""
        check_name(name)
        path = self._root / name
        self._prepare(path.parent)
        with _temporary(path.parent) as (descriptor, temporary):
            _write(descriptor, temporary, data)
            with _explained("write", path):
                _sync(descriptor)
                _link(temporary, path)
        # Also where the file was there already: whoever wrote it may not have come this far.
        with _explained("write", path):
            _sync_folder(path.parent)

    def open(self, name: str) -> BinaryIO:
        """See `Archive.open`."""
        check_name(name)
        path = self._root / name
        with _explained("read", path):
            try:
                return path.open("rb")
            except (IsADirectoryError, NotADirectoryError):
                raise FileNotFoundError(errno.ENOENT, "no such file in the archive", name) from None

    def delete(self, name: str) -> None:
        """See `Archive.delete`. Folders stay."""
        check_name(name)
        path = self._root / name
        with _explained("delete", path):
            try:
                path.unlink(missing_ok=True)
            except NotADirectoryError:
                return
            except (IsADirectoryError, PermissionError):  # what macOS calls an unlinked folder
                if not path.is_dir():
                    raise

    def url(self, name: str) -> str:
        """See `Archive.url`: the file's absolute path."""
        check_name(name)
        return str(self._root / name)

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """See `Archive.list`. Only folders that the prefix leads to are read, one at a time."""
        check_prefix(prefix)
        return self._list("", prefix)

    def _list(self, folder: str, prefix: str) -> Iterator[Entry]:
        for name in self._names(folder, prefix):
            if name.endswith("/"):
                yield from self._list(name, prefix)
                continue
            path = self._root / name
            with _explained("read", path):
                try:
                    status = path.stat()
                except (FileNotFoundError, NotADirectoryError):
                    continue
            if stat.S_ISREG(status.st_mode):
                yield Entry(name, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))

    def _names(self, folder: str, prefix: str) -> Sequence[str]:
        """Files, and folders with a slash behind, of one folder: the slash sorts them as their files' names do."""
        names = []
        with _explained("read", self._root / folder):
            try:
                with os.scandir(self._root / folder) as entries:
                    for entry in entries:
                        name = folder + entry.name + ("/" if entry.is_dir() else "")
                        leads_there = name.endswith("/") and prefix.startswith(name)
                        if (leads_there or name.startswith(prefix)) and _is_ours(entry.name):
                            names.append(name)
            except (FileNotFoundError, NotADirectoryError):
                return []
        return sorted(names)

    def _prepare(self, folder: Path) -> None:
        """Have the folder there, durably, and free of what dead writers left; once done it costs nothing."""
        with _explained("write to", folder):
            if folder.is_dir() and (folder in self._ready or not folder.is_relative_to(self._root)):
                return
            self._prepare(folder.parent)
            folder.mkdir(exist_ok=True)
            # Also where it was there already: whoever made it may not have come this far.
            try:
                _sync_folder(folder.parent)
            except PermissionError:
                if folder != self._root:  # made for us in a folder that we may not read: no business of ours
                    raise
            _remove_leftovers(folder)
        if len(self._ready) >= _FOLDERS_REMEMBERED:
            self._ready.clear()
        self._ready.add(folder)


def _is_ours(part: str) -> bool:
    try:
        check_name(part)
    except ValueError:
        return False
    return True


@contextmanager
def _temporary(folder: Path) -> Iterator[tuple[int, Path]]:
    """A new file, locked; whatever happens, its temporary name is gone afterwards."""
    while True:
        path = folder / f".{secrets.token_hex(8)}.tmp"
        with _explained("write to", folder):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            break
        os.close(descriptor)  # between open and lock it looked like a dead writer's, and was removed
    try:
        yield descriptor, path
    finally:
        with suppress(OSError):  # a name that cannot be removed now is removed as a dead writer's later
            path.unlink()
        os.close(descriptor)


def _remove_leftovers(folder: Path) -> None:
    with os.scandir(folder) as entries:
        leftovers = [Path(entry.path) for entry in entries if _TEMPORARY.fullmatch(entry.name)]
    for path in leftovers:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except (FileNotFoundError, PermissionError):
            continue  # its writer has finished, or is another user
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
        except BlockingIOError:
            continue  # its writer lives
        finally:
            os.close(descriptor)


def _write(descriptor: int, path: Path, data: Iterable[bytes]) -> None:
    """All pieces, many in one system call. Errors of `data` itself are the caller's and pass as they are."""
    pieces = iter(data)
    while buffers := [memoryview(piece) for piece in islice(pieces, _BUFFERS_AT_ONCE)]:
        while buffers:
            with _explained("write", path):
                written = os.writev(descriptor, buffers)
            while buffers and written >= len(buffers[0]):
                written -= len(buffers.pop(0))
            if buffers:
                buffers[0] = buffers[0][written:]


def _link(temporary: Path, path: Path) -> None:
    """Give the file its name, unless another has it: the same bytes are as good as ours."""
    while True:
        try:
            os.link(temporary, path)
        except FileExistsError:
            try:
                same = filecmp.cmp(temporary, path, shallow=False)
            except FileNotFoundError:
                continue  # deleted meanwhile
            if not same:
                raise FileExistsError(errno.EEXIST, "the archive has another file of this name", path) from None
        return


def _sync(descriptor: int) -> None:
    if hasattr(fcntl, "F_FULLFSYNC"):  # macOS, where fsync stops at the disk's own cache
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fsync(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _sync(descriptor)
    finally:
        os.close(descriptor)


_HINTS = {
    errno.ENOSPC: "free some space, or set [archive] path to a larger disk",
    errno.EDQUOT: "raise the quota, or set [archive] path to another disk",
    errno.EFBIG: "raise the limit on file sizes (ulimit -f)",
    errno.EROFS: "mount the disk for writing, or set [archive] path to another one",
    errno.EACCES: "give this user the right to the folder, or set [archive] path to another one",
    errno.EPERM: "set [archive] path to a disk that has hard links and lets this user write",
    errno.EOPNOTSUPP: "set [archive] path to a disk that has hard links and file locks",
    errno.ENOTDIR: "move the file that stands where the archive needs a folder",
    errno.EEXIST: "move the file that stands where the archive needs a folder",
    errno.EIO: "check the disk's health; what it has of the archive is better copied elsewhere",
}
_PASSING = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR, errno.EAGAIN}


@contextmanager
def _explained(doing: str, path: Path) -> Iterator[None]:
    """Turn an `OSError` into one that says what failed, where, and what to do. Whether a file is there or not
    is an answer rather than a failure."""
    try:
        yield
    except OSError as error:
        if isinstance(error, FileNotFoundError) and doing == "read":
            raise
        if isinstance(error, FileExistsError) and doing == "write":
            raise
        message = f"cannot {doing} {path}: {error.strerror}"
        if error.errno in _PASSING:
            raise Retry(message, "raise the limit of open files (ulimit -n) if this goes on") from error
        raise StorageError(message, _HINTS.get(error.errno or 0, "")) from error
