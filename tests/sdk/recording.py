"""What the SDKs sent, as files to replay. `python -m tests.sdk.recording [SDK]…` records anew."""

from __future__ import annotations

import gzip
import json
import re
import sys
from pathlib import Path
from typing import Any

import msgspec

from tests.sdk.installed import node_modules, python_packages
from tests.sdk.recorder import Answer, Recorder, Request, mark_of
from tests.sdk.sdks import SDK, SDKS, send_all

FOLDER = Path(__file__).parent / "recorded"
WRITE_KEY = "test-write-key"
PROTOCOL_HEADERS = frozenset(
    {
        "authorization",
        "content-type",
        "content-encoding",
        "x-write-key",
        "access-control-request-method",
        "access-control-request-headers",
    }
)
"""Of the headers, those that an endpoint has to understand."""
_ENDPOINT, _SITE = "localhost:8080", "localhost:3000"


class RecordedRequest(msgspec.Struct, frozen=True):
    """One request. Its body is text, also where `gzip` says that it was compressed on its way."""

    method: str
    path: str
    headers: dict[str, str]
    body: str = ""
    gzip: bool = False

    def to_send(self) -> tuple[dict[str, str], bytes]:
        """Headers, with the length, and body to replay it with."""
        body = self.body.encode()
        if self.gzip:
            body = gzip.compress(body, mtime=0)
        return {**self.headers, "Content-Length": str(len(body))}, body

    def events(self) -> list[dict[str, Any]]:
        return Request(self.method, self.path, self.headers, self.body.encode()).events()


class Recording(msgspec.Struct, frozen=True):
    """What an SDK sends for `calls()`, and `attempts`: the same events twice, since the first time was refused."""

    sdk: str
    package: str
    version: str
    requests: list[RecordedRequest]
    attempts: list[RecordedRequest]


def load(sdk: str) -> Recording:
    return msgspec.json.decode((FOLDER / f"{sdk}.json").read_bytes(), type=Recording)


def record(sdk: SDK) -> Recording:
    """Let an SDK send."""
    attempts: list[Request] = []
    if sdk.retries:
        sent = _sent(sdk, ("unavailable",)).posts()
        first = sent[0]
        marks = {mark_of(event) for event in first.events()}
        attempts = [first, *(each for each in sent[1:] if marks & {mark_of(event) for event in each.events()})]
    requests = _sent(sdk, ()).requests
    return Recording(
        sdk=sdk.name,
        package=sdk.package,
        version=version(sdk),
        requests=[_sanitized(each) for each in requests],
        attempts=[_sanitized(each) for each in attempts],
    )


def version(sdk: SDK) -> str:
    """The version that is installed."""
    if sdk.driver.endswith(".py"):
        (metadata,) = python_packages().glob(f"{sdk.package.replace('-', '_')}-*.dist-info")
        return metadata.name.removesuffix(".dist-info").rpartition("-")[2]
    return str(json.loads((node_modules() / sdk.package / "package.json").read_bytes())["version"])


def _sent(sdk: SDK, answers: tuple[Answer, ...]) -> Recorder:
    with Recorder(answers).running() as recorder:
        send_all(sdk, recorder.endpoint, WRITE_KEY)
    return recorder


def _sanitized(request: Request) -> RecordedRequest:
    """Without addresses of the machine that recorded it."""
    own = {"host": _ENDPOINT, "origin": f"http://{_SITE}", "referer": f"http://{_SITE}/"}
    headers = {name: own.get(name.lower(), value) for name, value in request.headers.items()}
    is_gzip = request.body[:2] == b"\x1f\x8b"
    body = (gzip.decompress(request.body) if is_gzip else request.body).decode()
    return RecordedRequest(
        method=request.method,
        path=request.path,
        headers={name: value for name, value in headers.items() if name.lower() != "content-length"},
        body=re.sub(r"127\.0\.0\.1:\d+", _SITE, body),
        gzip=is_gzip,
    )


def main() -> None:
    for name in sys.argv[1:] or SDKS:
        recording = record(SDKS[name])
        text = msgspec.json.format(msgspec.json.encode(recording), indent=1)
        (FOLDER / f"{name}.json").write_bytes(text + b"\n")


if __name__ == "__main__":
    main()
