"""Names of archive files."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catchment.archives import check_name
from catchment.load import files
from catchment.load.files import Incoming, Rewritten

AT = datetime(2026, 11, 23, 10, 0, 0, 123456, UTC)
HOUR = datetime(2026, 11, 23, 10, tzinfo=UTC)


def test_names_look_like_this() -> None:
    assert Incoming(AT, "3f9a0c51d2e4", 7).name == "incoming/20261123T100000.123456Z-3f9a0c51d2e4.7.ndjson.zst"
    late = Incoming(AT, "3f9a0c51d2e4", 1, late=True).name
    assert late == "incoming/20261123T100000.123456Z-3f9a0c51d2e4.1.late.ndjson.zst"
    new = files.rewritten("web.signup", HOUR, ["incoming/b", "incoming/a"])
    assert new.name == f"table=web.signup/date=2026-11-23/hour=10/{new.digest}.1.ndjson.zst"
    assert files.rewritten("web.signup", HOUR, [], late=True).name.endswith(".1.late.ndjson.zst")
    assert files.removed(AT, ["a"]).startswith("removed/20261123T100000.123456Z-")


moments = st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2100, 1, 1), timezones=st.just(UTC))


@given(moments, st.integers(1, 500), st.booleans())
def test_an_incoming_name_says_what_it_was_made_of(at: datetime, batches: int, late: bool) -> None:
    file = files.new_incoming(at, batches, late=late)
    check_name(file.name)
    assert files.parse(file.name) == file
    assert files.is_late(file.name) == late
    assert not files.in_full(file.name, {str(number) for number in range(batches - 1)})
    assert files.in_full(file.name, {str(number) for number in range(batches)})


@given(moments, st.from_regex(r"[a-z_][a-z0-9_]{0,62}\.[a-z_][a-z0-9_]{0,62}", fullmatch=True), st.booleans())
def test_a_rewritten_name_says_what_it_was_made_of(at: datetime, table: str, late: bool) -> None:
    file = files.rewritten(table, files.hour_of(at), ["a", "b"], late=late)
    check_name(file.name)
    assert files.parse(file.name) == file
    assert file.name.startswith(files.folder(table, files.hour_of(at)))
    assert not files.in_full(file.name, frozenset())
    assert files.in_full(file.name, {table})


@given(moments, moments)
def test_names_sort_as_the_times_of_archiving_do(one: datetime, two: datetime) -> None:
    names = Incoming(one, "0" * 12, 1).name, Incoming(two, "0" * 12, 1).name
    assert (names[0] < names[1]) == (one < two)


def test_new_names_never_recur() -> None:
    assert len({files.new_incoming(AT, 1).name for _ in range(1_000)}) == 1_000


def test_the_digest_is_of_the_old_names_in_any_order() -> None:
    assert files.rewritten("a.b", HOUR, ["x", "y"]) == files.rewritten("a.b", HOUR, ["y", "x"])
    assert files.rewritten("a.b", HOUR, ["x", "y"]) != files.rewritten("a.b", HOUR, ["x"])


def test_hours_are_those_of_utc() -> None:
    local = datetime(2026, 11, 23, 10, 29, 59, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    assert files.hour_of(local) == datetime(2026, 11, 23, 4, tzinfo=UTC)
    assert Incoming(local, "0" * 12, 1).name.startswith("incoming/20261123T045959.000000Z-")


@pytest.mark.parametrize(
    "name",
    [
        "incoming/20261123T100000.123456Z-3f9a0c51d2e4.0.ndjson.zst",
        "incoming/20261323T100000.123456Z-3f9a0c51d2e4.1.ndjson.zst",
        "incoming/20261123T100000.123456Z-3f9a0c51d2e4.1.ndjson.zst.gz",
        "incoming/20261123T100000Z-3f9a0c51d2e4.1.ndjson.zst",
        "incoming/notes.txt",
        "x/incoming/20261123T100000.123456Z-3f9a0c51d2e4.1.ndjson.zst",
        f"table=a.b/date=2026-11-23/hour=24/{'0' * 32}.1.ndjson.zst",
        f"table=a.b/date=2026-02-30/hour=10/{'0' * 32}.1.ndjson.zst",
        f"table=a.b/date=2026-11-23/hour=10/{'0' * 32}.2.ndjson.zst",
        f"table=ab/date=2026-11-23/hour=10/{'0' * 32}.1.ndjson.zst",
        f"removed/20261123T100000.123456Z-{'0' * 32}.names",
        "",
    ],
)
def test_other_names_are_none_of_ours(name: str) -> None:
    assert files.parse(name) is None
    assert not files.in_full(name, {"a", "b", "c"})
    assert not files.is_late(name)


def test_lists_of_removed_files_say_when() -> None:
    assert files.removed_at(files.removed(AT, ["a"])) == AT
    for name in ("removed/x", f"removed/20261323T100000.123456Z-{'0' * 32}.names", Incoming(AT, "0" * 12, 1).name):
        assert files.removed_at(name) is None


def test_a_rewritten_file_is_one_batch() -> None:
    assert Rewritten("a.b", HOUR, "0" * 32).batches == 1
