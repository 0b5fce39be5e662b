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
_FIELD, _RECORD = "\x1f", "\x1e"


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
                f"--format=%H{_FIELD}%at{_FIELD}%an{_FIELD}%s{_RECORD}",
                "--",
                self._name(path),
            )
        except Abort:
            return []  # no commit yet
        found = []
        for record in filter(str.strip, said.split(_RECORD)):
            id_, at, who, what = record.strip().split(_FIELD)
            found.append(Version(id_, float(at), who, what))
        return found

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
        current = path.read_text(encoding="utf-8") if path.exists() else ""
        if (fingerprint(current) if path.exists() else "") != base:
            raise Moved(current)
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".", encoding="utf-8", delete=False) as new:
            new.write(text)
            new.flush()
            os.fsync(new.fileno())
        Path(new.name).chmod(path.stat().st_mode & 0o777 if path.exists() else 0o644)
        Path(new.name).replace(path)
        roles = ("GIT_AUTHOR", "GIT_COMMITTER")
        person = {f"{role}_{what}": value for role in roles for what, value in (("NAME", name), ("EMAIL", email))}
        self._git("add", "--", self._name(path))
        if self._git("status", "--porcelain", "--", self._name(path)).strip():
            self._git("commit", "--quiet", "--only", "-m", message, "--", self._name(path), environment=person)

    def _name(self, path: Path) -> str:
        return path.relative_to(self._root).as_posix()

    def _git(self, *words: str, environment: Mapping[str, str] = {}) -> str:
        """What git says. Raises `Abort` where it fails."""
        # Hooks and settings of the checkout are its owner's; what asks questions would wait for ever.
        env = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C.UTF-8", **environment}
        done = subprocess.run(
            ["git", *words],
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
