"""A collector as a process, and thousands of connections of bent requests: whatever they send, each is answered or
closed in time, no answer is a failure of ours, nothing that is answered 200 is missing, and memory is bounded."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.collect.mutating import Mutator, Script
from tests.collect.queued import take
from tests.collect.test_service import Collecting
from tests.crash.running import PATIENCE_S, until
from tests.sdk.recording import WRITE_KEY

BUDGET_ENV, SEED_ENV = "CATCHMENT_FUZZ_S", "CATCHMENT_FUZZ_SEED"
SETTINGS = f"""
header_timeout_s = 0.5
body_timeout_s = 0.5
idle_timeout_s = 0.5
max_body_bytes = 65536
max_plain_bytes = 262144
path_prefix = "/hello"
try_page = true
trusted_proxies = ["127.0.0.0/8"]
[collect.sources.other]
write_key = "{WRITE_KEY}"
drop = ["context.userAgent", "properties.email"]
mask = ["traits.email"]
internal = ["10.0.0.0/8"]
do_not_track = "anonymous"
[collect.webhooks.hub]
secret = "a-secret-of-the-hub"
scheme = "github"
[collect.webhooks.plain]
secret = "another-secret"
"""
CLIENTS = 12
LEAST_SCRIPTS = 400
"""However slow the machine."""
ANSWERED_WITHIN_S = 12.0
"""Head, body and idle time, what passes over a refused body, and a busy machine."""
MAX_GROWTH_BYTES = 120_000_000
FINE = {100, 200, 204, 400, 401, 403, 404, 405, 408, 413, 415, 429, 431, 503}
SUCCESS = b'{"success":true}'
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) [A-Za-z -]+\r\n")


class Attacker(threading.Thread):
    """Sends the next script as long as there is time."""

    def __init__(self, port: int, mutator: Mutator, numbers: Iterator[int], until_s: float) -> None:
        super().__init__(daemon=True)
        self._port = port
        self._mutator = mutator
        self._numbers = numbers
        self._until_s = until_s
        self.statuses: Counter[int] = Counter()
        self.kept: dict[str, int] = {}
        """Ids that must be found, and the number of their script."""
        self.problems: list[str] = []

    def run(self) -> None:
        number = 0
        while (time.monotonic() < self._until_s or number < LEAST_SCRIPTS) and not self.problems:
            number = next(self._numbers)
            script = self._mutator.script(number)
            try:
                answer = self._send(script)
            except BaseException as error:
                self.problems.append(f"script {number}: {error!r}")
                return
            if script.end != "leave":
                self._judge(number, script, answer)

    def _send(self, script: Script) -> bytes:
        """Everything that is answered until the server closes."""
        with socket.create_connection(("127.0.0.1", self._port), timeout=ANSWERED_WITHIN_S) as connection:
            with _may_be_closed():
                for write in script.writes:
                    connection.sendall(write)
                if script.end == "leave":
                    return b""
                if script.end == "done":
                    connection.shutdown(socket.SHUT_WR)
            began_s, found = time.monotonic(), b""
            with contextlib.suppress(ConnectionResetError):
                while data := connection.recv(65_536):
                    found += data
                    assert time.monotonic() < began_s + ANSWERED_WITHIN_S, "neither an end nor a close"
        return found

    def _judge(self, number: int, script: Script, answer: bytes) -> None:
        statuses = [int(status) for status in _STATUS.findall(answer)]
        self.statuses.update(statuses)
        if answer and not _STATUS.match(answer):
            self.problems.append(f"script {number}: no answer of HTTP: {answer[:200]!r}")
        if odd := set(statuses) - FINE:
            self.problems.append(f"script {number}: {odd}: {answer[:500]!r}")
        if statuses == [200] and answer.endswith(b"\r\n\r\n" + SUCCESS):
            self.kept.update(dict.fromkeys(script.ids, number))


@contextlib.contextmanager
def _may_be_closed() -> Iterator[None]:
    """It is the server's right to close a connection that we still send on; not to let us wait."""
    try:
        yield
    except TimeoutError:
        raise
    except OSError:
        pass


def fuzz(folder: Path, budget_s: float, seed: str) -> None:
    made = Collecting(folder, SETTINGS)
    process = made._start("-m", "catchment", "run", "-p", str(made.folder), "collect")
    try:
        until(made.is_collecting, "the collector")
        watched = psutil.Process(process.pid)
        numbers = iter(itertools.count())
        mutator = Mutator(seed)
        attackers = _attack(made.port, mutator, numbers, min(1.0, budget_s / 4))  # the memory that it needs anyway
        before_bytes = watched.memory_info().rss
        peak_bytes = [before_bytes]
        attackers += _attack(
            made.port, mutator, numbers, budget_s, lambda: peak_bytes.append(watched.memory_info().rss)
        )
        assert _is_well(made), "it answers as ever"
        process.terminate()
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait()
        made.close()
    problems = [problem for attacker in attackers for problem in attacker.problems]
    assert problems == [], f"{SEED_ENV}={seed}"
    said = made.said()
    assert not re.search(r'"level":"(error|warning)"|Traceback', said), f"{SEED_ENV}={seed}\n{said[-4_000:]}"
    assert max(peak_bytes) - before_bytes < MAX_GROWTH_BYTES
    statuses = sum((attacker.statuses for attacker in attackers), Counter[int]())
    assert statuses[200] > 20
    assert statuses[400] > 20, "bent enough to be refused"
    kept = {identity: number for attacker in attackers for identity, number in attacker.kept.items()}
    assert len(kept) > 20
    found = {each.id for each in take(made.project)}
    missing = {identity: number for identity, number in kept.items() if identity not in found}
    assert missing == {}, f"{SEED_ENV}={seed}: answered 200 and not kept"


def _attack(
    port: int, mutator: Mutator, numbers: Iterator[int], seconds: float, watch: Callable[[], object] = lambda: None
) -> list[Attacker]:
    until_s = time.monotonic() + seconds
    attackers = [Attacker(port, mutator, numbers, until_s) for _ in range(CLIENTS)]
    for attacker in attackers:
        attacker.start()
    while any(attacker.is_alive() for attacker in attackers):
        watch()
        time.sleep(0.05)
        assert time.monotonic() < until_s + PATIENCE_S
    return attackers


def _is_well(made: Collecting) -> bool:
    with contextlib.closing(made.connect()) as connection:
        return made.post(connection, {"batch": [{"type": "page", "messageId": "well"}]}) == 200


def test_bent_requests_do_no_harm(tmp_path: Path) -> None:
    fuzz(tmp_path / "project", float(os.environ.get(BUDGET_ENV, "3")), os.environ.get(SEED_ENV, "1"))


@pytest.mark.soak
def test_bent_requests_do_no_harm_for_long(tmp_path: Path) -> None:
    seed = os.environ.get(SEED_ENV) or str(random.SystemRandom().randrange(10**9))
    fuzz(tmp_path / "project", float(os.environ.get(BUDGET_ENV, "120")), seed)
