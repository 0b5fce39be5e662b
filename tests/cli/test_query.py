"""`catchment query`: every format is exact, streams, and ends when it is told to."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import hypothesis.strategies as st
import psutil
import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings

from catchment.cli.query import TABLE_ROWS, pumped
from catchment.errors import Retry, StorageError, UsageError
from catchment.rendering.formats import write_arrow, write_json
from catchment.warehouses.duckdb_remote import RemoteDuckDB, find
from catchment.warehouses.duckdb_server import WarehouseServer
from tests.cli.ask import query
from tests.warehouses.tiny import TinyWarehouse

FOREVER = "SELECT count(*) FROM range(1_000_000_000_000) t(i) WHERE i % 7 = 3"
ASK = [sys.executable, str(Path(__file__).with_name("ask.py"))]


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("s")))
        yield folder


@pytest.fixture(scope="module")
def tiny(runtime: Path) -> Iterator[TinyWarehouse]:
    """The warehouse of a process that serves it."""
    tiny = TinyWarehouse(runtime / "warehouse.duckdb")
    server = WarehouseServer(tiny, runtime)
    server.start()
    yield tiny
    server.stop(0)
    tiny.close()


@pytest.fixture(scope="module")
def remote(tiny: TinyWarehouse, runtime: Path) -> Iterator[RemoteDuckDB]:
    remote = find(runtime)
    assert remote is not None
    yield remote
    remote.close()


@pytest.fixture
def run(tiny: TinyWarehouse, runtime: Path) -> Callable[..., Result]:
    def run(*arguments: str, **extra: Any) -> Result:
        result = CliRunner().invoke(query, [str(runtime), *arguments], **extra)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


def as_json(run: Callable[..., Result], sql: str) -> list[dict[str, Any]]:
    text = run("--format", "json", sql).stdout
    found: list[dict[str, Any]] = json.loads(text, parse_float=Decimal, parse_constant=pytest.fail)
    return found


# JSON ------------------------------------------------------------------------------------------------------

JSON_VALUES: list[tuple[str, Any]] = [
    ("9007199254740993", 9007199254740993),
    ("99999999999999999999999999999999999999::HUGEINT", 10**38 - 1),
    ("18446744073709551615::UBIGINT", 2**64 - 1),
    ("1.50::DECIMAL(38, 2)", Decimal("1.50")),
    (f"{'1234567890' * 3}.678::DECIMAL(38, 3)", Decimal(f"{'1234567890' * 3}.678")),
    ("0.1::DOUBLE", Decimal("0.1")),
    ("0.1::FLOAT", Decimal("0.1")),
    ("1e300::DOUBLE", Decimal("1e300")),
    ("'nan'::DOUBLE", None),
    ("'inf'::FLOAT", None),
    ("['nan'::DOUBLE, 1.5]", [None, Decimal("1.5")]),
    ("NULL", None),
    ("true", True),
    ("timestamptz '2026-01-01 10:00:00.123456+02'", "2026-01-01T08:00:00.123456Z"),
    ("timestamptz '2026-01-01 10:00:00+00'", "2026-01-01T10:00:00Z"),
    ("timestamp '2026-01-01 10:00:00.5'", "2026-01-01T10:00:00.5"),
    ("timestamp_ns '2026-01-01 10:00:00.123456789'", "2026-01-01T10:00:00.123456789"),
    ("timestamptz 'infinity'", "infinity"),
    ("date '2026-01-01'", "2026-01-01"),
    ("time '10:00:00.5'", "10:00:00.5"),
    ("interval '1 month 2 days'", "1 month 2 days"),
    ("""'{"a": [1, "é", null], "b": {}}'::JSON""", {"a": [1, "é", None], "b": {}}),
    ("""['{"a": 1}'::JSON, NULL]""", [{"a": 1}, None]),
    ("""'null'::JSON""", None),
    ("""'"text"'::JSON""", "text"),
    ("'quote \" back \\ line \n tab \t' || chr(1) || '☃ 🦆'", "quote \" back \\ line \n tab \t\x01☃ 🦆"),
    ("''", ""),
    ("'\\xAA\\x00'::BLOB", "qgA="),
    ("[[1::HUGEINT], [], NULL]", [[1], [], None]),
    ("{'a': 1.50::DECIMAL(4, 2), 'b''\"': {'t': timestamptz '2026-01-01 10:00:00+00'}}",
     {"a": Decimal("1.50"), "b'\"": {"t": "2026-01-01T10:00:00Z"}}),
    ("MAP {'k\"': 1.50::DECIMAL(4, 2), 'n': NULL}", {'k"': Decimal("1.50"), "n": None}),
    ("MAP {1: [true]}", {"1": [True]}),
    ("[1.0, 2.0]::DOUBLE[2]", [1, 2]),
    ("union_value(x := 1.5::DOUBLE)", Decimal("1.5")),
    ("'b'::ENUM('a', 'b')", "b"),
    ("'6ba7b810-9dad-11d1-80b4-00c04fd430c8'::UUID", "6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
    ("'101'::BIT", "101"),
    ("{'a': {}}", {"a": {}}),
    ("NULL::STRUCT(a INT)", None),
    ("NULL::BLOB", None),
    ("NULL::JSON", None),
]  # fmt: skip


@pytest.mark.parametrize(("expression", "expected"), JSON_VALUES, ids=[each for each, _ in JSON_VALUES])
def test_json_values(run: Callable[..., Result], expression: str, expected: Any) -> None:
    assert as_json(run, f"SELECT {expression} AS v UNION ALL SELECT NULL") == [{"v": expected}, {"v": None}]


def test_json_is_one_array_of_objects(run: Callable[..., Result]) -> None:
    assert run("--format", "json", "SELECT 1 AS a, 'x' AS b UNION ALL SELECT 2, NULL ORDER BY a").stdout == (
        '[\n{"a":1,"b":"x"},\n{"a":2,"b":null}\n]\n'
    )
    assert run("--format", "json", "SELECT 1 AS a WHERE false").stdout == "[]\n"


def test_json_of_two_columns_of_one_name(run: Callable[..., Result]) -> None:
    assert as_json(run, 'SELECT 1 AS a, 2 AS a, 3 AS "A\'\\"""') == [{"a": 1, "a_1": 2, "A'\\\"": 3}]


