"""One, two, four and eight loaders on one RabbitMQ and one PostgreSQL: records by core, and whether all are there."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from psycopg.conninfo import conninfo_to_dict
from tests.crash.brokers import rabbitmq_settings
from tests.servers import rabbitmq
from tests.servers.postgres import PostgresServer, binaries
from tests.servers.rabbitmq import RabbitServer

from bench.load_postgres import SETTINGS, postgres_settings
from bench.measure import ROOT, Check, progress, result, scratch, tree_cpu_s
from bench.our_load import first_packs
from bench.records import PACK_RECORDS, TABLES, dataset
from bench.up import make_project
from catchment import presence
from catchment.cli.parts import is_all_loaded
from catchment.config import Project

LOADERS = (1, 2, 4, 8)
PACKS = 700
AT_ONCE = 100
READY_S, LOADED_S = 120, 600
NEEDED_BYTES = 2_000_000_000


def run() -> dict[str, Any]:
    """How many records a second of a core's time loads, with more and more loaders; and what the servers took."""
    found = binaries()
    if found is None:
        raise RuntimeError("PostgreSQL's server is not installed; tests/system_packages.sh installs it")
    taken: dict[int, dict[str, float]] = {}
    with scratch(NEEDED_BYTES) as folder, rabbitmq.running() as broker:
        server = PostgresServer(found, SETTINGS)
        with contextlib.closing(server):
            for loaders in LOADERS:
                taken[loaders] = _measure(folder / f"{loaders}", broker, server, loaders)
                progress(f"{loaders} loaders: { ({name: round(value, 2) for name, value in taken[loaders].items()}) }")
    per_core = {loaders: each["records_per_core_s"] for loaders, each in taken.items()}
    return result(
        [
            Check("share_per_core_of_8", per_core[8] / per_core[1], must=None, goal=None, at_least=True),
            *(
                Check(f"records_per_core_s_{loaders}", value, must=None, goal=None, at_least=True)
                for loaders, value in per_core.items()
            ),
        ],
        "one loader: records loaded in a second of a loader's CPU",
        records=PACKS * PACK_RECORDS,
        **{f"loaders_{loaders}": each for loaders, each in taken.items()},
    )


def _measure(folder: Path, broker: RabbitServer, server: PostgresServer, loaders: int) -> dict[str, float]:
    config, url = broker.new_config(publish_timeout_s=120), server.new_database()
    folder.mkdir()
    settings = f'[archive]\npath = "{folder}/archive"\n{postgres_settings(url)}{rabbitmq_settings(config)}'
    projects = [make_project(folder / f"loader{number}", settings) for number in range(loaders)]
    with _running(projects) as processes, contextlib.closing(projects[0].queue.open()) as queue:
        queue.publish(first_packs())  # makes the tables
        _await_loaded(projects[0])
        pids = [process.pid for process in processes]
        before, servers_before = sum(map(tree_cpu_s, pids)), _servers_cpu_s(broker, server)
        began_s = time.monotonic()
        messages = islice(dataset().packs(), PACKS)
        while some := list(islice(messages, AT_ONCE)):
            queue.publish(some)
        _await_loaded(projects[0])
        wall_s = time.monotonic() - began_s
        cpu_s = sum(map(tree_cpu_s, pids)) - before
        servers_s = [now - then for now, then in zip(_servers_cpu_s(broker, server), servers_before, strict=True)]
    records, counted = PACKS * PACK_RECORDS, _count(server, url)
    expected = records + len(first_packs()) * PACK_RECORDS
    assert counted == expected, f"{counted} rows of {expected}"
    broker.drop(config)
    server.drop_database(url)
    return {
        "records_per_core_s": round(records / cpu_s),
        "records_per_s": round(records / wall_s),
        "loader_cpu_s_per_million": round(cpu_s / records * 1e6, 2),
        "rabbitmq_cpu_s_per_million": round(servers_s[0] / records * 1e6, 2),
        "postgres_cpu_s_per_million": round(servers_s[1] / records * 1e6, 2),
    }


@contextlib.contextmanager
def _running(projects: list[Project]) -> Iterator[list[subprocess.Popen[bytes]]]:
    processes = []
    try:
        for project in projects:
            with (project.root / "said").open("wb") as said:
                processes.append(
                    subprocess.Popen(
                        [sys.executable, "-m", "catchment", "run", "load", "-p", str(project.root)],
                        cwd=ROOT,
                        stdin=subprocess.DEVNULL,
                        stdout=said,
                        stderr=said,
                    )
                )
        give_up_s = time.monotonic() + READY_S
        while not all(map(_is_ready, projects)):
            if time.monotonic() > give_up_s:
                raise RuntimeError(f"the loaders are not ready after {READY_S} s")
            time.sleep(0.1)
        yield processes
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(READY_S)


def _is_ready(project: Project) -> bool:
    state = presence.service(project.runtime, "load")
    return state is not None and state.state == "ready"


def _await_loaded(project: Project) -> None:
    give_up_s = time.monotonic() + LOADED_S
    while not is_all_loaded(project):
        if time.monotonic() > give_up_s:
            raise RuntimeError(f"not all is loaded after {LOADED_S} s")
        time.sleep(0.5)  # each look costs the servers something


def _servers_cpu_s(broker: RabbitServer, server: PostgresServer) -> list[float]:
    return [tree_cpu_s(broker.pid), tree_cpu_s(server.pid)]


def _count(server: PostgresServer, url: str) -> int:
    database = conninfo_to_dict(url)["dbname"]
    query = " UNION ALL ".join(f"SELECT count(*) FROM {table}" for table in TABLES)
    return sum(int(str(count)) for (count,) in server.ask(query, str(database)))
