"""The settings of collecting: `[collect]` and `[collect.sources.NAME]` of the project file."""

from __future__ import annotations

import re
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from catchment.addresses import check_listen, check_network
from catchment.errors import Malformed
from catchment.record import TableName, check_table

_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,62}\Z")
_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)*\Z")


def _check_schema(name: str) -> None:
    try:
        check_table(f"{name}.tracks")
    except Malformed:
        raise ValueError("must be a schema's name in lower case, and none of Catchment's own") from None


def _check_pattern(pattern: str) -> None:
    schema, dot, table = pattern.partition(".")
    if not (dot and _SCHEMA.match(schema) and (table == "*" or _SCHEMA.match(table))):
        raise ValueError("must be a table, schema.table, or all of a schema, schema.*")
    _check_schema(schema)


def _check_mirrored(table: str) -> None:
    try:
        check_table(table)
    except Malformed as error:
        raise ValueError(f"must be a table, schema.table: {error.detail}") from None


def _check_origin(origin: str) -> None:
    if origin != "*" and not re.fullmatch(r"https?://[^\s/?#]+", origin):
        raise ValueError("must be an origin as browsers send it", 'such as "https://www.acme.example"')


def _check_prefix(prefix: str) -> None:
    if not _PREFIX.match(prefix):
        raise ValueError("must be a path without a slash at its end", 'such as "/hello"')


def _check_webhook(name: str) -> None:
    if not _SCHEMA.match(name):
        raise ValueError("must be a name of small letters, digits and _")


def _check_path(path: str) -> None:
    first, *rest = path.split(".")
    if first not in FIELDS or not all(rest) or (not rest and first in {"properties", "context"}):
        raise ValueError("must name a field as clients send it", "such as traits.email, context.ip or userId")


def _check_masked(path: str) -> None:
    _check_path(path)
    if path == "traits":
        raise ValueError("must name a field, since a hash of all traits tells nothing", "such as traits.email")


FIELDS = ("userId", "anonymousId", "groupId", "previousId", "properties", "traits", "context")
"""What drop and mask may name, or something below it."""
MirroredTable = Annotated[str, Meta(extra={"check": _check_mirrored})]
FieldPath = Annotated[str, Meta(extra={"check": _check_path})]
MaskedPath = Annotated[str, Meta(extra={"check": _check_masked})]
WebhookName = Annotated[str, Meta(extra={"check": _check_webhook})]
SchemaName = Annotated[str, Meta(extra={"check": _check_schema})]


class MirrorConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A table that mirrors something elsewhere: a plain record replaces the row of its key, unless that is newer."""

    key: Annotated[
        list[Annotated[str, Meta(min_length=1)]],
        Meta(min_length=1, description="The fields that tell which row a record is, such as `id`."),
    ]
    version: Annotated[
        str,
        Meta(
            min_length=1,
            description="The field that tells which of two records is newer: a text that sorts, such as `updated_at`"
            " in ISO 8601, always in UTC and with as many digits.",
        ),
    ]


class SourceConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One site, app or server that sends events: its keys, and one schema in the warehouse."""

    write_key: Annotated[str, Meta(min_length=1, description="The key that its SDKs are given.")] | None = None
    write_keys: Annotated[
        list[Annotated[str, Meta(min_length=1)]],
        Meta(description="Several keys, while one is being replaced."),
    ] = []
    origins: Annotated[
        list[Annotated[str, Meta(extra={"check": _check_origin})]],
        Meta(description="Origins of pages that may send from a browser; all where none is named."),
    ] = []
    records: Annotated[
        list[Annotated[str, Meta(extra={"check": _check_pattern})]],
        Meta(
            description="Tables besides those of its own schema that it may send plain records to: `shop.orders`, or"
            " `shop.*` for all of a schema."
        ),
    ] = []
    mirrors: Annotated[
        dict[MirroredTable, MirrorConfig],
        Meta(
            description="Tables whose plain records replace one another: the newest of each key stays, in whatever"
            " order they come."
        ),
    ] = {}
    ip: Annotated[
        Literal["full", "truncated", "none"],
        Meta(
            description="What is kept of a client's address in `context_ip`: `truncated` keeps a network of 256 (IPv4)"
            " or a site's /48 (IPv6)."
        ),
    ] = "truncated"

    do_not_track: Annotated[
        Literal["ignore", "anonymous", "drop"],
        Meta(
            description="What becomes of the events of a browser that asks not to be tracked (Global Privacy Control,"
            " Do-Not-Track): `anonymous` keeps them without ids, traits and address, `drop` keeps nothing."
        ),
    ] = "ignore"
    drop: Annotated[
        list[FieldPath],
        Meta(description="Fields that are never kept, such as `traits.email` or `context.page.search`."),
    ] = []
    mask: Annotated[
        list[MaskedPath],
        Meta(description="Fields of which a hash is kept: equal values stay equal. Who guesses a value can check it."),
    ] = []
    bots: Annotated[
        list[Annotated[str, Meta(min_length=2)]],
        Meta(
            description="Parts of a browser's name by which a bot is told, besides the usual ones: its events have"
            " `context_is_bot`."
        ),
    ] = []
    internal: Annotated[
        list[Annotated[str, Meta(extra={"check": check_network})]],
        Meta(description="Networks of the company's own people: their events have `context_is_internal`."),
    ] = []

    @property
    def keys(self) -> list[str]:
        """All its write keys."""
        return [*([self.write_key] if self.write_key else []), *self.write_keys]


class WebhookConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A service that calls us: how it proves who it is, and the table of what it says."""

    secret: Annotated[str, Meta(min_length=8, description="What only the sender and this project know.")]
    scheme: Annotated[
        Literal["secret", "github", "stripe"],
        Meta(
            description="`github` and `stripe` sign what they send; with `secret` the sender gives it in the header"
            " `X-Webhook-Secret`, as a bearer token, or as `?secret=`."
        ),
    ] = "secret"
    table: Annotated[TableName, Meta(description="Where it is filed; `webhook.NAME` where none is given.")] | None = (
        None
    )
    id: (
        Annotated[
            str,
            Meta(
                min_length=1,
                description="The field that names a delivery. Without it, what is delivered twice is there"
                " twice; GitHub and Stripe name theirs.",
            ),
        ]
        | None
    ) = None


class CollectConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Where events are sent to over HTTP, and what a client may ask of the endpoint."""

    listen: Annotated[
        str, Meta(extra={"check": check_listen}, description="The address to listen on; port 0 takes a free one.")
    ] = "127.0.0.1:8000"
    workers: Annotated[
        int,
        Meta(ge=1, le=64, description="Processes that `catchment up` starts to share the port; each uses one core."),
    ] = 1
    tls_certificate: (
        Annotated[str, Meta(min_length=1, description="A file with the certificate and its chain (PEM): HTTPS alone.")]
        | None
    ) = None
    tls_key: Annotated[str, Meta(min_length=1, description="A file with the certificate's key (PEM).")] | None = None
    path_prefix: Annotated[
        str,
        Meta(
            extra={"check": _check_prefix},
            description="A path that every path may also be called under, such as `/hello`: lists of ad blockers"
            " know the usual ones.",
        ),
    ] = ""
    try_page: Annotated[
        bool,
        Meta(
            description="Answer `GET /` with a page whose buttons send events with the first source's key: to try"
            " things out, not for production."
        ),
    ] = False
    trusted_proxies: Annotated[
        list[Annotated[str, Meta(extra={"check": check_network})]],
        Meta(description="Addresses of proxies in front whose `X-Forwarded-For` is believed."),
    ] = []
    max_header_bytes: Annotated[int, Meta(ge=1_024, description="A larger head is answered 431.")] = 16_384
    max_body_bytes: Annotated[int, Meta(ge=1_024, description="A larger body is answered 413, before it is read.")] = (
        1_048_576
    )
    max_plain_bytes: Annotated[
        int, Meta(ge=1_024, description="A compressed body may expand to so much; beyond that it is answered 413.")
    ] = 4_194_304
    max_event_bytes: Annotated[int, Meta(ge=256, description="A larger event becomes a dead letter.")] = 32_768
    max_batch_events: Annotated[int, Meta(ge=1, description="A batch of more events is answered 413.")] = 2_500
    max_depth: Annotated[int, Meta(ge=1, le=100, description="Objects nested deeper are kept in `_rescued`.")] = 8
    max_properties: Annotated[
        int, Meta(ge=1, le=10_000, description="Properties of an event beyond so many are kept in `_rescued`.")
    ] = 300
    max_string_chars: Annotated[int, Meta(ge=1, description="A longer text is kept in `_rescued`.")] = 8_192
    max_id_chars: Annotated[
        int, Meta(ge=1, le=512, description="An event with a longer messageId becomes a dead letter.")
    ] = 100
    header_timeout_s: Annotated[
        float, Meta(gt=0, description="A request whose head takes longer is answered 408, in seconds.")
    ] = 10.0
    body_timeout_s: Annotated[
        float, Meta(gt=0, description="A request whose body takes longer is answered 408, in seconds.")
    ] = 20.0
    idle_timeout_s: Annotated[
        float, Meta(gt=0, description="A connection without a request for so long is closed, in seconds.")
    ] = 65.0
    max_connections: Annotated[int, Meta(ge=1, description="Open connections; further ones are closed at once.")] = (
        10_000
    )
    max_pending_bytes: Annotated[
        int,
        Meta(ge=1_000_000, description="What may wait for its commit; beyond that, requests are answered 503."),
    ] = 16_000_000
    events_per_s: Annotated[
        float,
        Meta(ge=0, description="Events a second that a write key may send on average, 429 beyond; 0: any number."),
    ] = 0.0
    requests_per_s: Annotated[
        float,
        Meta(ge=0, description="Requests a second that an address may send on average, 429 beyond; 0: any number."),
    ] = 200.0
    sources: Annotated[
        dict[SchemaName, SourceConfig], Meta(description="Who sends, by name: it becomes the schema of its tables.")
    ] = {}

    webhooks: Annotated[
        dict[WebhookName, WebhookConfig], Meta(description="Services that call /v1/webhook/NAME, by name.")
    ] = {}

    def __post_init__(self) -> None:
        if self.workers > 1 and self.port == 0:
            raise ValueError("several workers need a port of their own: listen, such as 127.0.0.1:8000")
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key go together")
        owners: dict[str, str] = {}
        for name, source in self.sources.items():
            if not source.keys:
                raise ValueError(f"collect.sources.{name} needs a write_key")
            for key in source.keys:
                if owners.setdefault(key, name) != name:
                    raise ValueError(f"collect.sources.{name} has a write key of collect.sources.{owners[key]}")

    @property
    def host(self) -> str:
        """Where to listen, without brackets."""
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """0 takes a free one."""
        return int(self.listen.rpartition(":")[2])

    def writer_of(self, table: str) -> str:
        """The source or webhook that writes to a table, by its name; empty where none does."""
        schema = table.partition(".")[0]
        for name, source in self.sources.items():
            if schema == name or {table, f"{schema}.*"} & {*source.records, *source.mirrors}:
                return name
        for name, webhook in self.webhooks.items():
            if table == (webhook.table or f"webhook.{name}"):
                return name
        return ""
