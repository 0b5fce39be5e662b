"""The archive in a bucket of Amazon S3, or of a store that speaks as S3 does."""

from __future__ import annotations

import errno
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Literal, cast

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store

from catchment.archives import Entry, check_name, check_prefix
from catchment.archives.s3_config import S3Config
from catchment.errors import Retry, StorageError
from catchment.secret import redact

WHOLE_BYTES = 64_000_000
"""Up to here a file is written in one request, which a store can refuse where the name is taken; as much as a round
holds. What is larger goes in parts."""
_PART_BYTES = 16_000_000
_READ_BYTES = 8_000_000
_LIST_CHUNK = 1_000


class S3Archive:
    """An `Archive` in a bucket, each file one object.

    An object appears whole, once its last byte has come, or not at all: S3 has it so, for parts too. Nothing replaces
    it: a put of one request is conditional, and of a larger file the name is looked at before. Whatever a request
    meets that may pass is tried again, ever less often and at random moments, for `retry_s`.
    """

    Config = S3Config
    shares_files = False
    round_age_s = 60.0

    def __init__(self, config: S3Config, folder: Path) -> None:
        """Nothing is connected to or looked at before the first call; `folder` is not used."""
        self._config = config
        self._prefix = config.prefix.strip("/")

    @cached_property
    def _store(self) -> S3Store:
        config = self._config
        settings: dict[str, object] = {
            "region": config.region,
            "endpoint": config.endpoint,
            "access_key_id": config.access_key_id,
            "secret_access_key": config.secret_access_key,
            "server_side_encryption": config.encryption,
            "sse_kms_key_id": config.kms_key_id,
            "virtual_hosted_style_request": config.virtual_hosted,
        }
        timeout = timedelta(seconds=config.timeout_s)
        return S3Store(
            config.bucket,
            prefix=self._prefix,
            config={name: value for name, value in settings.items() if value is not None},  # type: ignore[arg-type]
            client_options={"timeout": timeout, "allow_http": (config.endpoint or "").startswith("http:")},
            retry_config={
                "max_retries": 100 if config.retry_s else 0,
                "retry_timeout": timedelta(seconds=config.retry_s),
                "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=10)},
            },
        )

    def put(self, name: str, data: Iterable[bytes]) -> None:
        """See `Archive.put`."""
        check_name(name)
        pieces = iter(data)
        start = _up_to(pieces, WHOLE_BYTES)
        following = next(pieces, None)
        with self._explained("write", name):
            if following is None:
                self._put_whole(name, start)
            else:
                self._put_in_parts(name, chain(start, [following], pieces))

    def _put_whole(self, name: str, data: Sequence[bytes]) -> None:
        conditional = self._config.conditional_put
        while conditional or not self._has(name, data):
            try:
                mode: Literal["create", "overwrite"] = "create" if conditional else "overwrite"
                obstore.put(self._store, name, iter(data), mode=mode, use_multipart=False)
            except AlreadyExistsError:  # perhaps by us: the answer to an earlier try was lost
                if not self._has(name, data):
                    continue  # deleted meanwhile, or two wrote it at once and neither did (409)
            return

    def _put_in_parts(self, name: str, data: Iterator[bytes]) -> None:
        if self._is_taken(name):
            self._has(name, data)
        else:
            obstore.put(self._store, name, data, use_multipart=True, chunk_size=_PART_BYTES, max_concurrency=4)

    def _is_taken(self, name: str) -> bool:
        try:
            obstore.head(self._store, name)
        except FileNotFoundError:
            return False
        return True

    def _has(self, name: str, data: Iterable[bytes]) -> bool:
        """Whether the archive has this file. Raises `FileExistsError` if it has another of its name."""
        try:
            with self.open(name) as there:
                same = all(there.read(len(piece)) == piece for piece in data) and not there.read(1)
        except FileNotFoundError:
            return False
        if not same:
            raise FileExistsError(errno.EEXIST, "the archive has another file of this name", self.url(name))
        return True

    def open(self, name: str) -> BinaryIO:
        """See `Archive.open`. A small file is read at once, a larger one by and by."""
        check_name(name)
        with self._explained("read", name):
            found = obstore.get(self._store, name)
            size = found.meta["size"]
            if size <= _READ_BYTES:
                return io.BytesIO(found.bytes())
        return cast(BinaryIO, io.BufferedReader(_Ranges(self, name, size), _READ_BYTES))

    def read_range(self, name: str, start: int, end: int) -> bytes:
        """Some of a file's bytes. Raises as `open`."""
        with self._explained("read", name):
            return bytes(obstore.get_range(self._store, name, start=start, end=end))

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """See `Archive.list`. A thousand names a request; those of other folders are not asked for."""
        check_prefix(prefix)
        folder = prefix.rpartition("/")[0]
        with self._explained("list", prefix):
            for chunk in obstore.list(self._store, folder or None, chunk_size=_LIST_CHUNK):
                for found in chunk:
                    name = found["path"]
                    if name.startswith(prefix):
                        yield Entry(name, found["size"], found["last_modified"])
                    elif name > prefix:
                        return

    def delete(self, name: str) -> None:
        """See `Archive.delete`."""
        check_name(name)
        with self._explained("delete", name), suppress(FileNotFoundError):
            obstore.delete(self._store, name)

    def url(self, name: str) -> str:
        """See `Archive.url`: `s3://bucket/key`."""
        check_name(name)
        return f"s3://{self._config.bucket}/{self._prefix}/{name}"

    @contextmanager
    def _explained(self, doing: str, name: str) -> Iterator[None]:
        """Turn an error of the store into one that says what failed, where, and what to do. Whether a file is there
        or not is an answer rather than a failure."""
        where = f"s3://{self._config.bucket}/{self._prefix}/{name}"
        try:
            yield
        except FileNotFoundError as error:
            if _NO_BUCKET not in str(error):
                raise FileNotFoundError(errno.ENOENT, "no such file in the archive", name) from None
            raise self._without_bucket(doing, where) from error
        except BaseError as error:
            if _NO_BUCKET in str(error):
                raise self._without_bucket(doing, where) from error
            message = f"cannot {doing} {where}: {_said(error)}"
            if isinstance(error, PermissionDeniedError | UnauthenticatedError):
                raise StorageError(message, _PERMISSIONS) from error
            raise Retry(message, _UNREACHED) from error

    def _without_bucket(self, doing: str, where: str) -> StorageError:
        hint = f"make the bucket {self._config.bucket}, or name another as [archive] bucket"
        return StorageError(f"cannot {doing} {where}: there is no such bucket", hint)


