"""A project that runs, as its user meets it: up, send, query, status, tail, and what happens when a process dies."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import duckdb
import nanoarrow
import psutil
import pytest
from nanoarrow.ipc import InputStream

from tests.cli.live import CATCHMENT, Live, on_terminal, until


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    made = Live(tmp_path_factory.mktemp("live") / "p")
    made.up()
    yield made
    made.close()


def test_up_says_where_it_is_ready(live: Live) -> None:
    ready = [json.loads(line) for line in live.said.read_text().splitlines() if '"service":"up"' in line]
    assert ready[0]["event"] == "ready"
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", ready[0]["metrics_address"])


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="only Linux tells shared memory apart")
def test_an_idle_project_takes_little_memory(live: Live) -> None:
    process = psutil.Process(live.pid())
    both = [process, process.parent()]
    assert sum(each.memory_full_info().pss for each in both if each is not None) < 200_000_000


def test_a_second_up_is_refused_and_harms_nobody(live: Live) -> None:
    pid = live.pid()
    ended = live.run("up")
    assert (ended.code, ended.out) == (1, "")
    assert re.search(r"`catchment up` already runs for this project \(pid \d+\)", ended.err)
    assert live.pid() == pid


def test_a_second_loader_is_refused(live: Live) -> None:
    ended = live.run("run", "load")
    assert ended.code == 1
    assert "is in use by another process" in ended.err


def test_the_contract_of_status(live: Live) -> None:
    live.send("shop.status", {"n": 1}, {"n": 2}, "no json")
    found = live.status()
    assert {"services", "queue", "unloaded_batches", "tables", "dead_letters"} <= found.keys()
    (service,) = found["services"]
    assert service == {"name": "load", "pid": live.pid(), "state": "ready", "address": None}
    assert found["queue"].keys() == {"messages", "bytes", "oldest_s"}
    assert [type(found["queue"][name]) for name in ("messages", "bytes")] == [int, int]
    assert type(found["unloaded_batches"]) is int
    assert type(found["dead_letters"]) is int
    assert found["dead_letters"] >= 1
    (table,) = [each for each in found["tables"] if each["table"] == "shop.status"]
    assert {"table", "rows", "last_received_at", "last_loaded_at"} <= table.keys()
    assert table["rows"] == 2
    assert type(table["rows"]) is int
    for name in ("last_received_at", "last_loaded_at"):
        assert datetime.fromisoformat(table[name]).utcoffset() is not None
    assert all(not each["table"].startswith("catchment.") for each in found["tables"])


def test_status_of_a_project_that_never_ran(tmp_path: Path) -> None:
    new = Live(tmp_path / "new")
    assert new.status() | {"problems": []} == {
        "services": [],
        "queue": {"messages": 0, "bytes": 0, "oldest_s": 0.0},
        "unloaded_batches": None,
        "tables": [],
        "dead_letters": None,
        "schema_changes": None,
        "outbox": None,
        "listeners": [],
        "problems": [],
    }
    assert new.run("status").code == 0
    assert not new.runtime.exists(), "looking makes nothing"


def test_every_format_of_a_query(live: Live, tmp_path: Path) -> None:
    big = 2**62 + 1
    live.send("shop.formats", {"n": big, "x": 0.1, "text": "é,\n☃", "none": None, "nested": {"a": [1, None]}})
    sql = "SELECT n, x, text, nested FROM shop.formats"
    (row,) = live.rows(sql)
    assert row == {"n": big, "x": 0.1, "text": "é,\n☃", "nested": {"a": [1, None]}}
    (header, cells) = csv.reader(io.StringIO(live.done("query", "--format", "csv", sql)))
    assert header == ["n", "x", "text", "nested"]
    assert cells == [str(big), "0.1", "é,\n☃", '{"a": [1, null]}']
    parquet = tmp_path / "x.parquet"
    assert live.done("query", "--format", "parquet", "--output", parquet, sql) == ""
    assert duckdb.execute(f"SELECT n FROM '{parquet}'").fetchall() == [(big,)]
    arrow = tmp_path / "x.arrow"
    live.done("query", "--format", "arrow", "--output", arrow, "SELECT n, x FROM shop.formats")
    with arrow.open("rb") as file:
        assert list(nanoarrow.ArrayStream(InputStream.from_readable(file)).iter_tuples()) == [(big, 0.1)]
    table = live.run("query", sql)
    assert str(big) in table.out
    assert table.err == "(1 row)\n"


def test_a_query_that_is_wrong_says_why(live: Live) -> None:
    for sql, words in [
        ("SELECT * FROM shop.nothing", "Try: catchment status lists the tables"),
        ("DROP TABLE shop.formats", "a query only reads"),
        ("COPY (SELECT 1) TO '/tmp/x'", "a query only reads"),
        ("ATTACH '/tmp/x.duckdb'", "a query only reads"),
        ("SELECT * FROM read_text('/etc/passwd')", "the files of the archive"),
        ("SELECT 1; SELECT 2", "one statement"),
        ("SELECT 'x'::INTEGER", "Could not convert"),
        ("", "there is none"),
    ]:
        ended = live.run("query", sql)
        assert (ended.code, ended.out) == (2, ""), sql
        assert words in ended.err, sql


def test_a_file_sent_twice_is_loaded_once(live: Live, tmp_path: Path) -> None:
    file = tmp_path / "o.csv"
    file.write_text("id;zip;paid\n1;0412;true\n2;1000;false\n3;;\n")
    for _ in range(2):
        assert live.done("send", "shop.zips", file, "--wait") == "shop.zips: 3 rows, 0 dead letters\n"
    assert live.rows("SELECT id, zip, paid FROM shop.zips ORDER BY id") == [
        {"id": 1, "zip": "0412", "paid": True},
        {"id": 2, "zip": "1000", "paid": False},
        {"id": 3, "zip": None, "paid": None},
    ]


def test_the_metrics_tell_what_happened(live: Live) -> None:
    def of(name: str, table: str = "shop.metrics") -> float:
        return numbers.get(f'catchment_{name}_total{{table="{table}"}}', 0.0)

    records = [{"id": n, "n": n} for n in range(5)]
    bad = '{"id": 9, "n": 1, "n": 2}'
    live.send("shop.metrics", *records, bad, id_field="id")
    live.send("shop.metrics", *records, id_field="id")
    numbers = live.metrics()
    assert of("records_archived") == 11
    assert (of("records_loaded"), of("records_duplicate"), of("records_dead")) == (5, 5, 1)
    assert numbers["catchment_load_seconds_count"] >= 2
    assert numbers["catchment_rounds_total"] >= 2
    assert until(lambda: live.metrics()["catchment_queue_messages"] == 0)
    assert numbers["catchment_tables_halted"] == 0


def test_health_and_readiness(live: Live) -> None:
    code, body = live.get("/healthz")
    assert (code, json.loads(body)["services"]["load"]["ok"]) == (200, True)
    assert live.get("/readyz")[0] == 200
    assert live.get("/nothing")[0] == 404


def test_tail_shows_what_comes(live: Live) -> None:
    with subprocess.Popen([*CATCHMENT, "tail", "-p", str(live.folder), "shop.tail"], stdout=subprocess.PIPE) as tail:
        assert tail.stdout is not None
        os.set_blocking(tail.stdout.fileno(), False)
        seen = b""
        sent = 0
        while b"\n" not in seen:  # it shows what comes after it has begun, which nobody else can see
            sent += 1
            live.send("shop.tail", {"sent": sent})
            live.send("shop.other", {"sent": sent})
            seen += tail.stdout.read() or b""
        tail.send_signal(signal.SIGINT)
        seen += tail.stdout.read() or b""
        assert tail.wait(timeout=30) == 130
    records = [json.loads(line) for line in seen.splitlines()]
    assert {record["table"] for record in records} == {"shop.tail"}
    assert [record["data"]["sent"] for record in records] == list(range(records[0]["data"]["sent"], sent + 1))


def test_a_killed_process_comes_back_and_says_so(live: Live) -> None:
    """A query in between waits for it; a file sent in between is loaded by it."""
    live.send("shop.killed", {"n": 1})
    pid = live.kill_warehouse_process()
    assert live.rows("SELECT n FROM shop.killed") == [{"n": 1}]
    assert live.ready(but=pid) != pid
    pid = live.kill_warehouse_process()
    live.send("shop.killed", {"n": 2})
    assert live.rows("SELECT sum(n) AS n FROM shop.killed") == [{"n": 3}]
    live.ready(but=pid)
    # Once more where a command had opened the file just then, which the process waits for by being started again.
    assert live.metrics()["catchment_restarts"] >= 2


HOSTILE = "\x1b]0;owned\x07\x1b[31m\u202e\x9b2J\x7f"


def test_no_terminal_is_driven_by_data(live: Live) -> None:
    live.send("shop.hostile", {"text": HOSTILE, HOSTILE: 1}, json.dumps({"x": 1})[:-1] + f', "{HOSTILE}": 1, "x": 2}}')
    commands = [
        ("query", "-p", live.folder, "SELECT * FROM shop.hostile"),
        ("query", "-p", live.folder, "--format", "csv", "SELECT * FROM shop.hostile"),
        ("query", "-p", live.folder, "--format", "json", "SELECT * FROM shop.hostile"),
        ("query", "-p", live.folder, f"SELECT '{HOSTILE}'::INTEGER"),
        ("tail", "-p", live.folder, "--once", "shop.hostile"),
        ("dead-letters", "list", "-p", live.folder),
        ("status", "-p", live.folder),
        ("send", "-p", live.folder, "shop.hostile", f"{HOSTILE}.csv"),
        *(("dead-letters", "show", "-p", live.folder, letter["id"]) for letter in live.letters()),
        *(("dead-letters", "show", "-p", live.folder, "--bytes", letter["id"]) for letter in live.letters()),
    ]
    for command in commands:
        _, shown = on_terminal(*command)
        assert [character for character in HOSTILE if not character.isprintable() and character in shown] == [], (
            command
        )
    assert HOSTILE in live.done("query", "--format", "csv", "SELECT text FROM shop.hostile"), "a pipe has it all"


def test_it_stops_in_order(live: Live) -> None:
    """The last of this module: what it leaves is asked without anything running."""
    assert live.down() == 0
    (service,) = live.status()["services"]
    assert service["state"] == "stopped"
    assert service["pid"] is None
    assert live.rows("SELECT count(*) AS n FROM shop.killed") == [{"n": 2}]
    ended = live.run("send", "shop.killed", "--format", "ndjson", stdin='{"n": 3}')
    assert "nothing runs that would load it" in ended.err
    assert live.status()["queue"]["messages"] == 1
    assert not list(live.runtime.glob("warehouse.json"))
