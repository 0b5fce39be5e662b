"""What a request means: who sends it, what is to be filed, and the answer once that is durable. Knows no sockets.

A batch with bad events in it is taken, and those become dead letters: most SDKs drop a batch that is refused. Only
who sends nothing but one bad event is told so, and even that is kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from urllib.parse import parse_qsl, unquote

import msgspec

from catchment.addresses import Proxies, kept
from catchment.collect import answers
from catchment.collect.answers import Refused
from catchment.collect.bodies import unpacked, values_of
from catchment.collect.calls import BadCall, Calls, check_count, read_any, read_batch, read_call
from catchment.collect.config import CollectConfig, SourceConfig
from catchment.collect.flatten import Limits
from catchment.collect.keys import key_of
from catchment.collect.paths import KINDS_BY_PATH
from catchment.collect.pixel import call_of
from catchment.collect.privacy import Privacy
from catchment.collect.rates import Rates
from catchment.collect.rows import Arrival, dead_letter, lines, record, records
from catchment.collect.sdk_settings import rudder_settings, segment_settings
from catchment.collect.try_page import try_page
from catchment.collect.webhooks import delivery_id, event_name, is_genuine
from catchment.errors import Malformed
from catchment.record import Line, check_table, earlier

_KEPT_BY_BROWSERS = b"cache-control: public, max-age=300, stale-if-error=604800\r\n"
"""Segment's SDK does not start without its settings: a page that is opened while we restart may have old ones."""
_RECORDS = "/v1/records/"
_WEBHOOK = "/v1/webhook/"
_ABSOLUTE = re.compile(r"^https?://[^/?]*", re.IGNORECASE)
"""How a target begins that is written for a proxy."""


class Request(msgspec.Struct, gc=False):
    """One HTTP request, read in full. Header names are lower case, values as they came."""

    method: bytes
    target: bytes
    """Path and query."""
    headers: dict[bytes, bytes]
    body: bytes
    peer: str
    """The address at the other end of the connection."""
    received_at: datetime
    clock_s: float
    """Any steady clock, for rates."""


class Answer(msgspec.Struct, gc=False):
    """What to do: make `lines` durable, then send `response`; without lines, send it at once."""

    response: bytes
    lines: list[Line] = []
    cors: bytes = b""
    """Headers that an answer in its place (queue full) needs, too."""
    events: int = 0
    """Of `lines`, those that are not dead letters count as so many events."""
    rejected: int = 0


@dataclass(frozen=True, slots=True)
class _Source:
    name: str
    config: SourceConfig
    origins: frozenset[bytes]
    privacy: Privacy


