"""Pages that send events, in a headless Chromium."""

from __future__ import annotations

import json
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.sdk.installed import browser, node_modules

DRIVERS = Path(__file__).parent / "drivers"
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-default-apps",
)  # fmt: skip


class _Site(ThreadingHTTPServer):
    """Serves the pages and the SDKs' files, from another origin than the endpoint's, and hears when a page is done."""

    daemon_threads = True

    def __init__(self, task: dict[str, Any]) -> None:
        super().__init__(("127.0.0.1", 0), partial(_Handler, directory=str(DRIVERS)))
        self.task = json.dumps(task).encode()
        self.done = threading.Event()
        self.failures: list[str] = []


class _Handler(SimpleHTTPRequestHandler):
    server: _Site

    def do_GET(self) -> None:
        if self.path == "/task.json":
            self._reply(self.server.task)
        else:
            super().do_GET()

    def do_POST(self) -> None:
        self.server.failures = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._reply(b"{}")
        self.server.done.set()

    def translate_path(self, path: str) -> str:
        if path.startswith("/node_modules/"):
            return str(node_modules() / path.removeprefix("/node_modules/"))
        return super().translate_path(path)

    def _reply(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Nothing."""


def show(page: str, task: dict[str, Any], patience_s: float, stays: Callable[[], bool] = lambda: False) -> list[str]:
    """Open a page, wait until it says that it is done, and tell what it could not deliver.

    It then stays open as long as `stays` says.
    """
    program = browser()
    node_modules()
    with _Site(task) as site, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        thread = threading.Thread(target=site.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        url = f"http://127.0.0.1:{site.server_port}/{page}"
        log = Path(profile) / "log"
        with log.open("wb") as said:
            shown = subprocess.Popen(
                [program, *_FLAGS, f"--user-data-dir={profile}", url],
                stdin=subprocess.DEVNULL, stdout=said, stderr=said,
            )  # fmt: skip
        try:
            assert site.done.wait(patience_s), (
                f"{page} was not done in time:\n{log.read_text(errors='replace')[-4000:]}"
            )
            give_up_s = time.monotonic() + patience_s
            while stays():
                assert time.monotonic() < give_up_s, f"{page} did not do in time what it stays open for"
                time.sleep(0.02)
        finally:
            shown.terminate()
            shown.wait()
            site.shutdown()
            thread.join()
        return site.failures
