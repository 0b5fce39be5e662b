"""What the middleware must know of a request, read from its ASGI scope once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from catchment.addresses import Proxies
from catchment.serve.accounts.user import Client
from catchment.serve.config import ServeConfig

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_MAX_BROWSER_CHARACTERS = 200
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")


class Site:
    """Where the pages are, as `[serve]` says: what is the same for all requests."""

    def __init__(self, config: ServeConfig) -> None:
        self.base_path = config.base_path
        self.proxies = Proxies(config.trusted_proxies)
        public = urlsplit(config.public_url or "")
        self.public_host = public.netloc.lower()
        self.is_always_secure = public.scheme == "https" or config.tls_certificate is not None

    def url(self, path: str) -> str:
        """A path of ours, such as `/sign-in`, as browsers are told it."""
        return self.base_path + path


@dataclass(frozen=True)
class Visit:
    """One request, or the opening of one websocket."""

    site: Site
    kind: str
    method: str
    path: str
    """Below the base path, as routes are matched; None of ours where it lies outside."""
    headers: Mapping[bytes, list[bytes]]
    peer: str
    scheme: str
    target: str
    """Path and query as they were asked for, to come back to."""

    @classmethod
    def of(cls, scope: Mapping[str, Any], site: Site) -> Visit:
        """Read a scope of type http or websocket."""
        headers: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.lower(), []).append(value)
        whole: str = scope["path"]
        path = whole.removeprefix(site.base_path) if f"{whole}/".startswith(f"{site.base_path}/") else ""
        client = scope.get("client")
        query = quote(scope.get("query_string", b""), safe="/?:@!$&'()*+,;=%")
        return cls(
            site=site,
            kind=scope["type"],
            method=scope.get("method", "GET"),
            path=path,
            headers=headers,
            peer=client[0] if client else "",
            scheme=scope.get("scheme", "http"),
            target=quote(whole) + (f"?{query}" if query else ""),
        )

    def header(self, name: bytes) -> str:
        """A header's value; several lines of it are one with commas, as HTTP has it."""
        return ", ".join(value.decode("latin-1") for value in self.headers.get(name, ())).strip()

    @cached_property
    def client(self) -> Client:
        """Where it comes from."""
        address = self.site.proxies.client(self.peer, self.header(b"x-forwarded-for"))
        browser = _UNPRINTABLE.sub("", self.header(b"user-agent"))[:_MAX_BROWSER_CHARACTERS]
        return Client(address, browser)

    @cached_property
    def is_secure(self) -> bool:
        """Whether it travelled encrypted on its way from the browser, as far as we can know."""
        if self.site.is_always_secure or self.scheme in {"https", "wss"}:
            return True
        return self.site.proxies.trusts(self.peer) and self.header(b"x-forwarded-proto").lower() == "https"

    @property
    def is_unsafe(self) -> bool:
        """Whether it may change something; a websocket may send anything later."""
        return self.kind == "websocket" or self.method not in SAFE_METHODS

    @property
    def is_from_elsewhere(self) -> bool:
        """Whether another site's page may have made the browser ask this: a forged request.

        Browsers say where a request comes from in headers that no page can write. `Sec-Fetch-Site` is the exact
        one; only what is neither encrypted nor on this machine lacks it, and very old browsers do. Then `Origin`
        must name our host. A request with neither comes from no browser of the last six years: a program has no
        business with a cookie, it has a token. Hence no form needs a token against forgery, and none can lack it.
        `SameSite=Lax` on the cookie is a second line; it alone would let other ports and subdomains in.
        """
        fetch_site = self.header(b"sec-fetch-site").lower()
        if fetch_site:
            return fetch_site not in {"same-origin", "none"}
        origin = self.header(b"origin")
        if not origin:
            return True
        try:
            parts = urlsplit(origin)
            host = _host(parts.netloc, parts.scheme)
        except ValueError:
            return True
        if parts.scheme not in {"http", "https"} or not host:
            return True
        ours = {_host(self.header(b"host").lower(), parts.scheme), _host(self.site.public_host, parts.scheme)}
        return host not in ours - {""}

    @property
    def wants_page(self) -> bool:
        """Whether a person waits for a page, rather than a program for an answer."""
        if self.kind != "http" or self.method not in {"GET", "HEAD"} or self.path.startswith("/api/"):
            return False
        mode = self.header(b"sec-fetch-mode").lower()
        return mode == "navigate" if mode else "text/html" in self.header(b"accept").lower()

    @cached_property
    def bearer(self) -> str | None:
        """The token of a program, if it gives one."""
        scheme, _, token = self.header(b"authorization").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else None

    def cookie(self, name: str) -> str | None:
        """A cookie's value, which is one of ours: never quoted. Not by http.cookies, to which one odd cookie of
        another program would hide all the others."""
        for line in self.headers.get(b"cookie", ()):
            for pair in line.decode("latin-1").split(";"):
                found, equals, value = pair.strip().partition("=")
                if equals and found == name:
                    return value
        return None


def visit_of(request: HTTPConnection) -> Visit:
    """What the middleware has read of the request."""
    visit: Visit = request.scope["state"]["visit"]
    return visit


def _host(netloc: str, scheme: str) -> str:
    """host:port without the port that goes without saying."""
    default = ":443" if scheme == "https" else ":80"
    return netloc.lower().removesuffix(default)
