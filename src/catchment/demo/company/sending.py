"""Calls on their way to the collector: in batches over HTTP, each again until it is answered 200, as SDKs do it."""

from __future__ import annotations

import gzip
import http.client
import queue
import threading
import time
from base64 import b64encode
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import msgspec

from catchment.demo.company.calls import Call, Json, Source
from catchment.demo.company.issues import KEY, TABLE, VERSION
from catchment.errors import Abort

CONNECTIONS = 4
BATCH_CALLS = 500

_TIMEOUT_S = 30.0
_AGAIN_S = 0.2
_PLURALS = {"page": "pages", "screen": "screens", "identify": "identifies", "track": "tracks"}
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Batch:
    """What one request carries: `calls` calls of one source, as gzipped JSON."""

    source: Source
    calls: int
    path: str
    body: bytes


def batches(calls: Iterable[Call], size: int = BATCH_CALLS) -> Iterator[Batch]:
    """The calls, in order for each source.

    They have no `sentAt`: by it a collector corrects a client's clock, and would date half a year ago as now.
    """
    gathering: dict[Source, list[Json]] = defaultdict(list)
    for call in calls:
        bodies = gathering[call.source]
        bodies.append(call.body)
        if len(bodies) >= size:
            yield _batch(call.source, bodies)
            bodies.clear()
    for source, bodies in gathering.items():
        if bodies:
            yield _batch(source, bodies)


def _batch(source: Source, bodies: list[Json]) -> Batch:
    if source == "github":
        return Batch(source, len(bodies), f"/v1/records/{TABLE}", gzip.compress(_encode(bodies), 1))
    return Batch(source, len(bodies), "/v1/batch", gzip.compress(_encode({"batch": bodies}), 1))


class Connection:
    """One connection to the collector, made anew when it breaks. `keys` are the sources' write keys."""

    def __init__(self, address: str, keys: Mapping[str, str]) -> None:
        self._http = http.client.HTTPConnection(urlsplit(address).netloc, timeout=_TIMEOUT_S)
        self._headers = {
            source: {
                "Authorization": f"Basic {b64encode(f'{key}:'.encode()).decode()}",
                "Content-Type": "application/json",
                "Content-Encoding": "gzip",
            }
            for source, key in keys.items()
        }

    def send(self, batch: Batch) -> bool:
        """Whether it was taken; if not, it is to be sent again. Raises `Abort` where that would not help."""
        try:
            self._http.request("POST", batch.path, batch.body, self._headers[batch.source])
            answer = self._http.getresponse()
            said = answer.read()
        except (OSError, http.client.HTTPException):
            self._http.close()
            return False
        if answer.status not in {200, 429} and answer.status < 500:
            raise Abort(f"a batch was answered {answer.status}: {said.decode(errors='replace')}")
        return answer.status == 200

    def close(self) -> None:
        """Close it; it would open again."""
        self._http.close()


@dataclass(slots=True)
class Sent:
    """What is sent: `ids` has the messageIds of the calls that become rows of a table, by its name; `newest` has the
    last version of every issue, which is the one that must stay."""

    calls: int = 0
    batches: int = 0
    ids: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    newest: dict[int, str] = field(default_factory=dict)

    def counted(self, calls: Iterable[Call]) -> Iterator[Call]:
        """The calls, counted as they pass."""
        for call in calls:
            self.calls += 1
            if call.source == "github":
                self.newest[call.body[KEY]] = call.body[VERSION]
                yield call
                continue
            message_id = call.body["messageId"]
            self.ids[f"{call.source}.{_PLURALS[call.body['type']]}"].append(message_id)
            if call.body["type"] == "track":  # every event has a table of its own besides
                self.ids[f"{call.source}.{call.body['event'].lower().replace(' ', '_')}"].append(message_id)
            yield call


class Crossing:
    """A history on its way. It is made up from now on, and sent over some connections as soon as `open` says where.

    `sent` is complete once `is_done`.
    """

    def __init__(self, calls: Iterable[Call]) -> None:
        self.sent = Sent()
        self._acknowledged = 0
        self._failure: BaseException | None = None
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._ready: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._tell, args=(calls,), name="history", daemon=True)]
        self._threads[0].start()

    def open(self, address: str, keys: Mapping[str, str]) -> None:
        """Send, from now on."""
        for number in range(CONNECTIONS):
            connection = Connection(address, keys)
            thread = threading.Thread(target=self._send, args=(connection,), name=f"sending-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)  # last: a Ctrl-C may end its start, and nobody waits for what has not begun

    @property
    def acknowledged(self) -> int:
        """Calls answered 200."""
        return self._acknowledged

    def is_done(self) -> bool:
        """Whether all is answered. Raises what went wrong."""
        if self._failure is not None:
            raise self._failure
        return not any(thread.is_alive() for thread in self._threads) and not self._stop.is_set()

    def close(self) -> None:
        """Send no more."""
        self._stop.set()
        for thread in self._threads:
            thread.join(_TIMEOUT_S)

    def _tell(self, calls: Iterable[Call]) -> None:
        try:
            for batch in batches(self.sent.counted(calls)):
                if self._stop.is_set():
                    return
                self.sent.batches += 1
                self._ready.put(batch)
        except BaseException as error:
            self._failure = error
        finally:
            for _ in range(CONNECTIONS):
                self._ready.put(None)

    def _send(self, connection: Connection) -> None:
        try:
            with closing(connection):
                while (batch := self._ready.get()) is not None and not self._stop.is_set():
                    while not connection.send(batch):
                        if self._stop.wait(_AGAIN_S):
                            return
                    with self._lock:
                        self._acknowledged += batch.calls
        except BaseException as error:
            self._failure = error


class Live:
    """Traffic that is sent as it falls due, over one connection."""

    def __init__(self, calls: Iterator[Call], connection: Connection) -> None:
        self._calls = calls
        self._connection = connection
        self._next = next(calls)
        self._waiting: list[Batch] = []
        self.sent = 0

    def send_due(self, now_s: float | None = None) -> None:
        """Send what is due by `now_s`, in seconds since 1970. What the collector does not take now waits."""
        now_s = time.time() if now_s is None else now_s
        due: list[Call] = []
        while self._next.at.timestamp() <= now_s:
            due.append(self._next)
            self._next = next(self._calls)
        self._waiting += batches(due)
        while self._waiting and self._connection.send(self._waiting[0]):
            self.sent += self._waiting.pop(0).calls
