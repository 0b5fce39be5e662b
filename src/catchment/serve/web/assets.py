"""The files that pages are made of: each under an address with its content's hash, kept by browsers for good."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import mimetypes
import re
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from catchment.errors import Abort

STATIC = Path(__file__).parent / "static"
VEGA = "vega.js"
VEGA_ENTRY = "vega-entry.js"
FOR_GOOD = "public, max-age=31536000, immutable"
HASH_DIGITS = 12

_MODULE = re.compile(r"""(?P<before>(?:from|import)\s*\(?\s*["'])\./(?P<name>[\w-]+\.js)(?P<after>["'])""")
_BUNDLE = "import sys, vl_convert; sys.stdout.write(vl_convert.javascript_bundle(sys.stdin.read()))"


@dataclass(frozen=True, slots=True)
class Asset:
    """One file. `address` is below the pages' base."""

    address: str
    type: str
    plain: bytes
    packed: bytes


class Assets:
    """All of them, in memory. `cache` is a folder to keep the bundle of Vega in."""

    def __init__(self, base: str, cache: Path) -> None:
        self._base = base
        self._by_name: dict[str, Asset] = {}
        names = [path.name for path in sorted(STATIC.iterdir()) if path.name != VEGA_ENTRY]
        # Made once, in seconds: pages are there meanwhile, and who asks for it waits.
        self._vega_address = f"vega.{_vega_stamp()}.js"
        self._vega = ThreadPoolExecutor(1, "vega").submit(lambda: _asset(self._vega_address, vega_bundle(cache)))
        for name in _in_order_of_imports(names):
            self._add(name, self._linked((STATIC / name).read_bytes()) if name.endswith(".js") else _bytes(name))
        self._by_address = {asset.address: asset for asset in self._by_name.values()}

    def _add(self, name: str, content: bytes) -> None:
        digest = hashlib.sha256(content).hexdigest()[:HASH_DIGITS]
        stem, _, suffix = name.rpartition(".")
        self._by_name[name] = _asset(f"{stem}.{digest}.{suffix}", content)

    def _linked(self, module: bytes) -> bytes:
        """With other modules under their addresses: a page then never mixes two versions."""

        def address(found: re.Match[str]) -> str:
            return f"{found['before']}./{self._by_name[found['name']].address}{found['after']}"

        return _MODULE.sub(address, module.decode()).encode()

    def address(self, name: str) -> str:
        """Where a page finds the file."""
        if name == VEGA:
            return f"{self._base}/static/{self._vega_address}"
        return f"{self._base}/static/{self._by_name[name].address}"

    async def serve(self, request: Request) -> Response:
        """`GET /static/NAME`."""
        name = request.path_params["name"]
        asset = self._by_address.get(name)
        if name == self._vega_address:
            asset = await asyncio.wrap_future(self._vega)
        if asset is None:
            return PlainTextResponse("There is no such file.", 404)
        headers = {"Cache-Control": FOR_GOOD, "Vary": "Accept-Encoding", "X-Content-Type-Options": "nosniff"}
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(asset.packed, headers=headers | {"Content-Encoding": "gzip"}, media_type=asset.type)
        return Response(asset.plain, headers=headers, media_type=asset.type)


def _asset(address: str, content: bytes) -> Asset:
    kind = mimetypes.guess_type(address)[0] or "application/octet-stream"
    if kind.startswith("text/") or kind.endswith("javascript"):
        kind += "; charset=utf-8"
    return Asset(address, kind, content, gzip.compress(content, 9, mtime=0))


def _bytes(name: str) -> bytes:
    return (STATIC / name).read_bytes()


def _in_order_of_imports(names: Iterable[str]) -> list[str]:
    """What is imported comes first. Modules do not import each other in a circle."""
    left = {name: {found["name"] for found in _MODULE.finditer(_bytes(name).decode("utf-8", "replace"))}
            for name in names}  # fmt: skip
    found: list[str] = []
    while left:
        ready = [name for name, needs in left.items() if needs <= set(found)]
        if not ready:
            raise Abort(f"the pages' modules import each other in a circle: {', '.join(left)}")
        found += ready
        for name in ready:
            del left[name]
    return found


def _vega_stamp() -> str:
    return hashlib.sha256(_bytes(VEGA_ENTRY) + version("vl-convert-python").encode()).hexdigest()[:HASH_DIGITS]


def vega_bundle(cache: Path) -> bytes:
    """Vega as one module, made from the modules within the wheel of vl-convert; kept for the next start.

    It is made by a process of its own: what makes it takes 100 MB that are never given back.
    """
    entry = _bytes(VEGA_ENTRY)
    kept = cache / f"vega-{_vega_stamp()}.js"
    try:
        return kept.read_bytes()
    except FileNotFoundError:
        pass
    done = subprocess.run([sys.executable, "-c", _BUNDLE], input=entry, capture_output=True, check=False)
    if done.returncode or b"export" not in done.stdout:
        said = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise Abort(f"Vega could not be bundled: {said}", "pip install --force-reinstall 'catchment[serve]'")
    cache.mkdir(parents=True, exist_ok=True)
    unfinished = kept.with_suffix(".new")
    unfinished.write_bytes(done.stdout)
    unfinished.replace(kept)
    return done.stdout
