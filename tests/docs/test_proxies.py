"""What docs/how-to shows of nginx, Caddy and systemd, as it stands there: real ones, before a real collector."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from catchment.config import load_project
from tests.collect.queued import Queued, take
from tests.collect.test_service import make_certificate
from tests.crash.running import PATIENCE_S, REPOSITORY, until
from tests.missing import without
from tests.servers.ports import free_port

HOW_TO = REPOSITORY / "docs" / "how-to"
PAGE = (HOW_TO / "collect-on-the-internet.md").read_text(encoding="utf-8")
KEY = "key-of-the-site"
ORIGIN = "https://www.acme.example"
CLIENT = "127.1.2.3"
"""Not the proxy's own address, which is trusted."""


def blocks(language: str, page: str = PAGE) -> list[str]:
    """The page's blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.M | re.S)


def program(name: str) -> str:
    """Where a program is; skips without."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if found is None:
        if name == "nginx":
            without("nginx is not installed (tests/system_packages.sh brings it)")
        pytest.skip(f"needs {name}, which is too large to bring for one test")
    return found


@contextlib.contextmanager
def running(command: list[str], port: int, folder: Path, env: dict[str, str] | None = None) -> Iterator[None]:
    """While this process listens on the port."""
    said = folder / f"{Path(command[0]).name}.log"
    with said.open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=REPOSITORY,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **(env or {})},
        )
    try:
        until(lambda: process.poll() is not None or is_open(port), f"{command[0]} to listen")
        assert process.poll() is None, said.read_text()
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Site:
    """A collector of the page's project behind a proxy, which serves TLS on `port`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.collector_port = free_port()
        folder.mkdir(exist_ok=True)
        make_certificate(folder, "t.acme.example")
        toml = blocks("toml")[0].replace("127.0.0.1:8000", f"127.0.0.1:{self.collector_port}")
        (folder / "catchment.toml").write_text(f'[project]\nname = "acme"\n{toml}')
        (folder / ".env").write_text(f"SITE_KEY={KEY}\n")

    @contextlib.contextmanager
    def collecting(self, proxy: list[str]) -> Iterator[None]:
        command = [sys.executable, "-m", "catchment", "run", "-p", str(self.folder), "collect"]
        home = {"HOME": str(self.folder), "XDG_DATA_HOME": str(self.folder)}
        with running(command, self.collector_port, self.folder), running(proxy, self.port, self.folder, home):
            yield

    def post(self, path: str, body: bytes, host: str = "t.acme.example") -> int:
        """As a browser does, which claims to be somebody else."""
        context = ssl.create_default_context(cafile=str(self.folder / "cert.pem"))
        context.check_hostname = False
        raw = socket.create_connection(("127.0.0.1", self.port), PATIENCE_S, source_address=(CLIENT, 0))
        connection = http.client.HTTPSConnection(host, self.port, timeout=PATIENCE_S)
        connection.sock = context.wrap_socket(raw, server_hostname=host)
        headers = {"X-Write-Key": KEY, "Origin": ORIGIN, "X-Forwarded-For": "6.6.6.6", "Content-Type": "text/plain"}
        with contextlib.closing(connection):
            connection.request("POST", path, body, headers)
            return connection.getresponse().status

    def kept(self) -> list[Queued]:
        return take(load_project(self.folder, None))


def event(identity: str) -> bytes:
    return json.dumps({"batch": [{"type": "page", "messageId": identity}]}).encode()


def replaced(text: str, *pairs: tuple[str, str]) -> str:
    """The text with each of these in place of what stands there, which must."""
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new)
    return text


def nginx(site: Site) -> list[str]:
    server, location = blocks("nginx")
    ours = (
        ("listen 443 ssl", f"listen 127.0.0.1:{site.port} ssl"),
        ("/etc/letsencrypt/live/t.acme.example/fullchain.pem", str(site.folder / "cert.pem")),
        ("/etc/letsencrypt/live/t.acme.example/privkey.pem", str(site.folder / "key.pem")),
    )
    server = replaced(server, ("127.0.0.1:8000", f"127.0.0.1:{site.collector_port}"), *ours)
    # The site itself, below which events are collected as well.
    head = replaced(server.partition("server {")[2].partition("location")[0], ("t.acme.example;", "www.acme.example;"))
    folders = "".join(
        f"{kind}_temp_path {site.folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;\n" if os.geteuid() == 0 else ""  # who can read the test's folder
    (site.folder / "nginx.conf").write_text(
        f"{user}daemon off;\nworker_processes 1;\npid {site.folder}/nginx.pid;\nerror_log stderr;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{folders}{server}\nserver {{{head}\n{location}\n}}\n}}\n"
    )
    return [program("nginx"), "-e", "stderr", "-p", str(site.folder), "-c", str(site.folder / "nginx.conf")]


def caddy(site: Site) -> list[str]:
    first, second = blocks("caddyfile")
    tls = f"tls {site.folder}/cert.pem {site.folder}/key.pem\nbind 127.0.0.1\n"
    ours = ("127.0.0.1:8000", f"127.0.0.1:{site.collector_port}")
    first = replaced(first, ours, ("t.acme.example {", f"https://t.acme.example:{site.port} {{\n{tls}"))
    second = replaced(
        second, ours, ("www.acme.example {", f"https://www.acme.example:{site.port} {{\n{tls}"), ("…", "")
    )
    (site.folder / "Caddyfile").write_text(f"{{\nadmin off\nauto_https off\n}}\n{first}\n{second}")
    return [program("caddy"), "run", "--adapter", "caddyfile", "--config", str(site.folder / "Caddyfile")]


@pytest.mark.parametrize("proxy", [nginx, caddy])
def test_events_arrive_through_the_proxy_of_the_page(tmp_path: Path, proxy: object) -> None:
    assert callable(proxy)
    site = Site(tmp_path / "site")
    with site.collecting(proxy(site)):
        assert site.post("/v1/batch", event("at its own name")) == 200
        assert site.post("/hello/v1/batch", event("below the site"), "www.acme.example") == 200
        largest = event("large")
        largest += b" " * (1_048_576 - len(largest))
        assert site.post("/v1/batch", largest) == 200
        assert site.post("/v1/batch", largest + b" ") == 413
    kept = site.kept()
    assert sorted(each.id for each in kept) == ["at its own name", "below the site", "large"]
    assert {each.data["context_ip"] for each in kept} == {"127.1.2.0"}, "the client's own network, not what it claims"


UNITS = [
    (re.findall(r"^# /etc/systemd/system/([\w.-]+)", block)[0], block)
    for page in ("collect-on-the-internet.md", "run-under-systemd.md")
    for block in blocks("ini", (HOW_TO / page).read_text(encoding="utf-8"))
]


def test_units_are_shown() -> None:
    assert sorted(name for name, _ in UNITS) == [
        "catchment-collect.service",
        "catchment-collect.socket",
        "catchment.service",
    ]


def test_systemd_understands_the_units_of_the_pages(tmp_path: Path) -> None:
    analyze = program("systemd-analyze")
    for name, text in UNITS:
        (tmp_path / name).write_text(text.replace("/srv/acme/.venv/bin/catchment", sys.executable))
    done = subprocess.run(
        [analyze, "verify", "--man=no", "--recursive-errors=no", *(str(tmp_path / name) for name, _ in UNITS)],
        capture_output=True, text=True, check=False, env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
    )  # fmt: skip
    said = [line for line in done.stderr.splitlines() if str(tmp_path) in line or "catchment" in line]
    assert said == []
    assert done.returncode == 0, done.stderr
