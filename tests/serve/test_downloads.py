"""Whole results, exactly, in each format; by programs; and the end of what nobody waits for."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import duckdb
import nanoarrow
import nanoarrow.ipc
import pytest

from tests.accounts.asking import Answer
from tests.load.loading import event
from tests.serve.pages import Person, World, payloads, serving

MANY = 25_000
EXACT = """\
---
title: Exact
---
```sql table exact "Exact"
select range as n, 9007199254740993 + range as big,
  cast('12345678901234567890.123456789' as decimal(38, 9)) + range
  as money, case when range % 2 = 0 then 'a,"b' || chr(10) || 'c' end as text
from range(25000) order by 1
```

```sql table "Résumé\\r\\nX: 1/2"
select 1 as "sum; x"
```
"""
SQL = EXACT.split('"Exact"\n')[1].split("\n```", maxsplit=1)[0]
SLOW = "select count(*) from range(100000000000) a(x) where hash(x) = 1"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    root: Path = tmp_path_factory.mktemp("downloads")
    with serving(root) as made:
        made.board("exact", EXACT)
        made.board("slow", f"---\ntitle: Slow\n---\n```sql number slow\n{SLOW}\n```\n")
        made.rig.file(event("a", n=1))
        yield made


@pytest.fixture(scope="module")
def program(world: World) -> Person:
    return world.program("analyst")


def rows_of(kind: str, body: bytes, folder: Path) -> list[tuple[int, int, Decimal, str | None]]:
    if kind == "parquet":
        path = folder / "result.parquet"
        path.write_bytes(body)
        return duckdb.connect().execute(f"from '{path}' order by n").fetchall()
    if kind == "arrow":
        path = folder / "result.arrow"
        stream = nanoarrow.ArrayStream(nanoarrow.ipc.InputStream.from_readable(io.BytesIO(body)))
        return duckdb.connect().from_arrow(stream).order("n").fetchall()
    if kind == "csv":
        read = list(csv.reader(io.StringIO(body.decode(), newline="")))[1:]
        return [(int(n), int(big), Decimal(money), text or None) for n, big, money, text in read]
    objects = json.loads(body, parse_float=Decimal)
    return [(each["n"], int(each["big"]), Decimal(each["money"]), each["text"]) for each in objects]


@pytest.mark.parametrize("kind", ["csv", "parquet", "json", "arrow"])
def test_downloads_are_whole_and_exact(world: World, program: Person, kind: str, tmp_path: Path) -> None:
    wanted = [
        (n, 9007199254740993 + n, Decimal(f"{12345678901234567890 + n}.123456789"), 'a,"b\nc' if n % 2 == 0 else None)
        for n in range(MANY)
    ]
    of_a_tile = world.person("viewer").get(f"/d/exact/tiles/exact/{kind}")
    of_a_query = program.ask("POST", "/api/query", body={"sql": SQL, "format": kind})
    for answer in (of_a_tile, of_a_query):
        assert answer.status == 200
        assert rows_of(kind, answer.body, tmp_path) == wanted


def test_a_page_shows_numbers_exactly_and_says_where_it_is_cut(world: World) -> None:
    tile = payloads(world.person("viewer").get("/d/exact"))["exact"]
    html = tile["html"].replace(",", "").replace("\u2009", "")
    assert "9007199254740993" in html
    assert "12345678901234567890.123456789" in html
    assert "10,000" in json.dumps(tile)


def test_a_download_s_name_ends_no_header(world: World) -> None:
    viewer = world.person("viewer")
    tile = next(name for name in payloads(viewer.get("/d/exact")) if name != "exact")
    answer = viewer.get(f"/d/exact/tiles/{tile}/csv")
    assert answer.status == 200
    said = answer.header("content-disposition")
    assert said.startswith('attachment; filename="')
    assert said.count('"') == 2
    assert "\n" not in said
    assert answer.header("x") == ""


def test_programs_ask_with_parameters_and_hear_errors_as_json(program: Person) -> None:
    def ask(**body: object) -> Answer:
        return program.ask("POST", "/api/query", body=body, headers={"accept": "*/*"})

    assert ask(sql="select $1::int + $2::int as n", params=[1, 2]).json == [{"n": 3}]
    assert ask(sql="select $word as w", params={"word": "it's"}).json == [{"w": "it's"}]
    assert ask(sql="select null as n, true as b", params=[]).json == [{"n": None, "b": True}]
    for body in (
        {"sql": "select nosuchcolumn"},
        {"sql": "selec 1"},
        {"sql": "select 1; select 2"},
        {"sql": "create table t (n int)"},
        {"sql": "copy (select 1) to '/tmp/x.csv'"},
        {"sql": "select * from read_csv('/etc/passwd')"},
        {"sql": ""},
        {"sql": "select 1", "format": "xlsx"},
        {"sql": "select 1", "max_rows": 0},
        {"sql": "select 1", "timeout_s": 10_000},
        {"sql": "select 1", "nosuchkey": 1},
        {"sql": "select $1", "params": []},
        {"sql": "select $1::int", "params": [[1, {"a": None}]]},
        {"sql": "select $a", "params": {"a;b": 1}},
        {"sql": "select cast('x' as int)"},
        {"nothing": 1},
    ):
        answer = ask(**body)
        assert answer.status == 400, body
        assert answer.json["error"], body
    assert len(ask(sql="select * from range(100)", max_rows=7).json) == 7
    text = program.ask("POST", "/api/query", body={"sql": "select 1 as n"}, headers={"accept": "text/csv"})
    assert text.body == b"n\n1\n"
    assert text.header("content-type").startswith("text/csv")
    over = ask(sql=SLOW, timeout_s=0.2)
    assert over.status == 503
    assert "error" in over.json


def test_a_token_that_is_none_asks_nothing(world: World) -> None:
    stranger = Person(world.app, loop=world.loop, token="catchment_nothing", site=None)
    assert stranger.ask("POST", "/api/query", body={"sql": "select 1"}).status == 401
    viewer = world.program("viewer")
    assert viewer.ask("POST", "/api/query", body={"sql": "select 1"}).status == 403


@pytest.mark.parametrize(
    ("method", "address", "body"),
    [
        ("POST", "/api/query", {"sql": SLOW}),
        ("POST", "/api/query", {"sql": SLOW, "format": "parquet"}),
        ("POST", "/sql/run", {"sql": SLOW}),
        ("GET", "/d/slow", None),
        ("GET", "/d/slow/tiles", None),
        ("GET", "/d/slow/tiles/slow/csv", None),
        ("GET", "/d/slow/tiles/slow/rows", None),
    ],
)
def test_whoever_leaves_ends_the_query(world: World, method: str, address: str, body: object) -> None:
    analyst = world.person("analyst")
    running = world.rig.warehouse._running._ends

    async def leave() -> float:
        gone = asyncio.Event()
        asking = asyncio.create_task(analyst.asked(method, address, body=body, gone=gone))
        while not running:
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.2)
        assert running, "it runs until somebody leaves"
        gone.set()
        began_s = time.monotonic()
        await asyncio.wait({asking}, timeout=20)
        while running and time.monotonic() - began_s < 20:
            await asyncio.sleep(0.02)
        return time.monotonic() - began_s

    took_s = world.loop.run(leave())
    assert not running
    assert took_s < 10, "about a second on a quiet machine"


def test_a_reader_who_leaves_in_the_middle_ends_the_query_and_its_threads(world: World) -> None:
    import threading

    analyst = world.person("analyst")
    running = world.rig.warehouse._running._ends
    sql = "select range as n, repeat('x', 100) as x from range(500000000)"

    async def leave() -> None:
        gone, began = asyncio.Event(), asyncio.Event()
        asking = asyncio.create_task(
            analyst.asked("POST", "/api/query", body={"sql": sql, "format": "csv"}, gone=gone, began=began)
        )
        await began.wait()
        gone.set()
        await asyncio.wait({asking}, timeout=20)

    world.loop.run(leave())
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and (running or any(t.name == "download" for t in threading.enumerate())):
        time.sleep(0.05)
    assert not running
    assert not [thread for thread in threading.enumerate() if thread.name == "download"]


def test_while_the_warehouse_is_down_the_last_result_is_shown_and_it_comes_back(world: World) -> None:
    board = "---\ntitle: Down\nrefresh: 10s\n---\n```sql number m\nselect count(*) from web.event\n```\n"
    world.board("down", board)
    viewer = world.person("viewer")
    assert "1" in payloads(viewer.get("/d/down"))["m"]["html"]
    world.is_down = True
    try:
        world.loop.run(expire(world))
        told = payloads(viewer.get("/d/down"))["m"]
        assert "1" in told["html"]
        assert "cannot be reached" in json.dumps(told)
        world.board("other", "---\ntitle: Other\n---\n```sql number m\nselect 1 + count(*) from web.event\n```\n")
        never = payloads(viewer.get("/d/other"))["m"]
        assert never["state"] == "down"
        assert viewer.get("/search?q=exact").status == 200
        assert world.person("analyst").get("/search?q=exact").status == 200
        assert world.person("analyst").get("/sql").status == 200
    finally:
        world.is_down = False
    assert "2" in payloads(viewer.get("/d/other"))["m"]["html"]
    assert "cannot be reached" not in json.dumps(payloads(viewer.get("/d/down"))["m"])


async def expire(world: World) -> None:
    """As if the refresh of all that is kept had passed."""
    asking = world.site.asking
    asking._versions.clear()
    for kept in asking._kept.values():
        kept.checked_s -= 1_000
