"""A real server, a real browser's requests, and `catchment admin` beside it."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import uvicorn

from catchment.cli import run
from catchment.cli.exits import ExitCode
from catchment.config import load_project
from tests.accounts.asking import World
from tests.accounts.conftest import EMAIL, PASSWORD


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "catchment.toml").write_text('[serve]\nbase_path = "/data"\n')
    return tmp_path


@pytest.fixture
def port(project: Path) -> Iterator[int]:
    found = load_project(project)
    with closing(found.state.open()) as state, closing(socket.create_server(("127.0.0.1", 0))) as listening:
        # `catchment admin` runs beside it, and reads the real clock.
        world = World(state, found.serve, clock=lambda: datetime.now(UTC))
        server = uvicorn.Server(uvicorn.Config(world.app, log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield listening.getsockname()[1]
        server.should_exit = True
        thread.join()
        world.accounts.close()


def ask(port: int, method: str, path: str, body: str = "", **headers: str) -> tuple[int, Any, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with closing(connection):
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, given)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()


def admin(project: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(["admin", *arguments, "-p", str(project)]) == ExitCode.DONE
    return capsys.readouterr().out


def test_an_admin_at_the_machine_and_a_person_in_a_browser(
    project: Path, port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    own = f"http://127.0.0.1:{port}"
    status, headers, _ = ask(port, "GET", "/data/d/a?b=c", accept="text/html")
    assert (status, headers["location"]) == (303, "/data/sign-in?next=/data/d/a%3Fb%3Dc")
    link = admin(project, capsys, "invite", EMAIL, "--role", "analyst")
    assert link.startswith("http://127.0.0.1:8080/data/sign-in/link?token=")
    form = {"token": link.strip().partition("token=")[2], "password": PASSWORD, "next": "/data/d/a"}
    kind = "application/x-www-form-urlencoded"
    assert ask(port, "POST", "/data/sign-in/link", urlencode(form), content_type=kind)[0] == 403
    assert ask(port, "POST", "/data/sign-in/link", urlencode(form), content_type=kind, origin="http://a.b")[0] == 403
    status, headers, _ = ask(port, "POST", "/data/sign-in/link", urlencode(form), content_type=kind, origin=own)
    assert (status, headers["location"]) == (303, "/data/d/a")
    cookie = headers["set-cookie"].partition(";")[0]
    assert "Path=/data;" in headers["set-cookie"]

    assert ask(port, "GET", "/data/sql", cookie=cookie)[0] == 200
    admin(project, capsys, "user", "change", EMAIL, "--role", "viewer")
    assert ask(port, "GET", "/data/sql", cookie=cookie)[0] == 403
    assert json.loads(ask(port, "GET", "/data/api/me", cookie=cookie)[2])["role"] == "viewer"
    admin(project, capsys, "user", "revoke", EMAIL)
    assert ask(port, "GET", "/data/api/me", cookie=cookie)[0] == 401
    assert "link: invite" in admin(project, capsys, "audit", "--user", EMAIL)


def test_a_websocket_is_refused_before_it_opens(port: int) -> None:
    status, _, _ = ask(
        port,
        "GET",
        "/data/socket",
        upgrade="websocket",
        connection="Upgrade",
        sec_websocket_key="dGhlIHNhbXBsZSBub25jZQ==",
        sec_websocket_version="13",
        origin=f"http://127.0.0.1:{port}",
    )
    # uvicorn without a websocket library takes it for a plain request, which is refused as well.
    assert status in {401, 403}
