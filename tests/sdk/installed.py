"""SDKs and servers as their registries have them, installed once outside of the repository's files."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path

from tests.missing import without

REPOSITORY = Path(__file__).parents[2]
PACKAGES = Path(__file__).parent / "packages"
CACHE = REPOSITORY / ".catchment-sdk"
NODE_OLDEST = 20
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_BROWSER_OF_MACOS = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
_PATIENCE_S = 300
_installing = threading.Lock()
_failed: dict[Path, str] = {}
"""Why, so that it is not tried again for each test."""


@cache
def node() -> str:
    """Node.js, new enough for the SDKs."""
    found = shutil.which("node")
    if found is None or shutil.which("npm") is None:
        without("Node.js with npm is not installed (tests/system_packages.sh brings it)")
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
    if (major := re.match(r"v(\d+)", version)) is None or int(major[1]) < NODE_OLDEST:
        without(f"the SDKs need Node.js {NODE_OLDEST} or newer; this is {version.strip()}")
    return found


@cache
def browser() -> str:
    """A Chromium."""
    for name in (*BROWSERS, str(_BROWSER_OF_MACOS)):
        if found := shutil.which(name):
            return found
    return without("Chromium is not installed (tests/system_packages.sh brings it)")


@cache
def python_packages() -> Path:
    """The folder for `PYTHONPATH`."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    requirements = PACKAGES / "requirements.txt"
    return _installed(
        f"python{sys.version_info.major}.{sys.version_info.minor}",
        [requirements],
        lambda folder: [*pip, "--require-hashes", "-r", str(requirements), "--target", str(folder)],
    )


@cache
def node_modules(packages: Path = PACKAGES) -> Path:
    """What the package.json of a folder names."""
    node()
    return (
        _installed(
            "node",
            [packages / "package.json", packages / "package-lock.json"],
            # Scripts of packages are not needed, so they may not run.
            lambda folder: ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(folder)],
        )
        / "node_modules"
    )


def _installed(name: str, locked: list[Path], command: Callable[[Path], list[str]]) -> Path:
    """A folder that is whole as soon as it has its name, which changes with what is locked."""
    digest = hashlib.sha256(b"".join(each.read_bytes() for each in locked)).hexdigest()[:12]
    folder = CACHE / f"{name}-{digest}"
    with _installing:
        if not folder.exists() and folder not in _failed:
            _install(folder, locked, command)
    if folder in _failed:
        without(f"packages for {name} could not be installed: {_failed[folder]}")
    return folder


def _install(folder: Path, locked: list[Path], command: Callable[[Path], list[str]]) -> None:
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as temporary:
        place = Path(temporary) / "place"
        place.mkdir()
        for each in locked:
            shutil.copy(each, place)
        try:
            subprocess.run(
                command(place),
                capture_output=True,
                text=True,
                check=True,
                timeout=_PATIENCE_S,
                stdin=subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired:
            _failed[folder] = f"not within {_PATIENCE_S} s"
            return
        except subprocess.CalledProcessError as error:
            _failed[folder] = error.stderr.strip()[-500:]
            return
        try:
            place.rename(folder)
        except OSError:
            assert folder.exists(), "another run of the tests was faster"
