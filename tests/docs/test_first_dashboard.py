"""docs/first-dashboard.md: its commands as they stand there, and then the pages as a browser asks for them; and
docs/how-to/ask-from-a-program.md, whose examples ask there."""

from __future__ import annotations

import csv
import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from tests.crash.running import until
from tests.docs.console import run

PAGE = Path(__file__).parents[2] / "docs" / "first-dashboard.md"
IDENTITY = {
    f"GIT_{who}_{what}": text
    for who in ("AUTHOR", "COMMITTER")
    for what, text in (("NAME", "Ana"), ("EMAIL", "ana@laptop.example"))
}
ASKING = PAGE.parent / "how-to" / "ask-from-a-program.md"
PASSWORD = "a password of twelve"
_LINK = re.compile(r"(http://[\d.:]+)/sign-in/link\?token=(\S+)\n")
_FORM = "application/x-www-form-urlencoded"


@dataclass
class Browser:
    """Asks the pages at an address, signed in by a link of theirs."""

    address: str
    cookie: str = ""

    def ask(self, method: str, path: str, body: str = "", kind: str = "application/json") -> tuple[int, Any, str]:
        parts = urlsplit(self.address)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=120)
        given = {"Accept": "text/html", "Origin": self.address, "Content-Type": kind, "Cookie": self.cookie}
        with closing(connection):
            connection.request(method, path, body, given)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read().decode()

    def sign_in(self, token: str, email: str) -> None:
        form = urlencode({"token": token, "email": email, "password": PASSWORD, "next": "/"})
        status, headers, said = self.ask("POST", "/sign-in/link", form, _FORM)
        assert status == 303, said
        self.cookie = headers["set-cookie"].partition(";")[0]

    def tiles(self, path: str) -> dict[str, Any]:
        """What a page says in each of its tiles."""
        status, _, page = self.ask("GET", path)
        assert status == 200, page
        found = re.findall(r'<script type="application/json" class="payload">(.*?)</script>', page)
        return {each["id"]: each for each in map(json.loads, found) if "id" in each}


@contextmanager
def served(project: Path, log: Path) -> Iterator[tuple[Browser, str]]:
    """`catchment up`, and the token of the link that it prints."""
    command = [sys.executable, "-m", "catchment", "up", "--serve-port", "0"]
    with log.open("wb") as said:
        process = subprocess.Popen(
            command, cwd=project, stdout=said, stderr=said, env=os.environ | {"CATCHMENT_LOG_FORMAT": "human"}
        )
    try:
        until(lambda: process.poll() is not None or _LINK.search(log.read_text()) is not None, "the link")
        found = _LINK.search(log.read_text())
        assert found is not None, log.read_text()
        yield Browser(found[1]), found[2]
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's project after all of its commands, which did what the page says."""
    folder = tmp_path_factory.mktemp("first")
    (folder / "tmp").mkdir()
    text = PAGE.read_text(encoding="utf-8")
    assert "exec catchment up\n" in text
    page = folder / PAGE.name
    text = text.replace("exec catchment up\n", "exec catchment up --serve-port 0\n")
    page.write_text(text.replace("http://127.0.0.1:8080", "http://127.0.0.1:…"), encoding="utf-8")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    own = {"PATH": path, "TMPDIR": str(folder / "tmp"), "CATCHMENT_LOG_FORMAT": "human"}
    problems = run(page, folder, own | IDENTITY)
    assert not problems, "\n\n".join(problems)
    return folder / "cafe"


def example(language: str) -> str:
    [found] = re.findall(rf"^```{language}\n(.*?)^```$", ASKING.read_text(encoding="utf-8"), re.M | re.S)
    return str(found)


def asked(command: list[str], environment: dict[str, str]) -> list[str]:
    """What an example prints."""
    own = os.environ | environment
    done = subprocess.run(command, env=own, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def test_the_pages_show_what_the_page_says(project: Path, tmp_path: Path) -> None:
    with (project / "sales.csv").open(encoding="utf-8") as file:
        sales = list(csv.DictReader(file))
    days = sorted({sale["sold_at"][:10] for sale in sales})
    of_harbour = [sale for sale in sales if sale["shop"] == "Harbour"]
    takings = f"{round(sum(float(sale['price']) for sale in of_harbour)):,}"

    with served(project, tmp_path / "up.log") as (browser, token):
        browser.sign_in(token, "ana@acme.example")
        tiles = browser.tiles("/")
        assert {id_: tile["state"] for id_, tile in tiles.items()} == dict.fromkeys(
            ("takings", "cups", "by_day", "by_drink", "best_days"), "ok"
        )
        tiles = browser.tiles(f"/?period={days[0]}..{days[-1]}&shop=Harbour")
        assert takings in tiles["takings"]["html"]
        assert f"{len(of_harbour):,}" in tiles["cups"]["html"]
        assert "Market" not in json.dumps(tiles)

        _, _, edited = browser.ask("GET", "/edit/home")
        [text] = re.findall(r'<script type="application/json" id="text">(.*?)</script>', edited, re.S)
        found = json.loads(text)
        changed = found["text"].replace(
            "unit=€\nselect sum(price) as takings from", "unit=€ target=>=6000\nselect sum(price) as takings from"
        )
        assert changed != found["text"]
        status, _, said = browser.ask("POST", "/edit/home/save", json.dumps({"text": changed, "base": found["base"]}))
        assert status == 200, said
        assert "6,000" in browser.tiles("/")["takings"]["html"]

        cups = Counter(sale["shop"] for sale in sales if float(sale["price"]) > 2.5)
        lines = [f"{shop} {count}" for shop, count in sorted(cups.items())]
        body = json.dumps({"name": "reports", "role": "analyst", "days": 1})
        status, _, said = browser.ask("POST", "/api/account/tokens", body)
        assert status in {200, 201}, said
        own = {"CATCHMENT_URL": browser.address, "CATCHMENT_TOKEN": json.loads(said)["secret"]}
        assert asked(["sh", "-c", example("sh")], own) == ["shop,cups", *(line.replace(" ", ",") for line in lines)]
        assert asked([sys.executable, "-c", example("python")], own) == lines

    command, shown = re.findall(r"^\$ (git log -1 .*)\n(.*)$", PAGE.read_text(encoding="utf-8"), re.M)[0]
    answer = subprocess.run(command, shell=True, cwd=project, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == shown
