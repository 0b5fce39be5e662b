"""Each protection of exactly-once, removed on purpose, makes the tests fail that are there for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.mutants import MUTANTS, Mutant, copy, noticed, run

every_mutant = pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.protection for mutant in MUTANTS])


@every_mutant
def test_the_code_still_has_what_a_mutant_removes(mutant: Mutant, tmp_path: Path) -> None:
    copy(tmp_path, mutant)


@pytest.mark.soak
@every_mutant
def test_a_protection_removed_is_noticed(mutant: Mutant) -> None:
    assert noticed(mutant) == set(mutant.tests)


@pytest.mark.soak
def test_with_all_protections_nothing_is_noticed(tmp_path: Path) -> None:
    copy(tmp_path, None)
    done = run(tuple(sorted({test for mutant in MUTANTS for test in mutant.tests})), tmp_path)
    assert done.returncode == 0, done.stdout


def test_the_copy_is_what_is_tested(tmp_path: Path) -> None:
    """Else nothing here would mean anything."""
    copy(tmp_path, None)
    (tmp_path / "catchment" / "record.py").write_text("raise SystemExit('of the copy')\n")
    done = run(("tests/crash/test_protections.py",), tmp_path)
    assert "of the copy" in done.stdout + done.stderr
