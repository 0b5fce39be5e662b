"""CPU for an event that is on disk once it is answered, alone and in batches, beside granian storing nothing."""

from __future__ import annotations

import contextlib
import json
import socket
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from bench import environments
from bench.http_client import keep_busy
from bench.measure import ROOT, Check, progress, result, scratch
from catchment.config import PROJECT_FILE

KEY = "bench-key"
ROUNDS = 5
CONNECTIONS = (64, 256)
SINGLE_EVENTS = 20_000
BATCHED_EVENTS = 100_000
BATCH = 50
IDLE_CONNECTIONS = 1_024
STARTED_WITHIN_S = 20
NEEDED_BYTES = 2_000_000_000
MB = 1e6

HEAD = (
    b"POST %b HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nX-Write-Key: %b\r\nContent-Length: %d\r\n\r\n"
)
CONTEXT = {
    "library": {"name": "analytics.js", "version": "2.1.0"},
    "page": {"url": "https://www.acme.example/pricing", "path": "/pricing", "referrer": "", "title": "Pricing"},
    "userAgent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36",
    "locale": "en-US",
}


def run() -> dict[str, Any]:
    """CPU an event, the share of granian's speed, memory, and idle connections."""
    cpu: dict[tuple[str, int], list[float]] = {}
    with scratch(NEEDED_BYTES) as folder, collector(folder) as ours, granian() as peer:
        for number in range(ROUNDS):
            for connections in CONNECTIONS:
                for name, (port, process), batch in (
                    ("single", ours, 1),
                    ("granian", peer, 1),
                    ("batched", ours, BATCH),
                ):
                    events = SINGLE_EVENTS if batch == 1 else BATCHED_EVENTS
                    _, cpu_s = keep_busy(port, requests(events, batch), connections, process)
                    cpu.setdefault((name, connections), []).append(cpu_s / events * 1e6)
            progress(f"round {number + 1} of {ROUNDS}")
        port, process = ours
        idle = _idle(port)
        memory = process.memory_full_info()
    found = {f"{name}_{connections}": statistics.median(values) for (name, connections), values in cpu.items()}
    share = min(found[f"granian_{connections}"] / found[f"single_{connections}"] for connections in CONNECTIONS)
    single = max(found[f"single_{connections}"] for connections in CONNECTIONS)
    batched = max(found[f"batched_{connections}"] for connections in CONNECTIONS)
    return result(
        [
            Check("share_of_granian", share, must=0.5, goal=0.7, at_least=True),
            Check("single_cpu_us", single, must=30, goal=20),
            Check("batched_cpu_us", batched, must=14, goal=10),
            Check("worker_mb", memory.rss / MB, must=40, goal=None),
            Check("idle_connections", idle, must=IDLE_CONNECTIONS, goal=None, at_least=True),
        ],
        "granian RSGI that decodes and answers, by CPU for a request",
        rounds=ROUNDS,
        worker_own_mb=round(memory.uss / MB, 1),  # the rest are libraries that all our processes share
        cpu_us={name: round(value, 1) for name, value in found.items()},
    )


def requests(events: int, batch: int) -> list[bytes]:
    """Requests for so many events, each with an id of its own."""
    made = []
    for number in range(0, events, batch):
        calls = [_call(number + n) for n in range(batch)]
        body = json.dumps(calls[0] if batch == 1 else {"batch": calls}, separators=(",", ":")).encode()
        path = b"/v1/track" if batch == 1 else b"/v1/batch"
        made.append(HEAD % (path, KEY.encode(), len(body)) + body)
    return made


def _call(number: int) -> dict[str, Any]:
    return {
        "type": "track",
        "event": f"Order {number % 5}",
        "messageId": str(uuid.uuid4()),
        "anonymousId": f"a{number % 1000}",
        "userId": None,
        "timestamp": "2026-11-30T10:00:00.123Z",
        "properties": {"total": number * 0.5, "currency": "USD", "items": number % 7, "first": number % 2 == 0},
        "context": CONTEXT,
    }


@contextlib.contextmanager
def collector(folder: Path) -> Iterator[tuple[int, psutil.Process]]:
    """`catchment run collect` alone: what loads is not its price. Its port and process."""
    port = free_port()
    folder.joinpath(PROJECT_FILE).write_text(settings(port))
    command = [sys.executable, "-m", "catchment", "run", "-p", str(folder), "collect"]
    with started(command, port) as process:
        yield port, process


def settings(port: int) -> str:
    """A source that may send as much as it likes to this port."""
    return f'[collect]\nlisten = "127.0.0.1:{port}"\nrequests_per_s = 0\n[collect.sources.site]\nwrite_key = "{KEY}"\n'


@contextlib.contextmanager
def granian() -> Iterator[tuple[int, psutil.Process]]:
    """One worker of it; its port and the worker's process."""
    port = free_port()
    python = environments.python("granian")
    target = str(ROOT / "bench" / "peers" / "granian_app.py") + ":app"
    command = [str(python), "-m", "granian", "--interface", "rsgi", "--port", str(port), "--workers", "1", target]
    with started(command, port) as process:
        [worker] = process.children() or [process]
        yield port, worker


@contextlib.contextmanager
def started(command: list[str], port: int, within_s: float = STARTED_WITHIN_S) -> Iterator[psutil.Process]:
    """A server that listens there, until the block ends. Raises `RuntimeError` where it does not in time."""
    server = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline_s = time.monotonic() + within_s
        while not _listens(port):
            if server.poll() is not None or time.monotonic() > deadline_s:
                raise RuntimeError(f"{' '.join(command)} did not start")
            time.sleep(0.05)
        yield psutil.Process(server.pid)
    finally:
        server.terminate()
        try:
            server.wait(STARTED_WITHIN_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def free_port() -> int:
    """One that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _idle(port: int) -> int:
    """How many connections are kept open while nothing is sent, a request on each having been answered."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(IDLE_CONNECTIONS)]
        [request] = requests(1, 1)
        answered = 0
        for each in (*sockets, *sockets[:50]):
            each.sendall(request)
            answered += each.recv(1_000).startswith(b"HTTP/1.1 200")
    return min(answered, IDLE_CONNECTIONS)
