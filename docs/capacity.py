"""The capacity model of docs/scaling.md: `python docs/capacity.py` prints its tables from the figures below.

Each figure is of a bench of this repository, or a bound that a bench fails beyond; where it is neither, it says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

RATES = (1_000, 10_000, 100_000, 1_000_000)
"""Events a second."""

# A record of 390 bytes as a service sends it (`bench/records.py`).
SENT_BYTES = 390
PACKED_BYTES = 80
"""Of it in a pack of 300, compressed."""
GROUPS_PER_S, SQS_GROUPS_PER_S = 200, 50
"""So often a collector publishes at most: what comes meanwhile waits for the broker's last confirm, of 5 ms, or 20 ms
at SQS, and goes as one message. Assumed, not measured."""
LARGEST_MESSAGE_BYTES = 1_000_000
DAY_S = 86_400

# CPU of one core, in µs a record.
COLLECT_US = 14.0
"""In batches; `bench collect` fails beyond. Events that come one a request: `COLLECT_SINGLE_US`."""
COLLECT_SINGLE_US = 30.0
LOAD_DUCKDB_US = 6.5
"""`bench load-duckdb`: 4.5 is its goal, 6.5 what the design must keep to."""
LOAD_POSTGRES_US = 8.0
POSTGRES_US = 6.0
"""Both measured beside the load into DuckDB, in the same minutes, and scaled by what that took."""
WAL_BYTES = 2 * SENT_BYTES
"""Reckoned, not measured."""

# CPU of one core, in µs a message of 15 kB, in and out.
RABBITMQ_MESSAGE_US = 160.0
KAFKA_MESSAGE_US = 170.0

LARGEST_ROUND_RECORDS = 250_000
LARGEST_ROUND_BYTES = 64_000_000
ROUND_S = 1.0
"""So often a loader closes a round while it keeps up; less often when rounds are full."""
TABLES = 20
"""That get records all the time: each is a commit a round."""
HEADROOM = 0.5
"""Share of a core that is planned with: peaks and catching up need the rest."""


@dataclass(frozen=True, slots=True)
class Load:
    """What some events a second need."""

    rate: int

    @property
    def collectors(self) -> int:
        """Processes, of which each plans with half of a core."""
        return max(1, math.ceil(self.cores(COLLECT_US) / HEADROOM))

    @property
    def messages_per_s(self) -> float:
        """On the broker, from collectors."""
        return self._messages_per_s(GROUPS_PER_S)

    def _messages_per_s(self, groups_per_s: float) -> float:
        full = self.rate * PACKED_BYTES / LARGEST_MESSAGE_BYTES
        return max(full, min(self.rate, groups_per_s * self.collectors))

    def cores(self, us: float) -> float:
        return self.rate * us / 1e6

    @property
    def broker_cores(self) -> tuple[float, float]:
        """RabbitMQ, Kafka."""
        return self.messages_per_s * RABBITMQ_MESSAGE_US / 1e6, self.messages_per_s * KAFKA_MESSAGE_US / 1e6

    @property
    def mbit_per_s(self) -> tuple[float, float]:
        """From clients to collectors, and through the broker: in and out."""
        return self.rate * SENT_BYTES * 8 / 1e6, 2 * self.rate * PACKED_BYTES * 8 / 1e6

    @property
    def sqs_requests_per_s(self) -> float:
        """One for each message that is sent; receiving and deleting take ten at a time."""
        messages = self._messages_per_s(SQS_GROUPS_PER_S)
        return messages + 2 * max(1.0, messages / 10)

    @property
    def loaders(self) -> int:
        """On PostgreSQL, as processes of which each plans with half of a core for itself."""
        return max(1, math.ceil(self.cores(LOAD_POSTGRES_US) / HEADROOM))

    @property
    def rounds_per_s(self) -> float:
        """Of all loaders."""
        full = max(self.rate / LARGEST_ROUND_RECORDS, self.rate * PACKED_BYTES / LARGEST_ROUND_BYTES)
        return max(full, self.loaders / ROUND_S)

    @property
    def s3_puts_per_s(self) -> float:
        """A file a round; the hourly rewriting adds one a table and hour, and as many reads and removals."""
        return self.rounds_per_s * 2 + TABLES / 3_600

    @property
    def commits_per_s(self) -> float:
        """A transaction a table and round."""
        return self.rounds_per_s * TABLES

    @property
    def wal_mb_per_s(self) -> float:
        return self.rate * WAL_BYTES / 1e6

    @property
    def archive_gb_a_day(self) -> float:
        return self.rate * PACKED_BYTES * DAY_S / 1e9


def rows() -> Iterator[tuple[str, list[str]]]:
    """What is needed, at each of `RATES`."""
    loads = [Load(rate) for rate in RATES]
    yield "collectors, cores, in batches", [_number(load.cores(COLLECT_US)) for load in loads]
    yield "collectors, cores, one a request", [_number(load.cores(COLLECT_SINGLE_US)) for load in loads]
    yield "collectors, processes, in batches", [_number(load.collectors) for load in loads]
    yield "messages a second", [_number(load.messages_per_s) for load in loads]
    yield "RabbitMQ, cores", [_number(load.broker_cores[0]) for load in loads]
    yield "Kafka, cores", [_number(load.broker_cores[1]) for load in loads]
    yield "SQS, requests a second", [_number(load.sqs_requests_per_s) for load in loads]
    yield "network, clients to collectors, Mbit/s", [_number(load.mbit_per_s[0]) for load in loads]
    yield "network, broker in and out, Mbit/s", [_number(load.mbit_per_s[1]) for load in loads]
    yield "loader on DuckDB, cores", [_number(load.cores(LOAD_DUCKDB_US)) for load in loads]
    yield "loaders on PostgreSQL, cores", [_number(load.cores(LOAD_POSTGRES_US)) for load in loads]
    yield "loaders on PostgreSQL, processes", [_number(load.loaders) for load in loads]
    yield "PostgreSQL itself, cores", [_number(load.cores(POSTGRES_US)) for load in loads]
    yield "PostgreSQL's WAL, MB a second", [_number(load.wal_mb_per_s) for load in loads]
    yield "S3, PUT and DELETE a second", [_number(load.s3_puts_per_s) for load in loads]
    yield f"warehouse commits a second, {TABLES} tables", [_number(load.commits_per_s) for load in loads]
    yield "archive, GB a day", [_number(load.archive_gb_a_day) for load in loads]


def table() -> str:
    """As Markdown."""
    lines = [f"| events a second | {' | '.join(f'{rate:,}' for rate in RATES)} |", f"|---|{'---:|' * len(RATES)}"]
    lines += [f"| {name} | {' | '.join(values)} |" for name, values in rows()]
    return "\n".join(lines)


def _number(value: float) -> str:
    """Two digits are as many as such a model has."""
    if value >= 10:
        return f"{float(f'{value:.2g}'):,.0f}"
    return f"{float(f'{value:.2g}'):g}"


if __name__ == "__main__":
    print(table())