def test_json_of_many_batches_keeps_the_order(run: Callable[..., Result]) -> None:
    rows = as_json(run, "SELECT i, 'x' || i AS t FROM range(50_000) t(i) ORDER BY i")
    assert rows == [{"i": i, "t": f"x{i}"} for i in range(50_000)]


def test_every_type_becomes_valid_json_csv_and_table(run: Callable[..., Result], remote: RemoteDuckDB) -> None:
    sql = "SELECT * EXCLUDE (hugeint, uhugeint) FROM test_all_types()"
    (first, *_) = rows = as_json(run, sql)
    assert len(rows) == 3
    assert set(rows[2].values()) == {None}
    lines = list(csv.reader(io.StringIO(run("--format", "csv", sql).stdout)))
    assert [len(line) for line in lines] == [len(first)] * 4
    assert "(3 rows)" in run(sql).stderr


values = {
    "BIGINT": st.integers(-(2**63), 2**63 - 1),
    "HUGEINT": st.integers(-(10**38) + 1, 10**38 - 1),
    "DOUBLE": st.floats(),
    "VARCHAR": st.text(st.characters(codec="utf-8", exclude_characters="\0")),
    "BOOLEAN": st.booleans(),
    "DECIMAL(38, 10)": st.decimals(-(10**27), 10**27, places=10),
    "BLOB": st.binary(),
    "DATE": st.dates(),
    "TIMESTAMPTZ": st.datetimes(timezones=st.just(UTC)).filter(lambda moment: moment.year < 9999),
    "DOUBLE[]": st.lists(st.none() | st.floats()),
    "VARCHAR[]": st.lists(st.none() | st.text(st.characters(codec="utf-8", exclude_characters="\0"))),
}


def meant(value: Any) -> Any:
    """What a value should be in JSON."""
    match value:
        case float():
            return value if math.isfinite(value) else None
        case list():
            return [meant(item) for item in value]
        case bytes():
            from base64 import b64encode

            return b64encode(value).decode()
        case datetime():
            text = value.replace(tzinfo=None).isoformat()
            return (text.rstrip("0") if "." in text else text) + "Z"
        case date():
            return value.isoformat()
        case _:
            return value


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_value_through_server_ipc_and_json(remote: RemoteDuckDB, data: st.DataObject) -> None:
    types = data.draw(st.lists(st.sampled_from(list(values)), min_size=1, max_size=5))
    row = [data.draw(st.none() | values[kind]) for kind in types]
    columns = ", ".join(f"CAST(? AS {kind}) AS c{at}" for at, kind in enumerate(types))
    out = io.BytesIO()
    write_json(remote.query(f"SELECT {columns}", row).ipc(), out)
    (found,) = json.loads(out.getvalue(), parse_constant=pytest.fail)
    exact = json.loads(out.getvalue(), parse_float=Decimal)[0]
    for at, (kind, value) in enumerate(zip(types, row, strict=True)):
        got = exact if kind.startswith("DECIMAL") else found
        assert got[f"c{at}"] == meant(value), kind


