"""Every metric of Catchment: the one place that names them, with unit and help.

    metrics.records_loaded.add(250_000, table="website.signup")
    metrics.queue_messages.set(stats.messages)

The set is closed: what is not here is not counted, so the reference is generated from `METRICS`. Importing this
module is cheap; prometheus-client comes in with the first value.

Most counters are by table. Each table costs a time series here and in whatever scrapes us, and whoever may
send records may name tables; so the first `MAX_TABLES` that a process meets have their own, and the rest share
`table="(other)"`. Sums stay right; which of the rest it was, the logs and `catchment status` say.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    import prometheus_client

PREFIX: Final = "catchment"
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
MAX_TABLES: Final = 200
OTHER_TABLES: Final = "(other)"

Unit = Literal[
    "records", "batches", "rounds", "messages", "bytes", "seconds", "tables", "restarts", "events", "requests",
    "connections", "schemas",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Spec:
    """What the reference says of a metric. `name` is the full one, as Prometheus shows it."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    unit: Unit
    help: str
    labels: tuple[str, ...] = ()


class Counter:
    """What only grows, such as records loaded."""

    def __init__(
        self,
        name: str,
        unit: Unit,
        help: str,  # noqa: A002
        *,
        by_table: bool = False,
        by_listener: bool = False,
    ) -> None:
        labels = (*(["table"] if by_table else []), *(["listener"] if by_listener else []))
        self.spec = Spec(f"{PREFIX}_{name}_total", "counter", unit, help, labels)
        self._made: prometheus_client.Counter | None = None
        _declare(self.spec)

    def add(self, amount: float = 1, *, table: str | None = None, listener: str | None = None) -> None:
        """Count `amount` more; with the table exactly where the counter is by table, and so with the listener."""
        counter = self._instrument()
        if listener is not None:
            counter = counter.labels(listener)
        if table is not None:
            counter = counter.labels(_table_label(table))
        counter.inc(amount)

    def _instrument(self) -> prometheus_client.Counter:
        with _lock:
            if self._made is None:
                from prometheus_client import Counter as Instrument

                self._made = Instrument(self.spec.name, self.spec.help, self.spec.labels, registry=_registry())
            return self._made


class Gauge:
    """What rises and falls, such as messages waiting."""

    def __init__(self, name: str, unit: Unit, help: str) -> None:  # noqa: A002
        self.spec = Spec(f"{PREFIX}_{name}", "gauge", unit, help)
        self._made: prometheus_client.Gauge | None = None
        _declare(self.spec)

    def set(self, value: float | None) -> None:
        """The value as of now; None where it is unknown, which Prometheus shows as NaN."""
        self._instrument().set(float("nan") if value is None else value)

    def _instrument(self) -> prometheus_client.Gauge:
        with _lock:
            if self._made is None:
                from prometheus_client import Gauge as Instrument

                self._made = Instrument(self.spec.name, self.spec.help, registry=_registry())
            return self._made


class Histogram:
    """How long something takes, as a distribution."""

    def __init__(self, name: str, unit: Unit, help: str, buckets: tuple[float, ...]) -> None:  # noqa: A002
        self.spec = Spec(f"{PREFIX}_{name}", "histogram", unit, help)
        self._buckets = buckets
        self._made: prometheus_client.Histogram | None = None
        _declare(self.spec)

    def observe(self, value: float) -> None:
        """Count one more value."""
        self._instrument().observe(value)

    @contextlib.contextmanager
    def time(self) -> Iterator[None]:
        """Observe how many seconds the block takes, also when it fails."""
        started_s = time.perf_counter()
        try:
            yield
        finally:
            self.observe(time.perf_counter() - started_s)

    def _instrument(self) -> prometheus_client.Histogram:
        with _lock:
            if self._made is None:
                from prometheus_client import Histogram as Instrument

                self._made = Instrument(self.spec.name, self.spec.help, registry=_registry(), buckets=self._buckets)
            return self._made


def exposition() -> bytes:
    """Every metric that has a value, and those of the process, in Prometheus's text format."""
    from prometheus_client import generate_latest

    return generate_latest(_registry())


METRICS: Final[dict[str, Spec]] = {}
"""Every metric by its full name, in the order of their definition."""

