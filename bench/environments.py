"""Peers in virtual environments of their own under `.venv-bench/`, made from locked requirements when wanted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from bench.measure import ROOT, progress

_PEERS = ROOT / "bench" / "peers"
_FOLDER = ROOT / ".venv-bench"


def python(peer: str) -> Path:
    """The interpreter of the peer whose requirements are `bench/peers/<peer>.txt`.

    Raises `RuntimeError` with pip's words when they cannot be installed.
    """
    wanted = (_PEERS / f"{peer}.txt").read_text()
    home = _FOLDER / peer
    interpreter, installed = home / "bin" / "python", home / "installed.txt"
    if not installed.exists() or installed.read_text() != wanted:
        progress(f"installing {peer} into {home}")
        installed.unlink(missing_ok=True)
        _run([sys.executable, "-m", "venv", "--clear", str(home)])
        requirements = ["--require-hashes", "-r", str(_PEERS / f"{peer}.txt")]
        _run([str(interpreter), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements])
        installed.write_text(wanted)
    return interpreter


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2_000:]}")