# CSV -------------------------------------------------------------------------------------------------------


CSV_CELLS = [
    ("NULL", ""),
    ("''", '""'),
    ("'x'", "x"),
    ("'x,y'", '"x,y"'),
    ("'say \"no\"'", '"say ""no"""'),
    ("' x'", '" x"'),
    ("e'a\nb'", '"a\nb"'),
    ("'NULL'", "NULL"),
    ("1.50::DECIMAL(4,2)", "1.50"),
    ("9007199254740993", "9007199254740993"),
    ("'nan'::DOUBLE", "nan"),
    ("true", "true"),
    ("""'{"a": 1}'::JSON""", '"{""a"": 1}"'),
    ("[1, NULL]", '"[1,null]"'),
    ("{'a': 1.5::DOUBLE}", '"{""a"":1.5}"'),
    ("timestamptz '2026-01-01 10:00:00+02'", "2026-01-01T08:00:00Z"),
    ("'\\xAA'::BLOB", "qg=="),
]


@pytest.mark.parametrize(("expression", "cell"), CSV_CELLS, ids=[each for each, _ in CSV_CELLS])
def test_csv_cells(run: Callable[..., Result], expression: str, cell: str) -> None:
    text = run("--format", "csv", f'SELECT 1 AS first, {expression} AS "a ""b"""').stdout
    assert text == f'first,"a ""b"""\n1,{cell}\n'


def test_csv_of_nothing_has_its_header(run: Callable[..., Result]) -> None:
    assert run("--format", "csv", "SELECT 1 AS a, 2 AS b WHERE false").stdout == "a,b\n"


# Parquet and Arrow -----------------------------------------------------------------------------------------


def test_parquet(run: Callable[..., Result], tmp_path: Path) -> None:
    target = tmp_path / "x.parquet"
    sql = """SELECT i, '{"a":1}'::JSON AS j, timestamptz '2026-01-01 10:00:00+02' AS t, 1.50 AS d
             FROM range(30_000) t(i)"""
    run("--format", "parquet", "--output", str(target), sql)
    with duckdb.connect() as reader:
        found = reader.sql(f"SELECT * FROM '{target}' ORDER BY i LIMIT 1")
        types = ["BIGINT", "JSON", "TIMESTAMP WITH TIME ZONE", "DECIMAL(3,2)"]
        assert [str(kind) for kind in found.types] == types
        assert found.fetchall() == [(0, '{"a":1}', datetime(2026, 1, 1, 8, tzinfo=UTC), Decimal("1.50"))]
        assert reader.sql(f"SELECT count(*) FROM '{target}'").fetchall() == [(30_000,)]
    assert list(tmp_path.iterdir()) == [target]
    assert run("--format", "parquet", "SELECT 1 AS a").stdout_bytes[:4] == b"PAR1"


def test_arrow(run: Callable[..., Result], tmp_path: Path, remote: RemoteDuckDB) -> None:
    target = tmp_path / "x.arrow"
    sql = "SELECT * FROM range(30_000)"
    run("--format", "arrow", "--output", str(target), sql)
    assert target.read_bytes() == b"".join(remote.query(sql).ipc())
    assert run("--format", "arrow", sql).stdout_bytes == target.read_bytes()


# Table -----------------------------------------------------------------------------------------------------


