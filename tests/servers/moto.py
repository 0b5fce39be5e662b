"""Moto's server, which speaks as Amazon's services do: started by the tests, everything in its memory."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3

KEY, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI-not-a-real-one"
REGION = "us-east-1"
_PATIENCE_S = 60.0
_REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class Moto:
    """A server that runs."""

    port: int
    process: subprocess.Popen[bytes]

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client_of(self, service: str) -> Any:
        """Amazon's own client, which knows nothing of ours."""
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
            region_name=REGION,
        )


@contextlib.contextmanager
def serving() -> Iterator[Moto]:
    """A server of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.servers.moto", "-H", "127.0.0.1", "-p", str(port)],
        cwd=_REPOSITORY,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        give_up_s = time.monotonic() + _PATIENCE_S
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            assert process.poll() is None, "moto's server has ended"
            assert time.monotonic() < give_up_s, "moto's server did not start"
            time.sleep(0.05)
        yield Moto(port, process)
    finally:
        process.kill()
        process.wait()


def _one_at_a_time() -> None:
    """Have requests to SQS wait for each other, which moto leaves to chance: it then delivers a message twice. And
    have it tell the time fast: it does so for every message at each request."""
    from moto.sqs import models
    from moto.sqs.models import SQSBackend

    vars(models).update(unix_time=time.time, unix_time_millis=lambda: time.time() * 1_000)
    lock = threading.RLock()
    receive = SQSBackend.receive_message

    def locked(method: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            with lock:
                return method(*arguments, **named)

        return call

    def receive_locked(backend: Any, queue: str, count: int, wait_s: int, *more: Any, **named: Any) -> Any:
        give_up_s = time.monotonic() + wait_s
        while True:
            with lock:
                found = receive(backend, queue, count, 0, *more, **named)
            if found or time.monotonic() >= give_up_s:
                return found
            time.sleep(0.02)

    for name in ("send_message", "send_message_batch", "delete_message_batch", "change_message_visibility_batch",
                 "get_queue_attributes"):  # fmt: skip
        setattr(SQSBackend, name, locked(getattr(SQSBackend, name)))
    setattr(SQSBackend, "receive_message", receive_locked)  # noqa: B010


if __name__ == "__main__":
    from moto.server import main

    _one_at_a_time()
    main()
