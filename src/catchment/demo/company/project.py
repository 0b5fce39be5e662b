"""The company's project: two sources with keys of their own, a free port, the questions as files."""

from __future__ import annotations

import re
import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import date, timedelta
from importlib.resources import files
from pathlib import Path

from catchment.config import PROJECT_FILE, Project, load_project
from catchment.demo.company.issues import KEY, TABLE, VERSION
from catchment.demo.company.questions import questions
from catchment.demo.project import Borrowed, is_of_an_earlier_run
from catchment.errors import Abort, StorageError, UsageError

MARK = "# Made by `catchment demo company`; running it again sends the same calls again, and those since.\n"
HOST, PORT, PAGES_PORT = "127.0.0.1", 8000, 8080

_BEGINS = re.compile(r"^# Its story begins on (\d{4}-\d{2}-\d{2})\.$", re.MULTILINE)
_TOML = """\
{mark}# Its story begins on {first_day}.
# All settings: catchment schema project, or docs/reference/configuration.md.

[project]
name = "Ferry"
timezone = "Europe/London"       # whose days and hours the dashboards have

[collect]
listen = "{listen}"
try_page = true                  # a page of buttons at that address; leave it out in production

[collect.sources.app]            # what it sends becomes the tables of the schema app
write_key = "${{APP_WRITE_KEY}}"    # from .env

[collect.sources.website]
write_key = "${{WEBSITE_WRITE_KEY}}"

[collect.sources.github]         # issues, each sent whole whenever it changes; the newest version of each stays
write_key = "${{GITHUB_WRITE_KEY}}"
[collect.sources.github.mirrors."{issues}"]
key = ["{key}"]
version = "{version}"

[serve]                          # pages, where 'catchment[serve]' is installed
listen = "{pages}"
home = "home"                    # dashboards/home.md

[load]
dedupe_window = "365 days"       # so that what the demo sends again adds nothing, months later, too
"""


@dataclass(frozen=True, slots=True)
class Made:
    """The project. `first_day` is the first of the story that is sent to it; `is_new`: no earlier run made it."""

    project: Project
    first_day: date
    is_new: bool


def made(folder: Path, first_day: date, borrowed: Borrowed) -> Made:
    """Make the project, for a story from that day on; or take that of an earlier run, whose first day stays.

    Raises `UsageError` where the folder is somebody else's, runs already, or cannot listen where it did.
    """
    is_new = not is_of_an_earlier_run(folder, MARK)
    if is_new:
        borrowed.make_project(folder)
        try:
            _fill(folder, first_day)
        except OSError as error:
            raise StorageError(f"{error.filename}: {error.strerror}", "make room there, or --dir DIR") from error
    project = load_project(folder.absolute(), None)
    if not is_new:
        first_day = _first_day(folder)
        for section, at in (("collect", project.collect), ("serve", project.serve)):
            if not _is_free(at.host, at.port):
                raise UsageError(
                    f"something else listens on {at.listen}",
                    f"stop it, or another [{section}] listen in {folder / PROJECT_FILE}",
                )
    return Made(project, first_day, is_new)


def _fill(folder: Path, first_day: date) -> None:
    toml = _TOML.format(
        mark=MARK,
        first_day=first_day,
        listen=f"{HOST}:{_free_port(PORT)}",
        pages=f"{HOST}:{_free_port(PAGES_PORT)}",
        issues=TABLE,
        key=KEY,
        version=VERSION,
    )
    (folder / PROJECT_FILE).write_text(toml, encoding="utf-8")
    with (folder / ".env").open("a", encoding="utf-8") as env:
        for source in ("APP", "WEBSITE", "GITHUB"):
            env.write(f"{source}_WRITE_KEY={secrets.token_hex(16)}\n")
    (folder / "questions").mkdir()
    for question in questions():
        text = f"-- {question.title}\n-- {question.explanation}\n{question.sql}\n"
        (folder / question_file(question.name)).write_text(text, encoding="utf-8")
    (folder / "dashboards").mkdir()
    for name, text in dashboards():
        (folder / "dashboards" / name).write_text(text, encoding="utf-8")
    _commit(folder)


def _commit(folder: Path) -> None:
    """A checkout of its own, so that its dashboards can be changed in the browser. Where git is not there, or does not
    want to, they are changed as files."""
    if shutil.which("git") is None:
        return
    author = ["-c", "user.name=Catchment", "-c", "user.email=demo@ferry.example", "-c", "commit.gpgsign=false"]
    for words in (["init", "--quiet"], ["add", "--all"], [*author, "commit", "--quiet", "--message", "The demo"]):
        done = subprocess.run(["git", *words], cwd=folder, capture_output=True, stdin=subprocess.DEVNULL, check=False)
        if done.returncode:
            return


def dashboards() -> Iterator[tuple[str, str]]:
    """The dashboards: each one's file name and text."""
    for file in sorted((files("catchment.demo.company") / "dashboards").iterdir(), key=lambda each: each.name):
        if file.name.endswith(".md"):
            yield file.name, file.read_text(encoding="utf-8")


def question_file(name: str) -> Path:
    """Where a question's SQL lies, relative to the project's folder."""
    return Path("questions") / f"{name}.sql"


def _first_day(folder: Path) -> date:
    found = _BEGINS.search((folder / PROJECT_FILE).read_text(encoding="utf-8"))
    if found is None:
        raise Abort(f"{folder / PROJECT_FILE} does not say when its story begins", "another folder: --dir DIR")
    return date.fromisoformat(found[1])


def days_since(first_day: date, today: date) -> int:
    """How many days of history there are. A clock that was set back has none."""
    return max(0, (today - first_day) // timedelta(days=1))


def _free_port(wanted: int) -> int:
    if _is_free(HOST, wanted):
        return wanted
    with closing(socket.socket()) as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _is_free(host: str, port: int) -> bool:
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