def test_table(run: Callable[..., Result]) -> None:
    result = run(
        """SELECT 1 AS n, 'é☃' AS text, NULL AS nothing, timestamptz '2026-01-01 10:00:00.50+02' AS t, 1.50 AS d,
        1e300::DOUBLE AS f, '{"a":1}'::JSON AS j, true AS b, date '2026-01-01' AS day
        UNION ALL SELECT 22, e'\x1b[31m\n', '日本', NULL, NULL, 'nan'::DOUBLE, NULL, false, NULL ORDER BY n"""
    )
    assert result.stdout.splitlines() == [
        " n  │ text       │ nothing │ t                        │ d    │ f      │ j       │ b     │ day",
        "────┼────────────┼─────────┼──────────────────────────┼──────┼────────┼─────────┼───────┼────────────",
        '  1 │ é☃         │ NULL    │ 2026-01-01T08:00:00.500Z │ 1.50 │ 1e+300 │ {"a":1} │ true  │ 2026-01-01',
        " 22 │ \\x1b[31m\\n │ 日本    │ NULL                     │ NULL │    nan │ NULL    │ false │ NULL",
    ]
    assert result.stderr == "(2 rows)\n"


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("timestamp 'infinity'", "infinity"),
        ("date '12026-01-01'", "12026-01-01"),
        ("[1.50::DECIMAL(4,2), NULL]", "[1.50,null]"),
        ("{'a': '{}'::JSON}", '{"a":{}}'),
        ("'\\xAA'::BLOB", "qg=="),
        ("0.1::FLOAT", "0.1"),
        ("timestamp_ns '2026-01-01 10:00:00.123456789'", "2026-01-01T10:00:00.123456789"),
        ("interval '1 month'", "1 month"),
    ],
)
def test_a_table_of_values_that_python_has_no_type_for(run: Callable[..., Result], expression: str, text: str) -> None:
    assert run(f"SELECT {expression} AS v").stdout.splitlines()[2].strip() == text


def test_a_table_says_that_there_is_more(run: Callable[..., Result]) -> None:
    result = run("SELECT * FROM range(100_000_000_000)")
    assert len(result.stdout.splitlines()) == 2 + TABLE_ROWS
    assert result.stderr == "(the first 1,000 rows; --max-rows shows more, --format csv all)\n"
    assert "(the first 1 row;" in run("--max-rows", "1", "SELECT * FROM range(2)").stderr
    assert run("--max-rows", "2", "SELECT * FROM range(2)").stderr == "(2 rows)\n"
    assert run("SELECT 1 AS a WHERE false").stdout == " a\n───\n"


