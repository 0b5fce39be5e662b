"""Files put into a bucket by the archive, beside bare obstore puts of the same bytes into the same sink."""

from __future__ import annotations

import contextlib
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import obstore
from obstore.store import S3Store

from bench.measure import ROOT, Check, progress, result
from catchment.archives.s3 import S3Archive
from catchment.archives.s3_config import S3Config

ROUNDS = 9
SMALL_FILES, SMALL_BYTES = 1_000, 20_000
LARGE_FILES, LARGE_BYTES = 12, 30_000_000
PACK_BYTES = 100_000
STARTED_WITHIN_S = 20


def run() -> dict[str, Any]:
    """The share of the bare puts' speed, for files of small tables and for whole rounds of a large one."""
    shares: dict[str, list[float]] = {"small": [], "large": []}
    with sink() as endpoint:
        config = S3Config(bucket="acme", endpoint=endpoint, access_key_id="key", secret_access_key="secret")
        archive = S3Archive(config, Path())
        bare = S3Store(
            "acme",
            prefix="bare",
            endpoint=endpoint,
            access_key_id="key",
            secret_access_key="secret",
            client_options={"allow_http": True},
        )
        for number in range(ROUNDS):
            for name, files, size in (("small", SMALL_FILES, SMALL_BYTES), ("large", LARGE_FILES, LARGE_BYTES)):
                packs = [os.urandom(min(PACK_BYTES, size)) for _ in range(max(1, size // PACK_BYTES))]
                whole = b"".join(packs)
                theirs_s = ours_s = 0.0
                for at in range(files):  # in turn, so that both meet the same machine
                    theirs_s += _timed(partial(obstore.put, bare, f"f{at}", whole, mode="create"))
                    ours_s += _timed(partial(archive.put, f"f{at}", packs))
                shares[name].append(theirs_s / ours_s)
            progress(f"round {number + 1} of {ROUNDS}")
    found = {name: statistics.median(values) for name, values in shares.items()}
    return result(
        [
            Check("share_of_bare_puts", min(found.values()), must=0.8, goal=None, at_least=True),
            *(Check(f"share_{name}", value, must=None, goal=None, at_least=True) for name, value in found.items()),
        ],
        "bare obstore puts of the same bytes",
        rounds=ROUNDS,
    )


def _timed(put: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    put()
    return time.perf_counter() - began_s


@contextlib.contextmanager
def sink() -> Iterator[str]:
    """The address of a store that keeps nothing."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = subprocess.Popen([sys.executable, "-m", "bench.s3_sink", str(port)], cwd=ROOT, stdin=subprocess.DEVNULL)
    try:
        deadline_s = time.monotonic() + STARTED_WITHIN_S
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            if started.poll() is not None or time.monotonic() > deadline_s:
                raise RuntimeError("the sink did not start")
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        started.kill()
        started.wait()
