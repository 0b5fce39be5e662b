"""The archive on S3: the conformance suite against a server that speaks as S3 does, and what only a distant store can
do wrong."""

from __future__ import annotations

import itertools
import re
import signal
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import msgspec
import pytest

from catchment.archives.s3 import WHOLE_BYTES, S3Archive
from catchment.archives.s3_config import S3Config
from catchment.errors import Retry, StorageError
from catchment.testing.archives import ArchiveConformance, Factory, read
from tests.servers.s3 import SECRET, Server, answering, losing_an_answer, serving

_numbers = itertools.count()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as started:
        yield started


@pytest.fixture
def config(server: Server) -> S3Config:
    return server.config(server.make_bucket(f"acme-{next(_numbers)}"))


@pytest.fixture
def archive(config: S3Config, tmp_path: Path) -> S3Archive:
    return S3Archive(config, tmp_path)


class TestS3Archive(ArchiveConformance):
    @pytest.fixture
    def factory(self, config: S3Config, tmp_path: Path) -> Factory:
        return partial(S3Archive, config, tmp_path)

    @pytest.fixture(autouse=True)
    def _client(self, server: Server) -> None:
        self.client = server.client()

    def read_url(self, url: str) -> bytes:
        bucket, _, key = url.removeprefix("s3://").partition("/")
        return bytes(self.client.get_object(Bucket=bucket, Key=key)["Body"].read())


class TestS3ArchiveWithoutConditions(TestS3Archive):
    """Against a store that replaces whatever is there: what two writers at once do is then not in our hands."""

    @pytest.fixture
    def config(self, server: Server) -> S3Config:
        return server.config(server.make_bucket(f"old-{next(_numbers)}"), conditional_put=False)

    def test_of_several_writers_of_a_name_one_wins(self) -> None:  # type: ignore[override]
        """Such a store lets the last one win; names of the archive are random, or of the same bytes."""


def many(megabytes: int, last: bytes = b"") -> Iterator[bytes]:
    yield from (b"%d" % (number % 10) * 1_000_000 for number in range(megabytes))
    yield last


def test_what_is_larger_than_a_request_goes_in_parts(archive: S3Archive) -> None:
    megabytes = WHOLE_BYTES // 1_000_000 + 6
    archive.put("large", many(megabytes))
    archive.put("large", many(megabytes))
    (entry,) = archive.list()
    assert entry.bytes == megabytes * 1_000_000
    with archive.open("large") as file:
        file.seek(-1, 2)
        assert file.read() == b"%d" % ((megabytes - 1) % 10)
    with pytest.raises(FileExistsError):
        archive.put("large", many(megabytes, b"!"))


def test_parts_of_a_failed_file_are_given_up(server: Server, config: S3Config, archive: S3Archive) -> None:
    def source() -> Iterator[bytes]:
        yield from many(WHOLE_BYTES // 1_000_000 + 40)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        archive.put("large", source())
    assert list(archive.list()) == []
    assert "Uploads" not in server.client().list_multipart_uploads(Bucket=config.bucket)


def test_what_is_asked_of_the_store_is_sent(server: Server, tmp_path: Path) -> None:
    bucket = server.make_bucket("encrypted")
    archive = S3Archive(server.config(bucket, prefix="a/b/", encryption="aws:kms", kms_key_id="the-key"), tmp_path)
    archive.put("c", [b"x"])
    assert archive.url("c") == "s3://encrypted/a/b/c"
    found = server.client().head_object(Bucket=bucket, Key="a/b/c")
    assert (found["ServerSideEncryption"], found["SSEKMSKeyId"]) == ("aws:kms", "the-key")


def test_archives_of_one_bucket_do_not_meet(server: Server, config: S3Config, tmp_path: Path) -> None:
    one = S3Archive(server.config(config.bucket, prefix="one"), tmp_path)
    other = S3Archive(server.config(config.bucket, prefix="one-more"), tmp_path)
    one.put("a", [b"1"])
    other.put("a", [b"2"])
    assert (read(one, "a"), read(other, "a")) == (b"1", b"2")
    assert [entry.name for entry in one.list()] == ["a"]


def test_more_files_than_one_request_lists(archive: S3Archive) -> None:
    names = [f"many/{number:04}" for number in range(1_203)]
    for name in names:
        archive.put(name, [b""])
    assert [entry.name for entry in archive.list("many/")] == names


def test_no_such_bucket_is_told(server: Server, tmp_path: Path) -> None:
    archive = S3Archive(server.config("never-made"), tmp_path)
    for call in (lambda: archive.put("a", [b""]), lambda: archive.open("a"), lambda: list(archive.list())):
        with pytest.raises(StorageError, match="there is no such bucket") as error:
            call()
        assert "make the bucket" in error.value.hint


def test_a_store_that_is_down_can_be_asked_later(tmp_path: Path) -> None:
    with serving() as server:
        archive = S3Archive(server.config(server.make_bucket("short"), retry_s=0.2), tmp_path)
        archive.put("a", [b"1"])
        server.process.kill()
        server.process.wait()
        for call in (lambda: archive.put("a", [b"1"]), lambda: archive.open("a"), lambda: list(archive.list())):
            with pytest.raises(Retry) as error:
                call()
            assert "s3://short/archive/" in str(error.value)
            assert SECRET not in str(error.value)
            assert len(error.value.message) < 400


def test_a_store_that_comes_back_in_time_is_waited_for(server: Server, archive: S3Archive) -> None:
    server.process.send_signal(signal.SIGSTOP)
    waking = threading.Timer(1.0, lambda: server.process.send_signal(signal.SIGCONT))
    waking.start()
    try:
        archive.put("a", [b"1"])
        assert read(archive, "a") == b"1"
    finally:
        waking.join()


@pytest.mark.parametrize(("status", "error"), [(403, StorageError), (500, Retry), (503, Retry)])
def test_refusals_say_what_to_do(status: int, error: type[Exception], tmp_path: Path) -> None:
    code = {403: "AccessDenied", 500: "InternalError", 503: "SlowDown"}[status]
    with answering(status, f"<Error><Code>{code}</Code><Message>not for you</Message></Error>") as endpoint:
        config = S3Config(bucket="acme", endpoint=endpoint, access_key_id="k", secret_access_key=SECRET, retry_s=0.0)
        with pytest.raises(error, match=re.escape(f"{code}: not for you")) as raised:
            S3Archive(config, tmp_path).put("a", [b"1"])
        assert SECRET not in str(raised.value)


def test_an_answer_that_is_lost_is_no_other_file(tmp_path: Path, server: Server, config: S3Config) -> None:
    """The first try of a put arrives, its answer does not; the second one finds the name taken, by the same bytes."""
    with losing_an_answer(server.port) as (endpoint, lost):
        archive = S3Archive(msgspec.structs.replace(config, endpoint=endpoint), tmp_path)
        archive.put("a", [b"1"])
        assert lost == [b"HTTP/1.1 200 OK"]
        assert read(archive, "a") == b"1"
