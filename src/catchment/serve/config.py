"""The settings of serving: `[serve]`, `[serve.sign_in]` and `[serve.upload]` of the project file."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from catchment.addresses import check_listen, check_network
from catchment.errors import Malformed
from catchment.record import check_table
from catchment.state.users import Role

_BASE_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)*\Z")
_DOMAIN = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+\Z")
DEFAULT_SCHEMA = "uploads"
_SMALLEST_SPAN = timedelta(minutes=1)


def _check_base_path(path: str) -> None:
    if not _BASE_PATH.match(path) or any(part in {".", ".."} for part in path.split("/")):
        raise ValueError("must be a path without a slash at its end", 'such as "/analytics"')


def _check_public_url(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("must be the address that people's browsers show", 'such as "https://data.acme.example"')
    if parts.path not in {"", "/"}:
        raise ValueError("must be an address without a path", "the path is base_path")


def _check_issuer(url: str) -> None:
    parts = urlsplit(url)
    is_local = parts.hostname in {"127.0.0.1", "::1", "localhost"}
    if not parts.hostname or (parts.scheme != "https" and not (parts.scheme == "http" and is_local)):
        raise ValueError("must be an https address", 'such as "https://accounts.google.com"')


def _check_domain(domain: str) -> None:
    if not _DOMAIN.match(domain):
        raise ValueError("must be a domain in lower case", 'such as "acme.example"')


class SignInConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How people sign in: with passwords of their own here, and with a company's accounts by OpenID Connect."""

    passwords: Annotated[
        bool, Meta(description="Whether passwords are taken. One-time links of `catchment admin` always work.")
    ] = True
    issuer: (
        Annotated[
            str,
            Meta(
                extra={"check": _check_issuer},
                description="The provider's address as its tokens name it, such as `https://accounts.google.com`:"
                " people may then sign in with the company's accounts.",
            ),
        ]
        | None
    ) = None
    client_id: Annotated[str, Meta(min_length=1, description="What the provider calls this Catchment.")] | None = None
    client_secret: (
        Annotated[str, Meta(min_length=1, description="What the provider knows it by: `${OIDC_SECRET}`.")] | None
    ) = None
    label: Annotated[str, Meta(min_length=1, max_length=40, description="What the button on the page says.")] = (
        "Sign in with your company account"
    )
    scopes: Annotated[
        list[Annotated[str, Meta(pattern=r"^\S+$")]],
        Meta(description="What the provider is asked for; Okta and Keycloak want `groups` here too."),
    ] = msgspec.field(default_factory=lambda: ["openid", "email", "profile"])
    groups_claim: Annotated[str, Meta(min_length=1, description="The claim that holds a user's groups.")] = "groups"
    roles: Annotated[
        dict[str, Role],
        Meta(description='The role of a group\'s people: `"data-team" = "analyst"`. Of several the highest counts.'),
    ] = {}
    default_role: (
        Annotated[
            Role,
            Meta(
                description="The role of those whom the provider knows and no group gives one; without it they are"
                " let in only where an admin has invited them."
            ),
        ]
        | None
    ) = None
    domains: Annotated[
        list[Annotated[str, Meta(extra={"check": _check_domain})]],
        Meta(description="Domains of emails that may come from the provider; all where none is named."),
    ] = []

    def __post_init__(self) -> None:
        if (self.issuer is None) != (self.client_id is None):
            raise ValueError("issuer and client_id go together")
        if self.issuer is None and not self.passwords:
            raise ValueError("without passwords nobody can sign in: issuer and client_id name a provider")


def _check_schema(name: str) -> None:
    try:
        check_table(f"{name}.rows")
    except Malformed:
        raise ValueError("must be a schema's name in lower case, and none of Catchment's own") from None


class UploadConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Files that analysts and admins upload in the browser."""

    enabled: Annotated[bool, Meta(description="Whether files are taken.")] = True
    max_bytes: Annotated[int, Meta(ge=1_000, description="How large a file may be, in bytes.")] = 1_000_000_000
    max_rows: Annotated[int, Meta(ge=1, description="How many rows a file may have, whatever its size.")] = 10_000_000
    schemas: Annotated[
        list[Annotated[str, Meta(extra={"check": _check_schema})]],
        Meta(
            description="The schemas that files may go to; the first is proposed. Where none is named: `uploads`, and"
            " any other that no source of `[collect]` writes to."
        ),
    ] = []

    @property
    def proposed(self) -> str:
        """The schema of a new table, unless another is chosen."""
        return self.schemas[0] if self.schemas else DEFAULT_SCHEMA


class ServeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The pages: where they are served, and who may see them."""

    listen: Annotated[
        str, Meta(extra={"check": check_listen}, description="The address to listen on; port 0 takes a free one.")
    ] = "127.0.0.1:8080"
    base_path: Annotated[
        str,
        Meta(extra={"check": _check_base_path}, description="A path that all pages lie under, such as `/analytics`."),
    ] = ""
    public_url: (
        Annotated[
            str,
            Meta(
                extra={"check": _check_public_url},
                description="The address that people's browsers show, such as `https://data.acme.example`, where a"
                " proxy stands in front: links are made of it, and with https cookies travel encrypted alone.",
            ),
        ]
        | None
    ) = None
    home: Annotated[
        str, Meta(description="The dashboard that `/` shows, such as `company`; a list of all where none is named.")
    ] = ""
    tls_certificate: (
        Annotated[str, Meta(min_length=1, description="A file with the certificate and its chain (PEM): HTTPS alone.")]
        | None
    ) = None
    tls_key: Annotated[str, Meta(min_length=1, description="A file with the certificate's key (PEM).")] | None = None
    trusted_proxies: Annotated[
        list[Annotated[str, Meta(extra={"check": check_network})]],
        Meta(
            description="Addresses of proxies in front whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed."
        ),
    ] = []
    session_idle: Annotated[
        timedelta,
        Meta(extra={"at_least": _SMALLEST_SPAN}, description="Who has not been here for so long must sign in again."),
    ] = timedelta(days=7)
    session_max: Annotated[
        timedelta,
        Meta(extra={"at_least": _SMALLEST_SPAN}, description="After so long everybody must sign in again."),
    ] = timedelta(days=30)
    audit_keep: Annotated[
        timedelta,
        Meta(
            extra={"at_least": timedelta(days=1)},
            description="How long it is kept who asked and did what; `catchment admin audit` shows it.",
        ),
    ] = timedelta(days=400)
    audit_max_rows: Annotated[
        int, Meta(ge=1_000, description="Beyond so many the oldest go earlier: a million take some 500 MB.")
    ] = 1_000_000
    sign_in: SignInConfig = SignInConfig()
    upload: UploadConfig = UploadConfig()

    def __post_init__(self) -> None:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key go together")

    @property
    def host(self) -> str:
        """Where to listen, without brackets."""
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """0 takes a free one."""
        return int(self.listen.rpartition(":")[2])