def on_terminal(runtime: Path, *arguments: str, columns: int = 40) -> str:
    """What a terminal of that width shows."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*ASK, str(runtime), *arguments], stdout=theirs, stderr=theirs, env={**os.environ, "COLUMNS": str(columns)}
    )
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 65536):
            shown += piece
    except OSError:
        pass  # Linux's way of saying that the other side has closed
    os.close(ours)
    process.wait()
    return shown.decode().replace("\r\n", "\n")


def test_a_table_fits_the_terminal(tiny: TinyWarehouse, runtime: Path) -> None:
    wide = "SELECT 1 AS n, repeat('日本', 50) AS text, repeat('x', 50) AS also, " + ", ".join(
        f"{i} AS column_{i}" for i in range(9)
    )
    lines = on_terminal(runtime, wide).splitlines()
    assert max(len(line) + line.count("日") + line.count("本") for line in lines[:3]) <= 40
    assert "…" in lines[2]
    left_out = ", ".join(f"column_{i}" for i in range(2, 9))
    assert lines[3] == f"(7 more columns have no room: {left_out})"
    assert lines[4] == "(1 row)"


@pytest.mark.parametrize("format_", ["parquet", "arrow"])
def test_bytes_are_not_for_a_terminal(tiny: TinyWarehouse, runtime: Path, format_: str) -> None:
    assert f"--output result.{format_}" in on_terminal(runtime, "--format", format_, "SELECT 1")


# How it is asked, and how it ends --------------------------------------------------------------------------


def test_where_the_sql_comes_from(run: Callable[..., Result], tmp_path: Path) -> None:
    file = tmp_path / "question.sql"
    file.write_text("SELECT 'é' AS a;\n")
    for arguments, extra in (
        (["SELECT 'é' AS a"], {}),
        (["-"], {"input": "SELECT 'é' AS a"}),
        (["--file", str(file)], {}),
    ):
        assert run("--format", "csv", *arguments, **extra).stdout == "a\né\n"
    for arguments in ([], ["SELECT 1", "--file", str(file)]):
        with pytest.raises(UsageError, match="needs its SQL, once"):
            run(*arguments)


def test_errors_are_the_warehouses_own(run: Callable[..., Result]) -> None:
    fails_late = "SELECT CASE WHEN i < 20_000 THEN 1 ELSE error('boom') END FROM range(20_001) t(i)"
    for format_ in ("table", "csv", "json"):
        with pytest.raises(UsageError, match="boom"):
            run("--format", format_, "--max-rows", "30_000", fails_late)
        with pytest.raises(UsageError, match=r"LINE 1: SELEC 1\n"):
            run("--format", format_, "SELEC 1")
    with pytest.raises(Retry, match=r"longer than 0\.1 s"):
        run("--timeout", "0.1", FOREVER)


@pytest.mark.parametrize("format_", ["csv", "json", "parquet", "arrow", "table"])
def test_a_file_is_whole_or_absent(run: Callable[..., Result], tmp_path: Path, format_: str) -> None:
    target = tmp_path / "out"
    target.write_text("before")
    with pytest.raises(UsageError, match="boom"):
        run(
            "--format", format_, "--output", str(target),
            "SELECT CASE WHEN i < 900 THEN 1 ELSE error('boom') END FROM range(1_000) t(i)",
        )  # fmt: skip
    assert target.read_text() == "before"
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_that_cannot_be_written(run: Callable[..., Result], tmp_path: Path) -> None:
    for format_ in ("csv", "parquet"):
        with pytest.raises(StorageError, match="No such file"):
            run("--format", format_, "--output", str(tmp_path / "nowhere" / "x"), "SELECT 1")


@pytest.mark.parametrize("format_", ["table", "csv", "parquet"])
@pytest.mark.parametrize("far", [True, False], ids=["far", "near"])
def test_ctrl_c_ends_the_query(tiny: TinyWarehouse, runtime: Path, tmp_path: Path, format_: str, far: bool) -> None:
    before = settled(tiny)
    process = subprocess.Popen(
        [*ASK, str(runtime if far else tmp_path), "--format", format_, FOREVER],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        if far:
            wait_for(lambda: tiny.connections() > before)
        else:
            wait_for(lambda: psutil.Process(process.pid).cpu_times().user > 1)
        interrupted = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=10)
    finally:
        process.kill()
    assert time.monotonic() - interrupted < 3
    assert b"Traceback" not in said
    assert process.returncode != 0
    wait_for(lambda: tiny.connections() == before)


def settled(tiny: TinyWarehouse) -> int:
    """How many connections are open once those of earlier tests have gone."""
    count, since_s = tiny.connections(), time.monotonic()
    while time.monotonic() - since_s < 0.3:
        time.sleep(0.02)
        if tiny.connections() != count:
            count, since_s = tiny.connections(), time.monotonic()
    return count


def wait_for(condition: Callable[[], bool], within_s: float = 10) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_closing_a_pump_ends_the_query_and_its_thread(tiny: TinyWarehouse, remote: RemoteDuckDB) -> None:
    before = tiny.connections()
    threads = threading.active_count()
    pieces = pumped(remote.query("SELECT * FROM range(100_000_000_000)"), write_arrow)
    next(pieces)
    pieces.close()
    wait_for(lambda: tiny.connections() == before)
    wait_for(lambda: threading.active_count() <= threads)


def test_memory_stays_flat(tiny: TinyWarehouse, runtime: Path) -> None:
    """Half a gigabyte of JSON through a pipe."""
    sql = "SELECT i, repeat('x', 1000) AS text FROM range(500_000) t(i)"
    peak = size = 0
    with subprocess.Popen([*ASK, str(runtime), "--format", "json", sql], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        watched = psutil.Process(process.pid)
        while piece := process.stdout.read(4_000_000):
            size += len(piece)
            peak = max(peak, watched.memory_info().rss)
    assert process.returncode == 0
    assert size > 500_000_000
    assert peak < 400_000_000


def test_a_simple_table_needs_no_duckdb(tiny: TinyWarehouse, runtime: Path) -> None:
    """Its import takes as long as everything else of the command."""
    script = "import sys; sys.argv = sys.argv[1:]; sys.path.insert(0, sys.argv.pop(0)); import ask; " \
        "ask.query(standalone_mode=False); print('duckdb' in sys.modules, file=sys.stderr)"  # fmt: skip
    result = subprocess.run(
        [sys.executable, "-c", script, str(Path(__file__).parent), "query", str(runtime), "SELECT 1, 'x', now()"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert result.stderr == "(1 row)\nFalse\n"