_tables: set[str] = set()
_lock = threading.RLock()
"""Two threads that count the first value at once must not make the instrument twice."""
_made_registry: prometheus_client.CollectorRegistry | None = None


def _declare(spec: Spec) -> None:
    assert spec.name not in METRICS, spec.name
    METRICS[spec.name] = spec


def _table_label(table: str) -> str:
    if table in _tables:
        return table
    with _lock:
        if len(_tables) >= MAX_TABLES:
            return OTHER_TABLES
        _tables.add(table)
    return table


def _registry() -> prometheus_client.CollectorRegistry:
    """Our own, not the library's global one, to which other libraries may add."""
    global _made_registry  # noqa: PLW0603 - made once, when the first value comes
    with _lock:
        if _made_registry is None:
            from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector

            _made_registry = CollectorRegistry()
            ProcessCollector(registry=_made_registry)
            PlatformCollector(registry=_made_registry)
        return _made_registry


records_archived = Counter("records_archived", "records", "Records written to the archive", by_table=True)
records_loaded = Counter("records_loaded", "records", "Records inserted into the warehouse", by_table=True)
records_duplicate = Counter(
    "records_duplicate", "records", "Records not inserted because the warehouse had them already", by_table=True
)
records_too_old = Counter(
    "records_too_old", "records", "Records not inserted because retention removes such rows", by_table=True
)
rows_removed = Counter("rows_removed", "records", "Rows that retention removed from the warehouse", by_table=True)
archive_removed = Counter("archive_removed_bytes", "bytes", "Archive files that retention removed", by_table=True)
records_dead = Counter("records_dead", "records", "Records kept as dead letters", by_table=True)
rounds = Counter("rounds", "rounds", "Rounds archived and acknowledged")
batches_unloaded = Gauge("batches_unloaded", "batches", "Batches in the archive that the ledger lacks")
queue_messages = Gauge("queue_messages", "messages", "Messages waiting in the queue")
queue_bytes = Gauge("queue_bytes", "bytes", "Bytes of the messages waiting in the queue")
queue_oldest_seconds = Gauge("queue_oldest_seconds", "seconds", "Age of the oldest message in the queue")
outbox_messages = Gauge("outbox_messages", "messages", "Messages of this process that wait in the outbox")
outbox_bytes = Gauge("outbox_bytes", "bytes", "Bytes of the messages of this process that wait in the outbox")
records_without_id = Counter(
    "records_without_id",
    "records",
    "Records taken in with no id and from a message without identity: a redelivery doubles them",
    by_table=True,
)
load_seconds = Histogram(
    "load_seconds",
    "seconds",
    "Time from the start of a load to its commit",
    (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
events_collected = Counter("events_collected", "events", "Events and plain records taken in over HTTP, on disk by now")
events_rejected = Counter("events_rejected", "events", "Events kept as dead letters because they cannot be filed")
requests_refused = Counter("requests_refused", "requests", "HTTP requests answered with an error, by nobody's events")
connections = Gauge("connections", "connections", "Open HTTP connections of the collector")
collect_pending_bytes = Gauge("collect_pending_bytes", "bytes", "Events that wait for their commit")
commit_seconds = Histogram(
    "commit_seconds",
    "seconds",
    "Time to make a group of requests' events durable",
    (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
messages_heard = Counter(
    "messages_heard", "messages", "Messages heard, filed or forwarded by now, and acknowledged", by_listener=True
)
messages_skipped = Counter(
    "messages_skipped", "messages", "Messages heard of which `only` or the function left nothing", by_listener=True
)
messages_dead = Counter("messages_dead", "messages", "Messages heard and kept as dead letters", by_listener=True)
records_filed = Counter("records_filed", "records", "Records made of what was heard", by_listener=True)
tables_halted = Gauge("tables_halted", "tables", "Tables whose loading has halted because too much was rejected")
tables_full = Gauge("tables_full", "tables", "Tables that met more fields than they may have columns")
schemas_full = Gauge("schemas_full", "schemas", "Schemas that met more tables than they may have")
restarts = Gauge("restarts", "restarts", "How often `catchment up` has restarted this process")
