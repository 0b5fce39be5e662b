"""What hostile and broken clients send: requests that real SDKs sent, bent in their values, their bytes and their
framing. The same for the same seed and number."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.sdk.recording import FOLDER, load

_ATOMS: list[Any] = [
    None, True, False, 0, -1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**63) - 1, 10**40, 0.1, -0.0, 1e308, 1e-320,
    "", " ", "\0", "a\0b", "é", "𝄞", "\u2028", "\ufeff", "x" * 200, "x" * 9_000, "null", "1970-01-01",
    "9999-12-31T23:59:59Z",
    "2026-13-45T99:99:99Z", "-1", "true", "../../etc/passwd", "'; DROP TABLE tracks; --", "<script>", "%00", "$where",
    [], {}, [[]], [None], {"": ""}, {"a": {"a": {"a": {"a": {"a": {"a": {"a": {"a": {"a": {"a": 1}}}}}}}}}},
    {"_id": "x", "_received_at": 1, "_source": "y"}, {"id": "x", "ID": "y", "Id": "z"}, [{}] * 50,
]  # fmt: skip
_RAW = [b"1e999", b"-1e999", b"NaN", b"Infinity", b"01", b"1.", b'"\\ud83d"', b'"\xff\xfe"', b'"\\u0000"', b"{]",
        b"[" * 5_000, b'{"a":1,"a":2}', b"1" * 5_000, b"\xef\xbb\xbf{}", b""]  # fmt: skip
_NAMES = ["", "a", "messageId", "type", "event", "userId", "timestamp", "sentAt", "properties", "traits", "context",
          "batch", "writeKey", "_rescued", "select", "x" * 300, "é", "a b", "A-B", "a.b", "\0"]  # fmt: skip
_HEADERS = [
    b"Content-Length: 0", b"Content-Length: 5", b"Content-Length: 99999999999999999999", b"Content-Length: -1",
    b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: identity",
    b"Content-Encoding: gzip", b"Content-Encoding: br", b"Content-Encoding: x, gzip", b"Expect: 100-continue",
    b"Expect: 200-ok", b"Connection: close", b"Connection: keep-alive", b"Connection: upgrade", b"Upgrade: h2c",
    b"Upgrade: websocket", b"HTTP2-Settings: AAMAAABk", b"Host: a", b"Host: ", b"Origin: null", b"Origin: http://\xff",
    b"X-Forwarded-For: 1.2.3.4", b"X-Forwarded-For: ::1, a, 10.0.0.1,,", b"X-Forwarded-For: " + b"1," * 500,
    b"Authorization: Basic dGVzdC13cml0ZS1rZXk6", b"Authorization: Basic \xff", b"Authorization: Bearer x",
    b"X-Write-Key: test-write-key", b"X-Write-Key: nobody", b"DNT: 1", b"Sec-GPC: 1", b"Cookie: " + b"x" * 4_000,
    b"X-Long: " + b"x" * 20_000, b"X-Hub-Signature-256: sha256=00", b"Stripe-Signature: t=1,v1=00", b": x", b"X :y",
    b"X\0: y", b"X: \r\n y", b"User-Agent: " + b"\xff" * 20, b"Access-Control-Request-Headers: \xff\xfe",
]  # fmt: skip
_TARGETS = [
    b"/", b"/healthz", b"/readyz", b"/v1/track", b"/v1/batch", b"/v1/t", b"/hello/v1/batch", b"/hello", b"/v1/pixel",
    b"/v1/pixel?writeKey=test-write-key&event=E&messageId=p", b"/v1/pixel?data=e30&writeKey=test-write-key",
    b"/v1/pixel?data=%FF%00&writeKey=test-write-key", b"/v1/records/other.things", b"/v1/records/other.a?id=name",
    b"/v1/records/catchment.ledger", b"/v1/records/%2e%2e", b"/v1/records/", b"/v1/webhook/hub", b"/v1/webhook/%FF",
    b"/v1/projects/test-write-key/settings", b"/v1/projects/%00/settings", b"/sourceConfig/?writeKey=test-write-key",
    b"http://a/healthz", b"*", b"//", b"/?" + b"a=b&" * 2_000, b"/" + b"x" * 20_000, b"/v1/batch?" + b"%" * 50, b"a",
    b"/v1/track#x", b"/v1/track?writeKey=test-write-key", b"/\xff", b"/v1/batch?writeKey=test-write-key&writeKey=b",
]  # fmt: skip
_METHODS = [
    b"GET",
    b"POST",
    b"HEAD",
    b"OPTIONS",
    b"PUT",
    b"DELETE",
    b"TRACE",
    b"CONNECT",
    b"PATCH",
    b"get",
    b"PRI",
    b"",
]
_VERSIONS = [b"HTTP/1.1"] * 8 + [b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"HTTP/1.2", b"", b"http/1.1"]


@dataclass(slots=True)
class Script:
    """What one connection sends, in so many writes, and how it ends: the client says that it sends no more, goes away,
    or waits."""

    writes: list[bytes]
    end: str
    ids: list[str] = field(default_factory=list)
    """Of a whole request of good framing: what must be kept if it is answered with a bare success."""


@dataclass(frozen=True, slots=True)
class _Request:
    method: bytes
    target: bytes
    headers: list[bytes]
    body: bytes
    gzip: bool

    def text(self, *, body: bytes | None = None) -> bytes:
        plain = self.body if body is None else body
        sent = gzip.compress(plain, 1, mtime=0) if self.gzip else plain
        head = [b"%b %b HTTP/1.1" % (self.method, self.target), *self.headers, b"Content-Length: %d" % len(sent)]
        return b"\r\n".join(head) + b"\r\n\r\n" + sent


def seeds() -> list[_Request]:
    """Every request that is recorded of the SDKs."""
    found = []
    for path in sorted(FOLDER.glob("*.json")):
        recording = load(path.stem)
        for each in recording.requests:
            headers = [
                f"{name}: {value}".encode("latin-1")
                for name, value in each.headers.items()
                if name.lower() not in {"content-length", "connection", "transfer-encoding"}
            ]
            found.append(_Request(each.method.encode(), each.path.encode(), headers, each.body.encode(), each.gzip))
    return found


class Mutator:
    """Makes scripts: `script(number)` is the same for the same seed."""

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._requests = seeds()
        self._posts = [each for each in self._requests if each.method == b"POST" and each.body.startswith(b"{")]

    def script(self, number: int) -> Script:
        """What the connection of this number sends."""
        rng = random.Random(f"{self._seed}/{number}")
        make: Callable[[random.Random, int], Script] = rng.choices(
            [self._values, self._text, self._bytes, self._framing], [4, 2, 3, 3]
        )[0]
        made = make(rng, number)
        if rng.random() < 0.3:
            made.writes = _cut(rng, b"".join(made.writes))
        return made

    def _values(self, rng: random.Random, number: int) -> Script:
        """A whole request whose JSON has other values, names and shapes than an SDK would send."""
        seed = rng.choice(self._posts)
        body = json.loads(seed.body)
        for _ in range(rng.randint(0, 4)):
            body = _bent(rng, body)
        calls = body.get("batch") if isinstance(body, dict) and "batch" in body else [body]
        calls = [call for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
        for at, call in enumerate(calls):
            if isinstance(call.get("messageId"), str) and rng.random() < 0.9:
                call["messageId"] = f"{number}-{at}"
        ids = [
            str(call["messageId"]) for call in calls if isinstance(call.get("messageId"), str) and call["messageId"]
        ]
        ids = [identity.replace("\0", "\ufffd") for identity in ids]  # as it is kept
        text = json.dumps(body, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")
        return Script([seed.text(body=text)], "done", ids)

    def _text(self, rng: random.Random, number: int) -> Script:
        """A whole request whose JSON is none, or hardly any."""
        seed = rng.choice(self._posts)
        body = bytearray(seed.body)
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(body) + 1)
            body[at : at + rng.choice([0, 0, 1, 5, 50])] = rng.choice(_RAW)
        return Script([seed.text(body=bytes(body))], "done")

    def _bytes(self, rng: random.Random, number: int) -> Script:
        """Requests one after the other, with some bytes changed, cut out, doubled, or put elsewhere."""
        text = bytearray(b"".join(rng.choice(self._requests).text() for _ in range(rng.randint(1, 3))))
        for _ in range(rng.randint(1, 8)):
            at, length = rng.randrange(len(text) + 1), rng.choice([1, 1, 2, 10, 300])
            match rng.randrange(5):
                case 0:
                    text[at : at + length] = rng.randbytes(length)
                case 1:
                    del text[at : at + length]
                case 2:
                    text[at:at] = text[at : at + length]
                case 3:
                    text[at:at] = rng.choice(
                        [b"\r\n", b"\n", b"\r\n\r\n", b"\0", b" ", b":", b"chunked", b"0\r\n\r\n"]
                    )
                case _:
                    to = rng.randrange(len(text) + 1)
                    text[to:to] = text[at : at + length]
        return Script([bytes(text)], rng.choice(["done", "done", "done", "wait", "leave"]))

    def _framing(self, rng: random.Random, number: int) -> Script:
        """Requests of a grammar: odd methods, targets and headers, chunks and lengths that lie, what never ends."""
        text = b"".join(self._odd(rng) for _ in range(rng.choice([1, 1, 1, 2, 5, 70])))
        if rng.random() < 0.2:
            text = text[: rng.randrange(len(text) + 1)]
        return Script([text], rng.choice(["done", "done", "done", "wait", "leave"]))

    def _odd(self, rng: random.Random) -> bytes:
        head = [b" ".join([rng.choice(_METHODS[:4] if rng.random() < 0.8 else _METHODS),
                           rng.choice(_TARGETS), rng.choice(_VERSIONS)])]  # fmt: skip
        head += rng.choices(_HEADERS, k=rng.choice([0, 1, 2, 3, 8, 250] if rng.random() < 0.1 else [0, 1, 2, 3]))
        body = rng.choice(self._posts).body if rng.random() < 0.8 else rng.randbytes(rng.choice([0, 10, 70_000]))
        match rng.randrange(5):
            case 0:
                head.append(b"Content-Length: %d" % (len(body) + rng.choice([0, 0, 0, -1, 1, 1_000, 10**7])))
            case 1:
                head.append(b"Transfer-Encoding: chunked")
                body = _chunked(rng, body)
            case 2:
                packed = gzip.compress(body + b" " * rng.choice([0, 0, 300_000]), 1)
                body = packed if rng.random() < 0.7 else packed[: len(packed) // 2]
                head += [b"Content-Encoding: gzip", b"Content-Length: %d" % len(body)]
            case 3:
                body = b""
            case _:
                head.append(b"Content-Length: %d" % len(body))
        return b"\r\n".join(head) + b"\r\n\r\n" + body


def _chunked(rng: random.Random, body: bytes) -> bytes:
    text = b""
    while body:
        size = rng.randint(1, max(1, len(body)))
        said = size + rng.choice([0] * 30 + [1, -1, 2**40])
        extension = rng.choice([b""] * 10 + [b";a=b", b";" + b"x" * 300, b" ", b"\t"])
        text += b"%x%b\r\n" % (max(said, 0), extension) + body[:size] + b"\r\n"
        body = body[size:]
    return text + rng.choice([b"0\r\n\r\n"] * 8 + [b"0\r\nX: y\r\n\r\n", b"0\r\n", b"", b"-1\r\n\r\n"])


def _cut(rng: random.Random, text: bytes) -> list[bytes]:
    ends = sorted(rng.randrange(len(text) + 1) for _ in range(rng.randint(1, 6)))
    return [text[start:end] for start, end in zip([0, *ends], [*ends, len(text)], strict=True)]


def _bent(rng: random.Random, value: Any) -> Any:
    """The value with something in it replaced, added, taken away, or multiplied."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        name = rng.choice(list(value))
        match rng.randrange(8):
            case 0:
                return {key: each for key, each in value.items() if key != name}
            case 1:
                return {**value, rng.choice(_NAMES): rng.choice(_ATOMS)}
            case 2:
                return {**value, rng.choice(_NAMES): value[name]}
            case 3:
                return {**value, **{f"{name}{n}": value[name] for n in range(rng.choice([3, 400]))}}
            case _:
                return {**value, name: _bent(rng, value[name])}
    if isinstance(value, list) and value and rng.random() < 0.85:
        at = rng.randrange(len(value))
        match rng.randrange(6):
            case 0:
                return value[:at] + value[at + 1 :]
            case 1:
                return [*value, rng.choice(_ATOMS)]
            case 2:
                return value * rng.choice([2, 30])
            case _:
                return [*value[:at], _bent(rng, value[at]), *value[at + 1 :]]
    return rng.choice(_ATOMS)
