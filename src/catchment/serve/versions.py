"""Versions of the project's files, by git: whoever saves a dashboard in the browser commits that one file."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from catchment.errors import Abort, UsageError

MOST_VERSIONS = 50
_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Version:
    """One commit of a file."""

    id: str
    at_s: float
    who: str
    what: str


@dataclass(frozen=True, slots=True)
class Moved(Exception):
    """The file is no longer what the change was made of; `text` is what it is."""

    text: str


def fingerprint(text: str) -> str:
    """What tells two texts apart."""
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def _write(path: Path, content: bytes) -> None:
    """The whole file at once."""
    with tempfile.NamedTemporaryFile("wb", dir=path.parent, prefix=".", delete=False) as new:
        new.write(content)
        new.flush()
        os.fsync(new.fileno())
    Path(new.name).chmod(path.stat().st_mode & 0o777 if path.exists() else 0o644)
    Path(new.name).replace(path)


class Versions:
    """The git checkout that a folder lies in, if it does."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def why_not(self) -> str:
        """Why nothing can be saved here; empty where it can."""
        try:
            inside = self._git("rev-parse", "--is-inside-work-tree").strip() == "true"
        except FileNotFoundError:
            return "git is not installed here, so files are changed where the project lies."
        except Abort:
            inside = False
        if not inside:
            return "The project is in no git checkout, so files are changed where it lies: git init, and commit."
        if not os.access(self._root, os.W_OK):
            return "The checkout is read-only here, so files are changed where they come from."
        return ""

    def history(self, path: Path) -> list[Version]:
        """The file's versions, the latest first."""
        try:
            said = self._git(
                "log",
                f"-{MOST_VERSIONS}",
                "--format=%H%x00%at%x00%an%x00%s%x00",
                "--",
                self._name(path),
            )
        except Abort:
            return []  # no commit yet
        # Nothing in a commit can hold a zero.
        fields = [each.strip() for each in said.split("\0")][:-1]
        return [
            Version(id_, float(at), who, what)
            for id_, at, who, what in zip(*(fields[start::4] for start in range(4)), strict=True)
        ]

    def text_of(self, path: Path, version: str) -> str:
        """The file as it was. Raises `UsageError` for what is no version of it."""
        if not version.isalnum():
            raise UsageError(f"{version!r} is no version")
        try:
            return self._git("show", f"{version}:./{self._name(path)}")
        except Abort:
            raise UsageError(f"{path.name} has no version {version[:12]}") from None

    def save(self, path: Path, text: str, base: str, name: str, email: str, message: str) -> None:
        """Write the file and commit it alone, as that person. `base` is the fingerprint of the text that the change
        was made of; empty for a new file. Raises `Moved`."""
        before = path.read_bytes() if path.exists() else None
        current = "" if before is None else before.decode("utf-8", "replace")
        if ("" if before is None else fingerprint(current)) != base:
            raise Moved(current)
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, text.encode())
        roles = ("GIT_AUTHOR", "GIT_COMMITTER")
        person = {f"{role}_{what}": value for role in roles for what, value in (("NAME", name), ("EMAIL", email))}
        try:
            self._git("add", "--", self._name(path))
            if self._git("status", "--porcelain", "--", self._name(path)).strip():
                said = message.replace("\0", " ")
                self._git("commit", "--quiet", "--only", "-m", said, "--", self._name(path), environment=person)
        except Abort:
            self._put_back(path, before)
            raise

    def _put_back(self, path: Path, before: bytes | None) -> None:
        """What git did not take, such as where a hook of the checkout's refuses it, is not half saved."""
        if before is None:
            path.unlink(missing_ok=True)
            self._git("rm", "--cached", "--quiet", "--ignore-unmatch", "--", self._name(path))
        else:
            _write(path, before)
            self._git("add", "--", self._name(path))

    def _name(self, path: Path) -> str:
        return path.relative_to(self._root).as_posix()

    def _git(self, *words: str, environment: Mapping[str, str] = {}) -> str:
        """What git says. Raises `Abort` where it fails."""
        # Hooks and settings of the checkout are its owner's; what asks questions would wait for ever.
        env = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C.UTF-8", **environment}
        done = subprocess.run(
            ["git", "--literal-pathspecs", *words],  # a file may be called *
            cwd=self._root,
            env=env,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=_TIMEOUT_S,
            check=False,
        )
        if done.returncode:
            raise Abort(f"git {words[0]}: {done.stderr.decode(errors='replace').strip()}")
        return done.stdout.decode("utf-8", "replace")
