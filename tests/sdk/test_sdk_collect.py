"""Real SDKs send to a project whose collector is killed meanwhile: each event is in the warehouse, once."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from catchment import presence
from catchment.cli.parts import is_all_loaded, warehouse_of
from catchment.config import load_project
from tests.cli.live import Live, until
from tests.sdk.sdks import SDK, SDKS, Expected, prepare, send_all

ROUNDS = 6
PAUSE_S = 0.25
RETRYING = [each for each in SDKS.values() if each.retries]
GIVING_UP = [each for each in SDKS.values() if not each.retries]
TABLES = {"identify": "identifies", "page": "pages", "screen": "screens", "group": "groups", "alias": "aliases"}
EVENTS = {"Landed": "landed", "Order Completed 🐙": "order_completed", "Order Shipped": "order_shipped"}
NAMES = {
    "looksLikeADate": "looks_like_a_date",
    "camelCase": "camel_case",
    "With Spaces and-dashes": "with_spaces_and_dashes",
}
"""Those that are another in the warehouse."""
DATES = {"born", "date", "looks_like_a_date"}
LARGEST_INTEGER = 2**63 - 1


def schema_of(sdk: SDK) -> str:
    return sdk.name.replace("-", "_")


def key_of(sdk: SDK) -> str:
    return f"{sdk.name}-key"


class Collecting(Live):
    """A project with a collector that has a source for each SDK."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:  # the port of a collector that is started again is the same
            probe.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{probe.getsockname()[1]}"
        sources = [f'[collect.sources.{schema_of(sdk)}]\nwrite_key = "{key_of(sdk)}"' for sdk in SDKS.values()]
        collect = f'[collect]\nlisten = "{address}"\nrequests_per_s = 0'
        settings = '[project]\nname = "sdks"\n[load]\nmax_age_s = 0.1'
        super().__init__(folder, "\n".join([settings, collect, *sources]))
        self.endpoint = f"http://{address}"
        self.project = load_project(folder, None)

    def collector(self, but: int | None = None) -> int:
        """Wait until the collector is ready, in another process than `but`; its pid."""

        def ready() -> int | None:
            state = presence.service(self.runtime, "collect")
            return state.pid if state is not None and state.state == "ready" and state.pid != but else None

        pid = until(ready, "the collector to be ready")
        assert pid is not None
        return pid

    def kill_collector(self) -> datetime:
        """kill -9, and wait for the next one; when."""
        pid = self.collector()
        killed_at = datetime.now(UTC)
        os.kill(pid, signal.SIGKILL)
        self.collector(but=pid)
        return killed_at

    def has_rows(self, table: str) -> bool:
        with warehouse_of(self.project) as warehouse:
            return warehouse.row_count(table, datetime(2024, 1, 1, tzinfo=UTC), 1) > 0

    def rows_of(self, sdk: SDK, tables: list[str]) -> list[tuple[str, dict[str, Any]]]:
        """Table and row of all that an SDK has sent, once it is loaded."""
        until(lambda: is_all_loaded(self.project), "all to be loaded")
        each = [f"SELECT '{table}' AS name, to_json(t) AS data FROM {schema_of(sdk)}.{table} t" for table in tables]
        found = json.loads(self.done("query", " UNION ALL ".join(each), "--format", "json"))
        return [(row["name"], row["data"]) for row in found]

    def events(self, sdk: SDK) -> list[tuple[str, dict[str, Any]]]:
        """Of tracks, the rows in the tables of their events."""
        return self.rows_of(
            sdk, [*EVENTS.values(), *(table for kind, table in TABLES.items() if kind not in sdk.lacks)]
        )


@dataclass(frozen=True, slots=True)
class Sent:
    """What SDKs have sent to a collector that was killed meanwhile."""

    collecting: Collecting
    expected: dict[str, Future[list[Expected]]]
    killed_at: datetime


@pytest.fixture(scope="module")
def collecting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collecting]:
    live = Collecting(tmp_path_factory.mktemp("sdks") / "project")
    try:
        live.up()
        live.collector()
        yield live
    finally:
        live.close()


@pytest.fixture(scope="module")
def sent(collecting: Collecting) -> Sent:
    """All SDKs send at the same time, and the collector is killed as soon as each has delivered something.

    Not sooner: Segment's SDK does not begin in a page that cannot load its settings.
    """
    for sdk in RETRYING:
        # Who cannot be had skips its own tests.
        with contextlib.suppress(pytest.skip.Exception, pytest.fail.Exception):
            prepare(sdk)
    with ThreadPoolExecutor(len(RETRYING)) as pool:
        sending = {
            sdk.name: pool.submit(send_all, sdk, collecting.endpoint, key_of(sdk), rounds=ROUNDS, pause_s=PAUSE_S)
            for sdk in RETRYING
        }
        for sdk in RETRYING:
            table = f"{schema_of(sdk)}.tracks"
            until(lambda: sending[sdk.name].done() or collecting.has_rows(table), f"rows in {table}")  # noqa: B023
        killed_at = collecting.kill_collector()
    return Sent(collecting, sending, killed_at)