@dataclass(slots=True)
class Handler:
    """Answers requests for one project. `window` is the loader's dedupe window; `is_ready` says whether what is sent
    now could be kept."""

    config: CollectConfig
    window: timedelta
    is_ready: Callable[[], bool] = lambda: True
    _sources: dict[str, _Source] = field(default_factory=dict)
    _limits: Limits = field(init=False)
    _proxies: Proxies = field(init=False)
    _key_rates: Rates = field(init=False)
    _address_rates: Rates = field(init=False)
    _try_page: bytes | None = field(init=False)

    def __post_init__(self) -> None:
        for name, source in self.config.sources.items():
            origins = frozenset(origin.encode() for origin in source.origins)
            made = _Source(name, source, origins, Privacy(name, source))
            self._sources.update(dict.fromkeys(source.keys, made))
        self._limits = Limits(self.config.max_depth, self.config.max_properties, self.config.max_string_chars)
        self._proxies = Proxies(self.config.trusted_proxies)
        self._key_rates = Rates(self.config.events_per_s)
        self._address_rates = Rates(self.config.requests_per_s)
        self._try_page = try_page(self.config) if self.config.try_page and self._sources else None

    def __call__(self, request: Request) -> Answer:
        """The answer to one request. Raises nothing for whatever the request may be."""
        origin = request.headers.get(b"origin")
        answer = self._answered(request, b"" if origin is None else answers.cors(origin))
        if request.method == b"HEAD":
            return Answer(answers.head(answer.response))
        return answer

    def _answered(self, request: Request, cors: bytes) -> Answer:
        try:
            return self._answer(request, cors)
        except Refused as error:
            return Answer(answers.failure(error.status, error.message, error.headers + cors))
        except Malformed as error:
            return Answer(answers.failure(_status(error), error.detail, cors, reason=error.reason))

    def _answer(self, request: Request, cors: bytes) -> Answer:
        text = request.target.decode("latin-1")
        target, _, query = (text if text.startswith("/") else _ABSOLUTE.sub("", text)).partition("?")
        path = self._without_prefix(target) if self.config.path_prefix else target
        if request.method == b"POST":
            kind = KINDS_BY_PATH.get(path)
            if path.startswith(_WEBHOOK):
                return self._webhook(request, path, _query(query), cors)
            if kind is None and not path.startswith(_RECORDS):
                raise Refused(404, f"there is nothing at POST {path[:200]}")
            return self._collect(request, path, kind, _query(query), cors)
        if request.method == b"OPTIONS":
            wanted = request.headers.get(b"access-control-request-headers", b"")
            return Answer(answers.preflight(request.headers.get(b"origin"), wanted))
        if request.method not in {b"GET", b"HEAD"}:
            raise Refused(405, "POST, GET or OPTIONS", b"allow: GET, POST, OPTIONS\r\n")
        return self._get(request, path, _query(query), cors)

    def _without_prefix(self, path: str) -> str:
        prefix = self.config.path_prefix
        return path[len(prefix) :] if prefix and path.startswith(prefix + "/") else path

    # ---- what is sent -----------------------------------------------------------------

    def _collect(self, request: Request, path: str, kind: str | None, query: Mapping[str, str], cors: bytes) -> Answer:
        client = self._client(request)
        self._limit(self._address_rates, client, 1, request)
        key = key_of(request.headers, query)
        body = self._unpacked(request)
        source = self._source(key) if key is not None else None
        values: list[object] = []
        try:
            calls = self._read(kind, body)
            if kind is None:
                values = values_of(body)
                check_count(len(values), self.config.max_batch_events)
        except Malformed as error:
            if source is None:
                raise
            return self._kept(BadCall(body, error), source, request, path, client, cors)
        if source is None:
            source = self._source(calls.write_key)
        if source.origins:
            self._check_origin(source, request)
        self._limit(self._key_rates, source.name, len(values) + len(calls.good) + len(calls.bad), request)
        if source.privacy.is_dropped(request.headers):
            return Answer(answers.answer(200, b'{"success":true}', cors))
        source.privacy.apply(calls, request.headers, client if _is_browser(request) else None)
        arrival = self._arrival(source.name, source, request, path, client, calls)
        if kind is None:
            return self._records(path.removeprefix(_RECORDS), values, query.get("id"), source, arrival, cors)
        return self._file(calls, None if kind == "batch" else kind, arrival, cors)

    def _read(self, kind: str | None, body: bytes) -> Calls:
        if not body:
            raise Malformed("not-json", "the body is empty")
        if kind is None:
            return Calls(body, [], [])
        if kind == "batch":
            return read_batch(
                body, self.config.max_batch_events, self.config.max_event_bytes, self.config.max_plain_bytes
            )
        if len(body) > self.config.max_event_bytes:
            raise Malformed(
                "oversized", f"an event of {len(body):,} bytes; it may have {self.config.max_event_bytes:,}"
            )
        return read_call(body)

    def _file(self, calls: Calls, kind: str | None, arrival: Arrival, cors: bytes) -> Answer:
        filed: list[Line] = []
        bad = calls.bad
        for at, call in enumerate(calls.good):
            try:
                filed += lines(call, kind, arrival)
            except Malformed as error:
                bad = [*bad, BadCall(calls.text(at), error)]
        events = len(calls.good) + len(calls.bad) - len(bad)
        if not bad:
            response = answers.answer(200, b'{"success":true}', cors) if cors else answers.SUCCESS
            return Answer(response, filed, cors, events)
        filed += [dead_letter(each, arrival) for each in bad]
        if kind is not None:
            why = bad[0].error
            response = answers.failure(_status(why), why.detail, cors, reason=why.reason)
            return Answer(response, filed, cors, events, len(bad))
        said = [{"reason": each.error.reason, "error": each.error.detail} for each in bad[:10]]
        body = msgspec.json.encode({"success": True, "rejected": len(bad), "errors": said})
        return Answer(answers.answer(200, body, cors), filed, cors, events, len(bad))

    def _kept(self, bad: BadCall, source: _Source, request: Request, path: str, client: str, cors: bytes) -> Answer:
        """A request of somebody we know that cannot be read: a dead letter."""
        self._check_origin(source, request)
        self._limit(self._key_rates, source.name, 1, request)
        response = answers.failure(_status(bad.error), bad.error.detail, cors, reason=bad.error.reason)
        if source.privacy.is_dropped(request.headers):
            return Answer(response)
        bad = BadCall(source.privacy.cleaned(bad.body, request.headers), bad.error)
        letter = dead_letter(bad, self._arrival(source.name, source, request, path, client, Calls(b"", [], [])))
        return Answer(response, [letter], cors, rejected=1)

    def _arrival(
        self, name: str, source: _Source | None, request: Request, path: str, client: str, calls: Calls
    ) -> Arrival:
        return Arrival(
            source=name,
            received_at=request.received_at,
            floor=earlier(request.received_at, self.window),
            limits=self._limits,
            max_id_chars=self.config.max_id_chars,
            sent_at=calls.sent_at,
            context=calls.context,
            address=_kept_address(source, request, client),
            path=path,
        )

    # ---- plain records ----------------------------------------------------------------

    def _records(
        self, table: str, values: list[object], id_field: str | None, source: _Source, arrival: Arrival, cors: bytes
    ) -> Answer:
        table = unquote(table)
        check_table(table)
        schema = table.partition(".")[0]
        if schema != source.name and not {table, f"{schema}.*"} & set(source.config.records):
            raise Refused(
                403, f"this key may not write to {table}; `records` in [collect.sources.{source.name}] names tables"
            )
        mirror = source.config.mirrors.get(table)
        filed: list[Line] = []
        bad: list[BadCall] = []
        for each in records(values, table, id_field, self.config.max_event_bytes, arrival, mirror):
            if isinstance(each, Line):
                filed.append(each)
            else:
                bad.append(each)
        events = len(filed)
        filed += [dead_letter(each, arrival) for each in bad]
        if bad and not events:
            response = answers.failure(400, bad[0].error.detail, cors, reason=bad[0].error.reason)
        else:
            said = msgspec.json.encode({"success": True, "records": events, "rejected": len(bad)})
            response = answers.answer(200, said, cors)
        return Answer(response, filed, cors, events, len(bad))

    # ---- webhooks ---------------------------------------------------------------------

    def _webhook(self, request: Request, path: str, query: Mapping[str, str], cors: bytes) -> Answer:
        client = self._client(request)
        self._limit(self._address_rates, client, 1, request)
        name = unquote(path.removeprefix(_WEBHOOK))
        webhook = self.config.webhooks.get(name)
        if webhook is None:
            raise Refused(404, "there is no webhook of this name")
        if not is_genuine(webhook, request.headers, query, request.body, request.received_at):
            raise Refused(401, "the secret or the signature is not that of this webhook")
        arrival = self._arrival(f"webhook.{name}", None, request, path, client, Calls(b"", [], []))
        body = self._unpacked(request)
        try:
            payload = read_any(body)
            if not isinstance(payload, dict):
                raise Malformed("not-a-record", "what is delivered is no object")
        except Malformed as error:
            letter = dead_letter(BadCall(body, error), arrival)
            response = answers.failure(_status(error), error.detail, cors, reason=error.reason)
            return Answer(response, [letter], cors, rejected=1)
        event = event_name(webhook, request.headers)
        if event is not None:
            payload.setdefault("webhook_event", event)
        line = record(
            payload, webhook.table or f"webhook.{name}", delivery_id(webhook, request.headers, payload), arrival
        )
        return Answer(answers.SUCCESS, [line], cors, 1)

    # ---- what is asked ----------------------------------------------------------------

    def _get(self, request: Request, path: str, query: Mapping[str, str], cors: bytes) -> Answer:
        if path == "/healthz":
            return Answer(answers.answer(200, b'{"ok":true}', cors))
        if path == "/readyz":
            if not self.is_ready():
                raise Refused(503, "nothing can be kept at the moment")
            return Answer(answers.answer(200, b'{"ready":true}', cors))
        if path == "/v1/pixel":
            return self._pixel(request, query, cors)
        if path == "/" and self._try_page is not None:
            return Answer(self._try_page)
        if path.startswith("/v1/projects/") and path.endswith("/settings"):
            named = unquote(path.removeprefix("/v1/projects/").removesuffix("/settings"))
            self._source(named)
            return Answer(answers.answer(200, segment_settings(named), cors + _KEPT_BY_BROWSERS))
        if path.rstrip("/") == "/sourceConfig":
            key = key_of(request.headers, query)
            return Answer(
                answers.answer(200, rudder_settings(self._source(key).name, key or ""), cors + _KEPT_BY_BROWSERS)
            )
        raise Refused(404, f"there is nothing at GET {path[:200]}")

    def _pixel(self, request: Request, query: Mapping[str, str], cors: bytes) -> Answer:
        """One event by the address of a picture: `data`, a call as JSON in base64, or its fields by name."""
        client = self._client(request)
        self._limit(self._address_rates, client, 1, request)
        source = self._source(key_of(request.headers, query))
        self._limit(self._key_rates, source.name, 1, request)
        body = query.get("data", "").encode()
        try:
            body = call_of(query)
            calls = read_call(body)
        except Malformed as error:
            return self._kept(BadCall(body, error), source, request, "/v1/pixel", client, cors)
        kind = calls.good[0].type or "track"
        if source.privacy.is_dropped(request.headers):
            calls.good.clear()
        source.privacy.apply(calls, request.headers, client)
        arrival = self._arrival(source.name, source, request, "/v1/pixel", client, calls)
        filed = self._file(calls, kind, arrival, cors)
        if filed.response.startswith(b"HTTP/1.1 200"):
            headers = cors + b"cache-control: no-store\r\n"
            filed.response = answers.answer(200, answers.PIXEL, headers, b"image/gif")
        return filed

    # ---- who may ----------------------------------------------------------------------

    def _source(self, key: str | None) -> _Source:
        if key is None:
            raise Refused(401, "no write key: give it as the user name of Basic authorization, as `writeKey` in the"
                          " body or the query, or in the header X-Write-Key")  # fmt: skip
        # Jitsu's SDKs give `id:secret`, of which the id may be all that is configured.
        source = self._sources.get(key) or self._sources.get(key.partition(":")[0])
        if source is None:
            raise Refused(401, "no source has this write key")
        return source

    def _check_origin(self, source: _Source, request: Request) -> None:
        origin = request.headers.get(b"origin")
        if origin is not None and source.origins and origin not in source.origins and b"*" not in source.origins:
            shown = origin.decode("latin-1")[:200]
            raise Refused(403, f"pages of {shown} may not send with this key")

    def _client(self, request: Request) -> str:
        if not self.config.trusted_proxies:
            return request.peer
        return self._proxies.client(request.peer, request.headers.get(b"x-forwarded-for", b"").decode("latin-1"))

    def _unpacked(self, request: Request) -> bytes:
        encoding = request.headers.get(b"content-encoding", b"")
        return unpacked(request.body, encoding, self.config.max_plain_bytes)

    def _limit(self, rates: Rates, name: str, tokens: int, request: Request) -> None:
        wait_s = rates.wait_s(name, tokens, request.clock_s)
        if wait_s > 0:
            raise Refused(429, "too much at once; come again later", answers.retry_after(wait_s))


def _kept_address(source: _Source | None, request: Request, client: str) -> str | None:
    # Of a server that speaks for its users the address tells nothing about them.
    if source is None or not _is_browser(request) or not source.privacy.keeps_address(request.headers):
        return None
    return kept(client, source.config.ip)


def _is_browser(request: Request) -> bool:
    return b"origin" in request.headers or b"referer" in request.headers


def _status(error: Malformed) -> int:
    return 413 if error.reason == "oversized" else 400


def _query(text: str) -> dict[str, str]:
    try:
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=1_000)) if text else {}
    except ValueError:
        raise Refused(400, "a query may have 1,000 fields") from None
