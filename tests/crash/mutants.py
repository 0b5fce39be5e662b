"""Every protection of exactly-once, removed on purpose from a copy of the package: a test must fail.

`python -m tests.crash.mutants [NAME]` says for each which tests noticed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.crash.running import REPOSITORY

_PROTECTIONS = "tests/crash/test_protections.py"
_POINTS = "tests/crash/test_points.py"
_ORDER = "tests/crash/test_order.py"
_LIMITS = "tests/load/test_limits.py"
_CONFORMANCE = "tests/warehouses/test_duckdb.py"
_FILL = "tests/load/test_fill.py"
_RETAINING = "tests/load/test_retaining.py"
_EXPIRE = "tests/load/test_expire.py"
_RETENTION = "tests/crash/test_retention.py"
_REBUILD = "tests/load/test_rebuild.py"
_POSTGRES = "tests/warehouses/test_postgres.py"
_FAILED = re.compile(r"^FAILED (.+?)(?: - .*)?$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Mutant:
    """A protection removed: in each file of the package this text becomes that. `tests` are those that have to
    notice, all of them."""

    protection: str
    changes: tuple[tuple[str, str, str], ...]
    tests: tuple[str, ...]


MUTANTS = (
    Mutant(
        "search, of files",
        (
            (
                "warehouses/duckdb_sql.py",
                'f"AND {OLD}._received_at >= {moment(search_from)})"',
                'f"AND {OLD}._received_at >= {moment(search_from)} AND false)"',
            ),
        ),
        (
            f"{_PROTECTIONS}::test_a_redelivered_round_adds_nothing[65]",
            f"{_CONFORMANCE}::TestDuckDB::test_the_same_records_in_another_batch_are_not_new[300]",
        ),
    ),
    Mutant(
        "search, of ids that are told",
        (("warehouses/duckdb_search.py", "AND _id IN (SELECT", "AND false AND _id IN (SELECT"),),
        (
            f"{_PROTECTIONS}::test_a_redelivered_round_adds_nothing[4100]",
            f"{_CONFORMANCE}::TestDuckDB::test_a_batch_of_which_the_ids_are_told_adds_what_is_new[3]",
        ),
    ),
    Mutant(
        "search, of ids that are told, by source",
        (("warehouses/duckdb_search.py", "_source = {text(ids.source)}", "true"),),
        (f"{_CONFORMANCE}::TestDuckDB::test_a_batch_of_which_the_ids_are_told_adds_what_is_new[3]",),
    ),
    Mutant(
        "search, of ids that are told, beside those of fast clocks",
        (("warehouses/duckdb_load.py", "rows.count >= WORTH_A_SEARCH and not early", "rows.count >= WORTH_A_SEARCH"),),
        (f"{_CONFORMANCE}::TestDuckDB::test_rows_of_fast_clocks_are_found_though_they_lie_before_the_bound[5000]",),
    ),
    Mutant(
        "search, of parameters",
        (("warehouses/duckdb_load.py", "AND _received_at >= {sql.moment(batch.search_from)}", "AND false"),),
        (
            f"{_PROTECTIONS}::test_a_redelivered_round_adds_nothing[1]",
            f"{_POINTS}::test_a_crash_there_loses_and_doubles_nothing[before queue.ack 1]",
        ),
    ),
    Mutant(
        "uniqueness in the batch, of files",
        (("warehouses/duckdb_sql.py", '        ""\n        if distinct\n', '        ""\n        if True\n'),),
        (f"{_PROTECTIONS}::test_copies_in_one_round_are_one_row[65]",),
    ),
    Mutant(
        "uniqueness in the batch, of parameters",
        (
            (
                "warehouses/duckdb_load.py",
                "fresh = [record for identity, record in earliest.items() if identity not in known]",
                "from catchment.warehouses.prepared_rows import decode_lines\n"
                "    fresh = [record for record in decode_lines(rows.data)\n"
                "             if (record.source, record.id) not in known]",
            ),
        ),
        (f"{_PROTECTIONS}::test_copies_in_one_round_are_one_row[1]",),
    ),
    Mutant(
        "early, of files",
        (("warehouses/duckdb_load.py", "if batch.early and inserted and", "if False and"),),
        (f"{_PROTECTIONS}::test_a_retry_by_a_fast_clock_is_found[65]",),
    ),
    Mutant(
        "early, of parameters",
        (("warehouses/duckdb_load.py", "if r.not_before > r.received_at]", "if False]"),),
        (f"{_PROTECTIONS}::test_a_retry_by_a_fast_clock_is_found[1]",),
    ),
    Mutant(
        "early, not looked up",
        (("warehouses/duckdb.py", "early = set(self._has_early)", "early: set[str] = set()"),),
        (f"{_PROTECTIONS}::test_a_retry_by_a_fast_clock_is_found[1]",),
    ),
    Mutant(
        "own time",
        (
            (
                "record.py",
                "return floor if own is None else max(floor, earlier(own, OWN_TIME_MARGIN))",
                "return earlier(received_at, OWN_TIME_MARGIN)",
            ),
        ),
        (
            f"{_PROTECTIONS}::test_a_retry_after_hours_is_found_by_the_clients_own_time[1]",
            f"{_PROTECTIONS}::test_a_retry_after_hours_is_found_by_the_clients_own_time[65]",
        ),
    ),
    Mutant(
        "table lock",
        (("warehouses/duckdb.py", "held.enter_context(self._lock(table))", "pass"),),
        (f"{_PROTECTIONS}::test_of_two_loads_that_overlap_the_second_waits",),
    ),
    Mutant(
        "repeated guard",
        (
            (
                "warehouses/duckdb.py",
                "if shapes[batch.table].version != batch.shape_version:",
                "if False:",
            ),
        ),
        (
            f"{_PROTECTIONS}::test_a_table_that_changed_since_the_guard_looked_is_looked_at_again[65]",
            f"{_CONFORMANCE}::TestDuckDB::test_a_batch_guarded_against_another_shape_is_refused",
        ),
    ),
    Mutant(
        "tombstone",
        (
            (
                "warehouses/duckdb_sql.py",
                "FROM catchment.tombstones o WHERE",
                "FROM catchment.tombstones o WHERE false AND",
            ),
        ),
        (
            f"{_PROTECTIONS}::test_an_older_version_does_not_bring_back_what_was_deleted",
            f"{_CONFORMANCE}::TestDuckDB::test_a_delete_outlives_its_row",
        ),
    ),
    Mutant(
        "dead letters in the transaction",
        (
            (
                "warehouses/duckdb_load.py",
                "dead = _bury(cursor, batch.dead, _batch_id(batch))",
                "dead = len(batch.dead)",
            ),
            (
                "warehouses/duckdb.py",
                "            self._shapes |= {",
                "            from catchment.warehouses.duckdb_load import _batch_id, _bury\n"
                "            for batch in batches:\n"
                "                _bury(self._cursor(), batch.dead, _batch_id(batch))\n"
                "            self._shapes |= {",
            ),
        ),
        (f"{_POINTS}::test_a_crash_there_loses_and_doubles_nothing[after commit of a load 1]",),
    ),
    Mutant(
        "ids by table, among rows of several",
        (("load/others.py", 'id=f"{table}/{record.id}"', "id=record.id"),),
        (f"{_LIMITS}::test_the_same_id_in_two_tables_is_two_rows_and_in_one_is_one",),
    ),
    Mutant(
        "rows of a table without room stay together",
        (("load/limits.py", "if not self.lets_out and self._was_elsewhere(table):", "if False:"),),
        (f"{_LIMITS}::test_its_rows_stay_together_until_then",),
    ),
    Mutant(
        "locks of all that a batch enters",
        (
            (
                "warehouses/duckdb.py",
                "{*tables, *(entry.table for batch in batches for entry in batch.entries)}",
                "tables",
            ),
        ),
        (f"{_CONFORMANCE}::TestDuckDB::test_of_two_loads_that_would_enter_one_batch_one_does",),
    ),
    Mutant(
        "sweep",
        (("load/sweep.py", "missing = self._missing(names)", "missing: dict[str, frozenset[str]] = {}"),),
        (
            f"{_PROTECTIONS}::test_what_nobody_handed_over_is_loaded_by_the_sweep[incoming]",
            f"{_PROTECTIONS}::test_what_nobody_handed_over_is_loaded_by_the_sweep[everything]",
            f"{_POINTS}::test_a_crash_there_loses_and_doubles_nothing[after queue.ack 1]",
        ),
    ),
    Mutant(
        "acknowledging last",
        (
            (
                "load/intake.py",
                "parts = self._patiently(stop, lambda: self._archive(",
                "self.queue.ack(taken.deliveries)\n            parts = self._patiently(stop, lambda: self._archive(",
            ),
        ),
        (f"{_POINTS}::test_a_crash_there_loses_and_doubles_nothing[before archive.put of incoming/ 1]",),
    ),
    Mutant(
        "rewriting loaded files only",
        (
            (
                "load/rewrite.py",
                "if len(in_full(ledger, plan.old)) < len(plan.old):",
                "if False:",
            ),
        ),
        ("tests/load/test_rewrite.py::test_a_warehouse_put_back_meanwhile_stops_the_set",),
    ),
    Mutant(
        "the file's fsync",
        (("archives/disk.py", "                _sync(descriptor)\n                _link", "                _link"),),
        (f"{_ORDER}::test_a_rounds_file_is_durable_before_it_has_its_name_and_the_name_before_it_is_acknowledged",),
    ),
    Mutant(
        "the folder's fsync",
        (
            (
                "archives/disk.py",
                'with _explained("write", path):\n            _sync_folder(path.parent)',
                "pass",
            ),
        ),
        (f"{_ORDER}::test_a_rounds_file_is_durable_before_it_has_its_name_and_the_name_before_it_is_acknowledged",),
    ),
    Mutant(
        "the position's fsync",
        (("queues/sqlite/positions.py", "PRAGMA synchronous = FULL", "PRAGMA synchronous = OFF"),),
        (f"{_ORDER}::test_a_rounds_file_is_durable_before_it_has_its_name_and_the_name_before_it_is_acknowledged",),
    ),
    Mutant(
        "the publisher's fsync",
        (("queues/sqlite/files.py", "PRAGMA synchronous = FULL", "PRAGMA synchronous = OFF"),),
        (f"{_ORDER}::test_publish_returns_after_its_commit_is_durable",),
    ),
    Mutant(
        "filling, only what is null",
        (
            (
                "warehouses/duckdb_fill.py",
                "CASE WHEN {sql.OLD}.{name(column.name)} IS NULL THEN s.c{at} END",
                "s.c{at}",
            ),
            (
                "warehouses/duckdb_fill.py",
                "coalesce({sql.OLD}.{name(column.name)}, rescuing.c{at})",
                "rescuing.c{at}",
            ),
        ),
        (f"{_CONFORMANCE}::TestDuckDB::test_only_nulls_of_rows_that_are_there_are_filled[some fields]",),
    ),
    Mutant(
        "filling, only what is null, by one statement",
        (("warehouses/duckdb_fill.py", "{column} = coalesce({sql.OLD}.{column}, s.c{at})", "{column} = s.c{at}"),),
        (f"{_CONFORMANCE}::TestDuckDB::test_only_nulls_of_rows_that_are_there_are_filled[nothing]",),
    ),
    Mutant(
        "filling, by one statement only where it is plain",
        (("warehouses/duckdb_fill.py", "if not rescued.mixed and _is_plain(cursor, fill):", "if True:"),),
        (
            f"{_FILL}::test_of_two_values_for_one_row_none_is_taken",
            f"{_CONFORMANCE}::TestDuckDB::test_only_nulls_of_rows_that_are_there_are_filled[some fields]",
        ),
    ),
    Mutant(
        "filling, by the moment too",
        (("warehouses/duckdb_fill.py", '("_id", "_source", "_received_at"))', '("_id", "_source"))'),),
        (f"{_FILL}::test_of_several_copies_the_earliest_counts_as_in_the_table[1]",),
    ),
    Mutant(
        "filling, of two values none",
        (("warehouses/duckdb_fill.py", "    if doubled:\n        left += _settle(cursor, fill)\n", ""),),
        (f"{_FILL}::test_of_two_values_for_one_row_none_is_taken",),
    ),
    Mutant(
        "filling nulls alone, in PostgreSQL",
        (
            (
                "warehouses/postgres_fill.py",
                "{column} = coalesce(t.{column}, s.c{at})",
                "{column} = coalesce(s.c{at}, t.{column})",
            ),
        ),
        (f"{_POSTGRES}::TestPostgres::test_only_nulls_of_rows_that_are_there_are_filled[nothing]",),
    ),
    Mutant(
        "filling, of two values none, in PostgreSQL",
        (("warehouses/postgres_fill.py", " + _settle(connection, fill)", ""),),
        (f"{_POSTGRES}::TestPostgres::test_of_two_values_for_one_row_none_is_taken_and_the_same_twice_is_one",),
    ),
    Mutant(
        "a rebuild, what was loaded meanwhile",
        (("warehouses/rebuilding.py", "WHERE l.table_name = {table} AND NOT EXISTS", "WHERE false AND NOT EXISTS"),),
        (
            f"{_REBUILD}::test_it_comes_to_an_end_however_fast_the_table_is_loaded[duckdb]",
            f"{_REBUILD}::test_it_comes_to_an_end_however_fast_the_table_is_loaded[postgres]",
        ),
    ),
    Mutant(
        "a rebuild, what was deleted",
        (("warehouses/rebuilding.py", 'f"WHERE table_name = {text(rebuild.table)}"\n    )', '"WHERE false"\n    )'),),
        (
            f"{_CONFORMANCE}::TestDuckDB::test_what_was_deleted_stays_so",
            f"{_POSTGRES}::TestPostgres::test_what_was_deleted_stays_so",
        ),
    ),
    Mutant(
        "a rebuild, rows that the archive lacks",
        (("load/rebuild.py", "drops_others=drops_others,", "drops_others=True,"),),
        (f"{_REBUILD}::test_rows_that_the_archive_does_not_have_are_not_lost_unasked[duckdb]",),
    ),
    Mutant(
        "search, in PostgreSQL",
        (
            (
                "warehouses/postgres_load.py",
                "staged.leave_out(self._known_of(staged))",
                "self._known_of(staged)",
            ),
        ),
        (
            f"{_POSTGRES}::TestPostgres::test_the_same_records_in_another_batch_are_not_new[300]",
            f"{_POSTGRES}::test_what_another_process_has_loaded_meanwhile_is_not_new[100]",
        ),
    ),
    Mutant(
        "search for few rows, in PostgreSQL",
        (
            (
                "warehouses/postgres_load.py",
                "fresh = [row for identity, row in earliest.items() if identity not in known]",
                "fresh = list(earliest.values())",
            ),
        ),
        (f"{_POSTGRES}::test_few_prepared_rows_are_searched_and_remembered",),
    ),
    Mutant(
        "whose memory it is, in PostgreSQL",
        (
            (
                "warehouses/postgres_recent.py",
                "if known.content == content or (known.content is None and known.writer is writer):",
                "if True:",
            ),
        ),
        (
            f"{_POSTGRES}::test_what_another_process_has_loaded_meanwhile_is_not_new[100]",
            f"{_POSTGRES}::test_after_a_load_whose_end_nobody_knows_what_is_there_is_looked_up[True]",
            f"{_POSTGRES}::test_after_a_load_whose_end_nobody_knows_what_is_there_is_looked_up[False]",
        ),
    ),
    Mutant(
        "what a memory does not reach back to, in PostgreSQL",
        (("warehouses/postgres_recent.py", "return known.since <= since", "return True"),),
        (f"{_POSTGRES}::test_a_memory_reaches_back_to_its_beginning_alone",),
    ),
    Mutant(
        "uniqueness in the batch, in PostgreSQL",
        (("warehouses/postgres_staging.py", "        elif not distinct:", "        elif False:"),),
        (f"{_POSTGRES}::TestPostgres::test_copies_within_a_batch_are_one_row_and_the_earliest_wins[300]",),
    ),
    Mutant(
        "early, in PostgreSQL",
        (("warehouses/postgres_load.py", "            self._point_at_early(staged.early())", "            pass"),),
        (f"{_POSTGRES}::TestPostgres::test_rows_of_fast_clocks_are_found_though_they_lie_before_the_bound[200]",),
    ),
    Mutant(
        "table lock, in PostgreSQL",
        (
            (
                "warehouses/postgres.py",
                "lock(connection, {*tables, *(entry.table for batch in batches for entry in batch.entries)})",
                "pass",
            ),
        ),
        (
            f"{_POSTGRES}::test_of_two_loads_that_overlap_the_second_waits[3]",
            f"{_POSTGRES}::test_of_two_loads_that_overlap_the_second_waits[100]",
        ),
    ),
    Mutant(
        "repeated guard, in PostgreSQL",
        (("warehouses/postgres.py", "if found.shape.version != batch.shape_version:", "if False:"),),
        (f"{_POSTGRES}::test_what_another_process_changed_is_guarded_again",),
    ),
    Mutant(
        "too old on arrival",
        (("load/loader.py", "        young = without_old(part, rows_from)", "        young = part"),),
        (
            f"{_RETAINING}::test_nothing_brings_rows_back[3]",
            f"{_RETAINING}::test_nothing_brings_rows_back[300]",
            f"{_RETAINING}::test_a_late_queue_file_is_archived_and_entered_and_loads_what_is_young",
            f"{_RETENTION}::test_a_crash_there_loses_nothing_and_brings_nothing_back[after warehouse.expire 1]",
        ),
    ),
    Mutant(
        "too old on arrival, of dead letters",
        (("load/loader.py", "        dead = self._young_letters(prepared.dead)", "        dead = prepared.dead"),),
        (
            f"{_RETAINING}::test_letters_that_are_too_old_do_not_return",
            f"{_RETENTION}::test_a_crash_there_loses_nothing_and_brings_nothing_back[after warehouse.expire 1]",
        ),
    ),
    Mutant(
        "too old on arrival, of mirrored tables",
        (("load/loader.py", "            return with_old_deleted(part, rows_from)", "            return part"),),
        (f"{_RETAINING}::test_rows_of_a_mirrored_table_go_where_it_is_named_and_older_versions_stay_away",),
    ),
    Mutant(
        "archive outlives rows",
        (("load/retention.py", "max(kept.archive, *rows))", "kept.archive)"),),
        (
            f"{_EXPIRE}::test_the_archive_of_rows_that_stay_stays",
            "tests/config/test_config_retention.py::test_the_archive_of_events_is_never_shorter_than_their_rows",
        ),
    ),
    Mutant(
        "expiring loaded files only",
        (
            (
                "load/expire.py",
                "old = [entry for entry in entries if entry.name in loaded]",
                "old = entries or loaded",
            ),
        ),
        (f"{_EXPIRE}::test_what_is_not_loaded_stays",),
    ),
    Mutant(
        "newest kept",
        (("load/expire.py", "keeps_newest=bool(shape.key) or shape.version == 0", "keeps_newest=False"),),
        (
            f"{_EXPIRE}::test_the_newest_version_of_each_key_stays_deletions_too",
            f"{_RETAINING}::test_a_mirrored_table_is_rebuilt_equal_after_its_archive_has_expired",
            f"{_RETENTION}::test_a_crash_there_loses_nothing_and_brings_nothing_back[after warehouse.expire 1]",
        ),
    ),
    Mutant(
        "newest deletions kept",
        (("load/newest.py", 'record.op != "insert"', 'record.op == "upsert"'),),
        (
            f"{_EXPIRE}::test_the_newest_version_of_each_key_stays_deletions_too",
            f"{_RETAINING}::test_a_mirrored_table_is_rebuilt_equal_after_its_archive_has_expired",
        ),
    ),
    Mutant(
        "keeping before removing",
        (
            (
                "load/expire.py",
                "                yield from self._write(",
                "                _remove(self.archive, names[1:], now)\n                yield from self._write(",
            ),
        ),
        (
            f"{_EXPIRE}::test_a_crash_after_any_step_loses_nothing_and_the_next_run_does_the_rest",
            f"{_EXPIRE}::test_new_files_come_first_and_deleting_last",
        ),
    ),
    Mutant(
        "an entry of a file that is there stays",
        (("load/expire.py", "gone = [name for name in names if name not in there]", "gone = names or there"),),
        (f"{_EXPIRE}::test_an_entry_of_a_file_that_is_there_is_never_forgotten",),
    ),
    Mutant(
        "tombstones of rows that went",
        (
            (
                "warehouses/duckdb_expire.py",
                'SELECT {text(shape.table)}, _key, _version, _id FROM gone")',
                'SELECT {text(shape.table)}, _key, _version, _id FROM gone WHERE false")',
            ),
        ),
        (f"{_CONFORMANCE}::TestDuckDB::test_a_keyed_row_leaves_its_tombstone",),
    ),
    Mutant(
        "tombstone, in PostgreSQL",
        (("warehouses/postgres_sql.py", "WHERE t.key = n.key AND", "WHERE false AND t.key = n.key AND"),),
        (f"{_POSTGRES}::TestPostgres::test_a_delete_outlives_its_row",),
    ),
)


def run(tests: tuple[str, ...], package: Path) -> subprocess.CompletedProcess[str]:
    """These tests on that copy of the package."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--basetemp", str(package / "tmp"), *tests],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(package), "CATCHMENT_TEST_PATIENCE_S": "15"},
        capture_output=True,
        text=True,
        check=False,
    )


def copy(folder: Path, mutant: Mutant | None) -> None:
    """The package, with the mutant's changes. Fails where the code has moved on and a change no longer applies."""
    shutil.copytree(REPOSITORY / "src" / "catchment", folder / "catchment")
    for file, old, new in mutant.changes if mutant else ():
        path = folder / "catchment" / file
        text = path.read_text()
        assert text.count(old) == 1, f"{file} has {text.count(old)} times {old!r}"
        path.write_text(text.replace(old, new))


def noticed(mutant: Mutant) -> set[str]:
    """Of the tests that have to notice, those that did."""
    with tempfile.TemporaryDirectory() as folder:
        copy(Path(folder), mutant)
        done = run(mutant.tests, Path(folder))
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    return set(_FAILED.findall(done.stdout))


def main(wanted: str) -> None:
    """All mutants whose protection begins so."""
    for mutant in MUTANTS:
        if mutant.protection.startswith(wanted):
            failed = noticed(mutant)
            silent = set(mutant.tests) - failed
            print(f"{mutant.protection}: {len(failed)} tests failed" + (f", NOT {sorted(silent)}" if silent else ""))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "")
