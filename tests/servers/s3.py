"""Moto's server as one that speaks as S3 does, and servers and ways to it that fail."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from catchment.archives.s3_config import S3Config
from tests.servers import moto
from tests.servers.moto import KEY, SECRET

__all__ = ["KEY", "SECRET", "Server", "answering", "losing_an_answer", "serving"]


class Server(moto.Moto):
    """A server that runs."""

    def client(self) -> Any:
        """Amazon's own client, which knows nothing of ours."""
        return self.client_of("s3")

    def make_bucket(self, name: str) -> str:
        self.client().create_bucket(Bucket=name)
        return name

    def config(self, bucket: str, **more: Any) -> S3Config:
        settings = {"access_key_id": KEY, "secret_access_key": SECRET, "retry_s": 5.0, **more}
        return S3Config(bucket=bucket, endpoint=self.endpoint, **settings)


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    """A server of its own."""
    with moto.serving() as started:
        yield Server(started.port, started.process)


@contextlib.contextmanager
def answering(status: int, body: str) -> Iterator[str]:
    """A server that gives every request this answer; its address."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def losing_an_answer(port: int) -> Iterator[tuple[str, list[bytes]]]:
    """A way to a server on which the first answer is lost; its address, and the status lines that were."""
    lost: list[bytes] = []
    listening = socket.create_server(("127.0.0.1", 0))

    def pump(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def carry(client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", port)) as server:
            threading.Thread(target=pump, args=(client, server), daemon=True).start()
            if not lost:
                lost.append(server.recv(65_536).partition(b"\r\n")[0])
                client.shutdown(socket.SHUT_RDWR)
            else:
                pump(server, client)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=carry, args=(listening.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", lost
    finally:
        listening.close()
