"""The archive and the ledger against each other."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from catchment.load import files
from catchment.load.audit import audit
from catchment.load.rewrite import forget, rewrite
from catchment.pack import build

from .archives import MemoryArchive, MemoryLedger, incoming, line

TEN = datetime(2026, 11, 23, 10, tzinfo=UTC)
NOON = TEN + timedelta(hours=2)


@pytest.fixture
def archive() -> MemoryArchive:
    made = MemoryArchive()
    for nonce in range(3):
        name, content = incoming(
            TEN, [build(table, [line(table, nonce, TEN)]) for table in ("a.a", "b.b")], nonce=nonce
        )
        made.put(name, [content])
    return made


@pytest.fixture
def ledger(archive: MemoryArchive) -> MemoryLedger:
    made = MemoryLedger()
    for name in archive.files:
        made.load(name, ["a.a", "b.b"])
    return made


def test_all_is_well(archive: MemoryArchive, ledger: MemoryLedger) -> None:
    told: list[int] = []
    found = audit(archive, ledger, ledger.names(), told=lambda so_far: told.append(so_far.files))
    assert found.is_well
    assert (found.files, found.bytes) == (3, sum(map(len, archive.files.values())))
    assert (found.damaged, found.unloaded, found.missing) == ({}, [], [])
    assert told == [1, 2, 3]


def test_a_damaged_file_is_found(archive: MemoryArchive, ledger: MemoryLedger) -> None:
    name = sorted(archive.files)[1]
    archive.files[name] = archive.files[name][:-3]
    found = audit(archive, ledger, ledger.names())
    assert not found.is_well
    assert found.damaged.keys() == {name}
    assert found.damaged[name].startswith("cannot be read on")


def test_a_file_that_was_loaded_and_is_gone_is_missing(archive: MemoryArchive, ledger: MemoryLedger) -> None:
    name = sorted(archive.files)[1]
    archive.delete(name)
    found = audit(archive, ledger, ledger.names())
    assert not found.is_well
    assert found.missing == [name]
    assert audit(archive, ledger, ledger.names(), "table=").missing == []


def test_what_is_not_loaded_yet_is_no_fault(archive: MemoryArchive, ledger: MemoryLedger) -> None:
    name = sorted(archive.files)[1]
    ledger.entries.pop((name, "b.b"))
    found = audit(archive, ledger, ledger.names())
    assert found.is_well
    assert found.unloaded == [name]


def test_what_was_rewritten_is_not_missing(archive: MemoryArchive, ledger: MemoryLedger) -> None:
    before = ledger.names()
    list(rewrite(archive, ledger, now=NOON))
    assert before.isdisjoint(archive.files)
    assert audit(archive, ledger, before | ledger.names()).missing == []
    forget(archive, ledger, now=NOON + timedelta(days=2))
    found = audit(archive, ledger, ledger.names())
    assert found.is_well
    assert found.files == 2


def test_what_is_rewritten_meanwhile_is_not_missing(archive: MemoryArchive, ledger: MemoryLedger) -> None:
    """The names are from before, the files are listed and read while they go."""
    before = ledger.names()

    def meanwhile(_: object) -> None:
        list(rewrite(archive, ledger, now=NOON))

    found = audit(archive, ledger, before, told=meanwhile)
    assert found.is_well
    assert found.unloaded == []


def test_files_of_others_are_passed_over(archive: MemoryArchive, ledger: MemoryLedger) -> None:
    archive.put("notes/readme", [b"not ours"])
    archive.put(files.removed(NOON, ["x"]), [b"x"])
    assert audit(archive, ledger, ledger.names()).files == 3
