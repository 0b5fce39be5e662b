"""An OpenID provider for tests: real HTTP on a port of its own, real keys, and lies on demand."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import KeySet, OctKey, RSAKey

CLIENT_ID, CLIENT_SECRET = "catchment", "a secret of the client's, long enough"


@cache
def _key(name: str) -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": name, "use": "sig", "alg": "RS256"})


@dataclass
class Provider:
    """Whom it signs in, and how it lies."""

    address: str
    claims: dict[str, Any] = field(default_factory=dict)
    """Of the user, over the usual ones; None takes one away."""
    more: dict[str, Any] | None = None
    """What /userinfo says; None: there is none."""
    metadata: dict[str, Any] = field(default_factory=dict)
    algorithm: str = "RS256"
    key: RSAKey | OctKey | None = None
    """What it signs with, if not its own."""
    is_down: bool = False
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    seen: list[str] = field(default_factory=list)
    own_key: RSAKey = field(default_factory=lambda: _key("one"))

    def renew_key(self) -> None:
        self.own_key = _key("two")

    def answer(self, method: str, target: str, headers: Any, body: bytes) -> tuple[int, dict[str, str], Any]:
        parts = urlsplit(target)
        self.seen.append(parts.path)
        if self.is_down:
            return 503, {}, {"error": "down"}
        match method, parts.path:
            case "GET", "/.well-known/openid-configuration":
                return 200, {}, self._configuration()
            case "GET", "/authorize":
                asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
                code = secrets.token_urlsafe(12)
                self.codes[code] = asked
                back = urlencode({"code": code, "state": asked["state"]})
                return 302, {"location": f"{asked['redirect_uri']}?{back}"}, {}
            case "POST", "/token":
                return self._token(headers, {key: value[0] for key, value in parse_qs(body.decode()).items()})
            case "GET", "/jwks":
                return 200, {}, KeySet([self.own_key]).as_dict(private=False)
            case "GET", "/userinfo":
                return (200, {}, self.more) if headers["authorization"] == "Bearer access" else (401, {}, {})
        return 404, {}, {}

    def _configuration(self) -> dict[str, Any]:
        return {
            "issuer": self.address,
            "authorization_endpoint": f"{self.address}/authorize",
            "token_endpoint": f"{self.address}/token",
            **({} if self.more is None else {"userinfo_endpoint": f"{self.address}/userinfo"}),
            "jwks_uri": f"{self.address}/jwks",
            "id_token_signing_alg_values_supported": ["RS256", "HS256", "none"],
            "code_challenge_methods_supported": ["S256"],
            **self.metadata,
        }

    def _token(self, headers: Any, form: dict[str, str]) -> tuple[int, dict[str, str], Any]:
        asked = self.codes.pop(form.get("code", ""), None)
        basic = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
        if headers["authorization"] != f"Basic {basic}":
            return 401, {}, {"error": "invalid_client"}
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if (
            asked is None
            or (asked.get("code_challenge"), asked.get("code_challenge_method")) != (challenge, "S256")
            or form.get("redirect_uri") != asked["redirect_uri"]
        ):
            return 400, {}, {"error": "invalid_grant"}
        now = int(time.time())
        claims = {
            "iss": self.address, "aud": CLIENT_ID, "sub": "u1", "email": "ana@acme.example", "email_verified": True,
            "name": "Ana A.", "nonce": asked["nonce"], "iat": now, "exp": now + 300,
        } | self.claims  # fmt: skip
        said = {name: value for name, value in claims.items() if value is not None}
        return 200, {}, {"access_token": "access", "token_type": "Bearer", "id_token": self._signed(said)}

    def _signed(self, claims: dict[str, Any]) -> str:
        header = {"alg": self.algorithm, "kid": self.own_key.kid}
        if self.algorithm == "none":
            parts = (json.dumps(part).encode() for part in (header, claims))
            return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts) + "."
        return jwt.encode(header, claims, self.key or self.own_key, algorithms=[self.algorithm])


@contextmanager
def running() -> Iterator[Provider]:
    """One on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._do(b"")

        def do_POST(self) -> None:
            self._do(self.rfile.read(int(self.headers["content-length"])))

        def _do(self, body: bytes) -> None:
            status, headers, answer = provider.answer(self.command, self.path, self.headers, body)
            content = json.dumps(answer).encode()
            self.send_response(status)
            for name, value in {**headers, "content-type": "application/json"}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    provider = Provider(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
