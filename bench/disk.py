"""What a process tree does to the disk: bytes written, and fsyncs as strace counts them."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from bench.measure import progress, tree


def written_bytes(pid: int) -> int:
    """What a process tree has had written to disk so far; 0 where the system does not tell."""
    return sum(each.io_counters().write_bytes for each in tree(pid) if hasattr(each, "io_counters"))


def count_fsyncs(pid: int, seconds: float) -> float | None:
    """fsync and fdatasync of a process tree a second, told by strace, which slows it; None without strace."""
    if shutil.which("strace") is None:
        progress("strace is not installed: fsyncs are not counted")
        return None
    attach = [word for each in tree(pid) for word in ("-p", str(each.pid))]
    with tempfile.NamedTemporaryFile("r") as counted:
        command = ["strace", "-f", "-c", "-e", "trace=fsync,fdatasync", "-o", counted.name, *attach]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as tracer:
            time.sleep(seconds)
            tracer.send_signal(signal.SIGINT)
            _, said = tracer.communicate()
        return round(calls(Path(counted.name).read_text(), said) / seconds, 1)


def calls(table: str, said: str) -> int:
    """The calls that strace's summary counts; it is empty where there were none.

    Raises `RuntimeError` with what strace said where it could not attach.
    """
    if "attached" not in said:
        raise RuntimeError(f"strace could not watch: {said[-500:]}")
    found = re.findall(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?f(?:data)?sync$", table, re.MULTILINE)
    return sum(map(int, found))
