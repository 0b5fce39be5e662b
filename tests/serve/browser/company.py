"""A small company whose data and files are as odd as they may be, served by `catchment up`."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

from catchment import presence
from catchment.cli.init import make_project
from catchment.config import load_project
from catchment.serve.accounts.administration import COMMAND, link_path, sign_in_link
from catchment.state.users import Role
from tests.cli.live import CATCHMENT, PATIENCE_S, until

BOARDS = Path(__file__).parent / "boards"
EVIL = "<script>window.__ran=1</script>"
EXACT = 9007199254740993
"""2^53 + 1: what JavaScript's numbers cannot hold."""
ODD = (
    EVIL, '<img src=x onerror="window.__ran=1">',
    "it's \"quoted\"", "50%_\\", None, "🎉 naïve Ünïcode", "</script><b>",
    "javascript:window.__ran=1", "@s1 @muted", "{{ 7 * 7 }}", "",
)  # fmt: skip
CITIES = {"North": ("Oslo", "Turku", EVIL), "South": ("Bari", "Faro"), "<i>odd</i>": ("Nowhere",)}
_TOML = """\
[project]
name = "shop"
timezone = "Europe/London"

[serve]
home = "every"
"""


@dataclass(frozen=True, slots=True)
class Company:
    """It runs. `address` is where its pages are."""

    folder: Path
    address: str

    def send(self, table: str, rows: list[dict[str, object]]) -> None:
        """Rows into a table; they are there when this returns."""
        self.command(
            "send", table, "-", "--format", "ndjson", "--wait", stdin="".join(json.dumps(r) + "\n" for r in rows)
        )

    def command(self, name: str, *words: str, stdin: str = "") -> str:
        """What a command says, which must succeed."""
        done = subprocess.run(
            [*CATCHMENT, name, "-p", str(self.folder), *words],
            input=stdin, capture_output=True, text=True, check=False, timeout=2 * PATIENCE_S,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def link(self, email: str, role: Role, name: str = "") -> str:
        """A link that signs somebody in, once."""
        project = load_project(self.folder, None)
        with contextlib.closing(project.state.open()) as state:
            sent = sign_in_link(state, email, datetime.now(UTC), COMMAND, role=role, name=name)
        return self.address + link_path(sent.secret)

    def board(self, name: str) -> Path:
        """A dashboard's file."""
        return self.folder / "dashboards" / f"{name}.md"

    def git(self, *words: str) -> str:
        """What git says in the project's checkout."""
        return git(self.folder, *words)


def git(folder: Path, *words: str) -> str:
    """What git says in a folder."""
    who = ("-c", "user.name=Somebody", "-c", "user.email=somebody@example.com")
    return subprocess.run(["git", *who, *words], cwd=folder, capture_output=True, text=True, check=True).stdout


def orders(now: datetime) -> list[dict[str, object]]:
    """Some hundred, of the last two months."""
    random, found = Random(7), list[dict[str, object]]()
    for number in range(420):
        region = "<i>odd</i>" if number % 70 == 0 else random.choice(("North", "North", "South"))
        found.append({
            "id": f"o-{number:03}",
            "placed": (now - timedelta(minutes=40 + number * 205)).isoformat(),
            "region": region,
            "city": random.choice(CITIES[region]), "channel": random.choice(("App", "App", "Website")),
            "amount": round(random.uniform(1, 90), 2), "items": random.randint(1, 9), "big": EXACT,
            "note": ODD[number % len(ODD)],
        })  # fmt: skip
    return found


def visits(count: int, page: str) -> list[dict[str, object]]:
    """Rows of a small table, told apart by nothing but their page and number."""
    return [{"page": page, "number": number} for number in range(count)]


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Company]:
    """Made, committed, started, filled; ended in order."""
    make_project(folder)
    with (folder / "catchment.toml").open("w", encoding="utf-8") as toml:
        toml.write(_TOML)
    (folder / "dashboards").mkdir(exist_ok=True)
    for board in BOARDS.glob("*.md"):
        (folder / "dashboards" / board.name).write_bytes(board.read_bytes())
    git(folder, "init", "--quiet")
    git(folder, "add", "dashboards")
    git(folder, "commit", "--quiet", "-m", "The first dashboards")
    said = folder.parent / f"{folder.name}.up"
    with said.open("ab") as out:
        up = subprocess.Popen(
            [sys.executable, "-m", "catchment", "up", "-p", str(folder), "--collect-port", "0", "--serve-port", "0"],
            stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
        )  # fmt: skip
    try:

        def address() -> str | None:
            assert up.poll() is None, said.read_text()
            states = {each.name: each for each in presence.services(folder / ".catchment")}
            if not {"load", "serve"} <= states.keys() or any(each.state != "ready" for each in states.values()):
                return None
            return states["serve"].address

        found = until(address, "the pages to be served")
        assert found is not None
        company = Company(folder, found)
        company.send("shop.orders", orders(datetime.now(UTC)))
        company.send("shop.visits", visits(7, "/"))
        yield company
    finally:
        up.terminate()
        try:
            up.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            up.kill()
            up.wait()
