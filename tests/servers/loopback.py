"""A small HTTP server of a test's own, on a free port of this machine."""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class JsonHandler(BaseHTTPRequestHandler):
    """Says nothing of requests, and answers in JSON."""

    protocol_version = "HTTP/1.1"

    def say(self, status: int, said: Any, kind: str) -> None:
        """Answer with `said` as JSON, of this content type."""
        body = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """To nobody."""


@contextlib.contextmanager
def answering_with(
    handler: type[BaseHTTPRequestHandler], certificate: tuple[Path, Path] | None = None
) -> Iterator[str]:
    """The address of a server that runs; over TLS with a certificate and its key."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
            scheme = "https"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"{scheme}://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
