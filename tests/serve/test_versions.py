"""Saving a dashboard commits that one file, as that person; nothing is lost, and no name leads out of the folder."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from catchment.errors import Abort, UsageError
from catchment.serve.library import Library
from catchment.serve.versions import Moved, Versions, fingerprint


def git(root: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=root, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project within a larger checkout."""
    git(tmp_path, "init", "-q", "-b", "main")
    git(tmp_path, "config", "user.name", "Owner")
    git(tmp_path, "config", "user.email", "owner@acme.example")
    root = tmp_path / "project"
    (root / "dashboards").mkdir(parents=True)
    (root / "dashboards/a.md").write_text("one\n")
    (root / "other.txt").write_text("as committed\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "Begin")
    return root


def save(root: Path, name: str, text: str, base: str, message: str = "Change it") -> Path:
    path = Library(root, "duckdb").path(name)
    assert path is not None
    Versions(root).save(path, text, base, "Ana Bauer", "ana@acme.example", message)
    return path


def test_a_save_commits_one_file_as_the_person_and_leaves_all_else_alone(root: Path) -> None:
    (root / "other.txt").write_text("changed\n")
    (root / "staged.txt").write_text("staged\n")
    git(root, "add", "staged.txt")
    (root / "dashboards/b.md").write_text("not mine\n")
    path = save(root, "a", "two\n", fingerprint("one\n"))
    assert path.read_text() == "two\n"
    assert git(root, "log", "-1", "--format=%an <%ae> %cn %s") == "Ana Bauer <ana@acme.example> Ana Bauer Change it\n"
    assert git(root, "show", "--name-only", "--format=").split() == ["project/dashboards/a.md"]
    assert sorted(line[:2] for line in git(root, "status", "--porcelain").splitlines()) == [" M", "??", "A "]


def test_where_the_file_has_moved_on_both_texts_are_there(root: Path) -> None:
    (root / "dashboards/a.md").write_text("theirs\n")
    with pytest.raises(Moved) as moved:
        save(root, "a", "mine\n", fingerprint("one\n"))
    assert moved.value.text == "theirs\n"
    assert (root / "dashboards/a.md").read_text() == "theirs\n"
    with pytest.raises(Moved):
        save(root, "a", "mine\n", "")
    with pytest.raises(Moved):
        save(root, "new", "mine\n", fingerprint("x"))
    assert not (root / "dashboards/new.md").exists()


@pytest.mark.parametrize(
    "name",
    ["x", "deep/er/x", "*", "?", "[a]", "a b", "ü", "'\"$(touch pwned)`", "-rf", "--output=x", ":(top)a", "!a", "{}"],
)
def test_odd_names_are_names_and_nothing_else(root: Path, name: str) -> None:
    (root / "dashboards/mine.md").write_text("not to be committed\n")
    path = save(root, name, "first\n", "", "# only a comment?")
    save(root, name, "second\n", fingerprint("first\n"), "Two\x1fwords\x00\x1e")
    versions = Versions(root).history(path)
    assert [version.who for version in versions] == ["Ana Bauer", "Ana Bauer"]
    assert [Versions(root).text_of(path, version.id) for version in versions] == ["second\n", "first\n"]
    assert "mine.md" in git(root, "status", "--porcelain")
    assert len(git(root, "show", "-z", "--name-only", "--format=").strip("\0\n").split("\0")) == 1
    assert not (root / "pwned").exists()


@pytest.mark.parametrize(
    "version", ["--output=pwned", "-p", "HEAD:../other.txt", "main^", "0000000", "..", "a b", "", "nothing"]
)
def test_what_is_no_version_is_none(root: Path, version: str) -> None:
    with pytest.raises(UsageError):
        Versions(root).text_of(root / "dashboards/a.md", version)
    assert not (root / "pwned").exists()


def test_windows_line_ends_are_the_same_text(root: Path) -> None:
    path = root / "dashboards/a.md"
    path.write_bytes(b"one\r\ntwo\r\n")
    entry = Library(root, "duckdb").entry("a")
    assert entry is not None
    save(root, "a", "three\n", fingerprint(entry.text))
    assert path.read_bytes() == b"three\n"


def test_what_a_hook_refuses_is_not_half_saved(root: Path) -> None:
    hook = root.parent / ".git/hooks/pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho not on a Friday >&2\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(Abort, match="not on a Friday"):
        save(root, "a", "two\n", fingerprint("one\n"))
    with pytest.raises(Abort, match="not on a Friday"):
        save(root, "new", "two\n", "")
    assert (root / "dashboards/a.md").read_text() == "one\n"
    assert not (root / "dashboards/new.md").exists()
    assert git(root, "status", "--porcelain") == ""


def test_without_git_saving_is_off_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert "git init" in Versions(tmp_path).why_not()
    monkeypatch.setenv("PATH", "")
    assert "not installed" in Versions(tmp_path).why_not()


def test_in_a_checkout_it_is_on(root: Path) -> None:
    assert Versions(root).why_not() == ""
    (root / "dashboards/a.md").unlink()
    assert Library(root, "duckdb").entry("a") is None


PIECES = st.sampled_from(["..", ".", "/", "\\", "a", "\0", "~", "%2e", "\n", "dashboards", " ", "\u2025", "C:"])


@given(name=st.one_of(st.text(), st.lists(PIECES).map("".join), st.text(alphabet="./\\a\0")))
@example("../catchment")
@example("a/../../b")
@example("/etc/passwd")
@example("x" * 5_000)
@example("a//b")
def test_no_name_leads_out_of_the_folder(name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "dashboards").mkdir()
        (root / "secret.md").write_text("secret")
        (root / "dashboards/out").symlink_to(root)
        library = Library(root, "duckdb")
        path = library.path(name)
        assert library.entry(name) is None
        if path is not None:
            inside = os.path.normpath(path)
            assert inside.startswith(f"{root}/dashboards/")
            assert inside == str(path), "one name for each file"
            assert Path(inside).resolve().is_relative_to((root / "dashboards").resolve())
        assert library.path("out/secret") is None