class _Ranges(io.RawIOBase):
    """A large file, read in ranges."""

    def __init__(self, archive: S3Archive, name: str, size: int) -> None:
        self._archive = archive
        self._name = name
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence])
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        end = min(self._at + len(buffer), self._size)
        if end <= self._at:
            return 0
        data = self._archive.read_range(self._name, self._at, end)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def _up_to(pieces: Iterator[bytes], size_bytes: int) -> list[bytes]:
    """The next pieces, until they are so large together."""
    taken, size = [], 0
    while size <= size_bytes and (piece := next(pieces, None)) is not None:
        taken.append(piece)
        size += len(piece)
    return taken


_NO_BUCKET = "NoSuchBucket"
_ANSWER = re.compile(r"<Code>(?P<code>[^<]*)</Code>.*?<Message>(?P<words>[^<]*)</Message>", re.DOTALL)


def _said(error: BaseException) -> str:
    """What the store said, else what its driver says, in one line."""
    answer = _ANSWER.search(str(error))
    if answer:
        return redact(f"{answer['code']}: {answer['words']}")[:300]
    words = str(error).partition("Debug source:")[0]
    return redact(" ".join(words.split()))[:300]


_PERMISSIONS = (
    "credentials that may s3:GetObject, s3:PutObject, s3:DeleteObject, s3:ListBucket and s3:AbortMultipartUpload"
    " there: docs/how-to/archive-on-s3.md"
)
_UNREACHED = "see that the endpoint can be reached and the region is right: catchment doctor"
