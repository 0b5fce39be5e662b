"""Retention with the archive in a bucket."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from catchment.archives.s3 import S3Archive
from catchment.load import files
from catchment.load.audit import audit
from catchment.testing.content import content, rows
from tests.servers.s3 import Server, serving

from .test_retaining import YEAR_OF_ROWS, Old, everything, mirrored


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as started:
        yield started


def test_a_rebuild_from_the_bucket_comes_out_equal(server: Server, tmp_path: Path) -> None:
    bucket = S3Archive(server.config(server.make_bucket("acme")), tmp_path)
    old = Old(tmp_path, YEAR_OF_ROWS, archive=bucket)
    mirrored(old)
    everything(old)
    before = content(old.warehouse, "shop.customer")
    removed = {each.table: each for each in old.retain()}
    assert (removed["shop.customer"].files, removed["web.event"].files, removed["web.event"].rows) == (3, 1, 6)
    kinds = [type(files.parse(entry.name)).__name__ for entry in bucket.list("table=shop.customer/")]
    assert sorted(kinds) == ["Newest", "Rewritten"]
    loaded = [name for (name,) in rows(old.warehouse, "SELECT DISTINCT batch FROM catchment.ledger")]
    assert audit(bucket, old.warehouse, loaded).is_well
    assert content(old.warehouse, "shop.customer") == before
    with closing(old.restored()) as restored:
        for table in ("shop.customer", "web.event"):
            assert content(restored, table) == content(old.warehouse, table)
    old.close()
