"""Any records, cut into any files, loaded in any part, rewritten with any crashes: all of them stay reachable."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

from catchment.load import files, regroup
from catchment.load.rewrite import Limits, forget, rewrite
from catchment.load.verify import problems
from catchment.load.walk import walk
from catchment.pack import build

from .archives import Dying, Killed, MemoryArchive, MemoryLedger, all_lines, incoming, line, lines_of, tables_of

START = datetime(2026, 11, 23, 10, tzinfo=UTC)
LATER = START + timedelta(days=2)
TABLES = ("a.a", "b.b")


@dataclass(frozen=True)
class Plan:
    """Per file: when it is archived, whether it is late, its packs as (table, minutes), and how many of its
    tables are loaded before each run."""

    archived_after_m: int
    late: bool
    packs: list[tuple[str, list[int]]]
    loaded: list[int]


minutes = st.lists(st.integers(-90, 90), min_size=1, max_size=6)
plans = st.builds(
    Plan,
    st.integers(0, 150),
    st.booleans(),
    st.lists(st.tuples(st.sampled_from(TABLES), minutes), min_size=1, max_size=4),
    st.lists(st.integers(0, 2), min_size=4, max_size=4),
)


def archived(plan: list[Plan]) -> tuple[MemoryArchive, dict[str, Plan]]:
    archive, by_name, number = MemoryArchive(), {}, 0
    for nonce, file in enumerate(plan):
        packed = []
        for table, received_m in file.packs:
            lines = []
            for minute in received_m:
                lines.append(line(table, number, START + timedelta(minutes=minute)))
                number += 1
            packed.append(build(table, lines))
        at = START + timedelta(minutes=file.archived_after_m)
        name, archive.files[name] = incoming(at, packed, nonce=nonce, late=file.late)
        by_name[name] = file
    return archive, by_name


def grow(ledger: MemoryLedger, archive: MemoryArchive, by_name: dict[str, Plan], run: int) -> None:
    """The ledger has more with each run, never less."""
    for name in by_name.keys() & archive.files.keys():
        tables = sorted(tables_of(archive.files[name]))
        ledger.load(name, tables[: max(by_name[name].loaded[: run + 1])])


def walked(archive: MemoryArchive) -> Counter[bytes]:
    return Counter(text for found in walk(archive) for text in lines_of(archive.files[found.name]))


@given(
    st.lists(plans, max_size=6),
    st.lists(st.integers(0, 25), min_size=3, max_size=3),
    st.builds(Limits, bytes=st.sampled_from([1, 600, 10**9]), packs=st.sampled_from([1, 3, 10**6])),
)
def test_every_record_stays_and_none_stands_twice_in_the_end(
    plan: list[Plan], crashes: list[int], limits: Limits
) -> None:
    archive, by_name = archived(plan)
    ledger = MemoryLedger()
    records = all_lines(archive)
    originals = dict(archive.files)
    with mock.patch.multiple(regroup, MERGE_BELOW_RECORDS=4, MAX_RECORDS=7):
        for run, at in enumerate(crashes):
            grow(ledger, archive, by_name, run)
            dying = Dying(archive, ledger, at)
            with suppress(Killed):
                list(rewrite(dying, dying, now=LATER, limits=limits))
            assert set(walked(archive)) == set(records)
        grow(ledger, archive, by_name, 3)
        list(rewrite(archive, ledger, now=LATER, limits=limits))
        forget(archive, ledger, now=LATER + timedelta(days=1))

    assert walked(archive) == records, "a record stands twice, or not as it did"
    rewritten = {name for name in archive.files if isinstance(files.parse(name), files.Rewritten)}
    in_full = {name for name, file in by_name.items() if max(file.loaded) >= len(tables_of(originals[name]))}
    assert {name for name in archive.files if name.startswith("incoming/")} == by_name.keys() - in_full
    assert set(archive.files) == rewritten | (by_name.keys() - in_full)
    for name in rewritten:
        assert problems(archive, name) == []
        (entry,) = (entry for key, entry in ledger.entries.items() if key[0] == name)
        assert entry is not None
        assert entry.record_count == len(lines_of(archive.files[name]))
    assert not ledger.names() & in_full
