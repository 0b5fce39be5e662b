"""Exactly once with the archive in a bucket: the same kills, and the warehouse again from the bucket alone."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.crash.running import opened_warehouse
from tests.crash.test_crash import Crashed, Plan, all_contents, assert_same, check_all, crash
from tests.servers.s3 import KEY, SECRET, serving


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crashed]:
    with serving() as server:
        settings = (
            f'[archive]\ntype = "s3"\nbucket = "{server.make_bucket("acme")}"\nendpoint = "{server.endpoint}"\n'
            f'access_key_id = "{KEY}"\nsecret_access_key = "{SECRET}"\n'
        )
        plan = Plan(random.randrange(10**6), 4_000, warehouse=3, supervisor=1, publishers=1)
        left = crash(tmp_path_factory.mktemp("crash"), plan, settings)
        yield left
        left.running.close()


def test_every_confirmed_record_is_there_exactly_once(crashed: Crashed) -> None:
    check_all(crashed)


def test_each_table_of_a_round_has_its_own_file(crashed: Crashed) -> None:
    names = [entry.name for entry in crashed.running.project.archive.open().list("incoming/")]
    assert len(names) > 20
    assert all(".1." in name for name in names)


def test_the_bucket_brings_every_table_back(crashed: Crashed) -> None:
    project = crashed.running.project
    with opened_warehouse(project) as warehouse:
        before = all_contents(warehouse)
    for path in project.runtime.iterdir():
        if path.name != "queue":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    command = [sys.executable, "-m", "catchment", "restore", "--from-archive", "-p", str(project.root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    with opened_warehouse(project) as warehouse:
        assert_same(all_contents(warehouse), before)