@pytest.mark.parametrize("sdk", RETRYING, ids=lambda sdk: sdk.name)
def test_each_event_is_in_the_warehouse_once_whatever_happens_to_the_collector(sent: Sent, sdk: SDK) -> None:
    expected = sent.expected[sdk.name].result()
    rows = sent.collecting.events(sdk)
    assert_loaded(rows, expected)
    received = [datetime.fromisoformat(row["received_at"]) for _, row in rows]
    assert min(received) < sent.killed_at < max(received), "the collector was not killed in the middle"
    assert_tracks(sent.collecting, sdk, rows)


@pytest.mark.parametrize("sdk", RETRYING, ids=lambda sdk: sdk.name)
def test_the_time_that_a_caller_gives_is_when_it_happened(sent: Sent, sdk: SDK) -> None:
    given = {each.mark: each.timestamp for each in sent.expected[sdk.name].result() if each.timestamp is not None}
    found = {mark_of(row): row for _, row in sent.collecting.rows_of(sdk, ["order_shipped"])}
    assert given
    for mark, timestamp in given.items():
        # A client's clock is corrected by the way that its request took.
        assert abs(datetime.fromisoformat(found[mark]["timestamp"]) - timestamp) < timedelta(minutes=1)


@pytest.mark.parametrize("sdk", GIVING_UP, ids=lambda sdk: sdk.name)
def test_each_event_of_an_sdk_that_never_tries_again_is_in_the_warehouse(collecting: Collecting, sdk: SDK) -> None:
    expected = send_all(sdk, collecting.endpoint, key_of(sdk))
    rows = collecting.events(sdk)
    assert_loaded(rows, expected)
    assert_tracks(collecting, sdk, rows)


def assert_loaded(rows: list[tuple[str, dict[str, Any]]], expected: list[Expected]) -> None:
    """Each of the expected once, in its table and with its values, and nothing else."""
    found = {(table, mark_of(row)): row for table, row in rows}
    wanted = {(table_of(each), each.mark): each for each in expected}
    assert len(rows) == len(found)
    assert found.keys() == wanted.keys()
    for at, each in wanted.items():
        row = found[at]
        assert columns_of(row, each) == {**columns(each.values), **envelope(each)}
        assert (row["_rescued"] or {}) == rescued(each)


def assert_tracks(collecting: Collecting, sdk: SDK, rows: list[tuple[str, dict[str, Any]]]) -> None:
    """`tracks` has what the tables of the events have."""
    ids = sorted(row["id"] for table, row in rows if table in EVENTS.values())
    assert sorted(row["id"] for _, row in collecting.rows_of(sdk, ["tracks"])) == ids


def table_of(each: Expected) -> str:
    return EVENTS[each.name or ""] if each.type == "track" else TABLES[each.type]


def mark_of(row: dict[str, Any]) -> str:
    return str(row.get("mark") or row["previous_id"])


def envelope(each: Expected) -> dict[str, Any]:
    """What a row has of its event besides properties and traits."""
    named = {"event_text" if each.type == "track" else "name": each.name} if each.name else {}
    ids = {"user_id": each.user_id, "group_id": each.group_id, "previous_id": each.previous_id}
    return named | {"anonymous_id": each.anonymous_id} | {name: value for name, value in ids.items() if value}


def columns(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values as columns: objects flattened, nulls left out, integers as far as they are of 64 bits."""
    made: dict[str, Any] = {}
    for name, value in values.items():
        column = prefix + NAMES.get(name, name)
        if isinstance(value, dict):
            made |= columns(value, f"{column}_")
        elif isinstance(value, str):
            made[column] = date(column, "".join("\ufffd" if "\ud800" <= each <= "\udfff" else each for each in value))
        elif value is not None and not is_too_large(value):
            made[column] = value
    return made


def rescued(each: Expected) -> dict[str, Any]:
    """The values that are no column."""
    return {f"properties.{name}": value for name, value in each.values.items() if is_too_large(value)}


def columns_of(row: dict[str, Any], each: Expected) -> dict[str, Any]:
    """Of a row, the columns that its event must have."""
    wanted = columns(each.values) | envelope(each)
    return {name: date(name, row.get(name)) for name in wanted}


def date(column: str, value: Any) -> Any:
    """A date as a moment, however it is written."""
    return datetime.fromisoformat(value) if column in DATES else value


def is_too_large(value: Any) -> bool:
    return isinstance(value, int) and value > LARGEST_INTEGER
