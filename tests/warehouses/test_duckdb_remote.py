"""The warehouse through its socket: the same answers, the same errors, and what happens when either side goes."""

from __future__ import annotations

import inspect
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given
from nanoarrow.ipc import InputStream

from catchment import errors
from catchment.errors import CatchmentError, Retry, StorageError, UsageError, WarehouseDown
from catchment.record import now
from catchment.warehouses import (
    ArrowStream,
    Asker,
    Batch,
    DeadLetter,
    Fill,
    Filled,
    LatestView,
    LedgerEntry,
    Loaded,
    Rebuild,
    Rebuilt,
    Rows,
    SchemaChange,
    Warehouse,
    duckdb_server,
)
from catchment.warehouses import duckdb_wire as wire
from catchment.warehouses.duckdb_remote import RemoteDuckDB, find
from catchment.warehouses.duckdb_server import WarehouseServer
from catchment.warehouses.shape import AddColumn, Column, SetKey, Shape, Widen
from tests.warehouses.tiny import TinyWarehouse

FOREVER = "SELECT count(*) FROM range(1_000_000_000_000) t(i) WHERE i % 7 = 3"


@pytest.fixture(autouse=True)
def short_folder(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Sockets of tests lie in a folder of their own, as short as the real one's."""
    folder = tmp_path_factory.mktemp("s")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))


@pytest.fixture
def runtime(tmp_path: Path) -> Path:
    folder = tmp_path / ".catchment"
    folder.mkdir()
    return folder


@pytest.fixture
def tiny(runtime: Path) -> Iterator[TinyWarehouse]:
    warehouse = TinyWarehouse(runtime / "warehouse.duckdb")
    yield warehouse
    warehouse.close()


@pytest.fixture
def server(tiny: TinyWarehouse, runtime: Path) -> Iterator[WarehouseServer]:
    server = WarehouseServer(tiny, runtime, max_queries=4, queue_s=20)
    server.start()
    yield server
    server.stop(0)


@pytest.fixture
def remote(server: WarehouseServer, runtime: Path) -> Iterator[RemoteDuckDB]:
    found = find(runtime)
    assert found is not None
    yield found
    found.close()


def rows(stream: ArrowStream) -> list[tuple[Any, ...]]:
    data = b"".join(stream.ipc())
    with duckdb.connect() as reader:
        return reader.from_arrow(InputStream.from_readable(data).__arrow_c_stream__()).fetchall()


def eventually(condition: Callable[[], bool], within_s: float = 5.0) -> bool:
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


# The protocol ----------------------------------------------------------------------------------------------


def test_every_call_of_the_protocol_is_carried() -> None:
    calls = {name for name, value in vars(Warehouse).items() if inspect.isfunction(value) and name[0] != "_"}
    assert calls == {*wire.CALLS, "query", "close", "reads"}
    for name in calls:
        ours, theirs = inspect.signature(getattr(RemoteDuckDB, name)), inspect.signature(getattr(Warehouse, name))
        assert ours == theirs, name


def test_what_is_told_and_what_is_answered(remote: RemoteDuckDB, tiny: TinyWarehouse) -> None:
    moment = now()
    entry = LedgerEntry("incoming/1", "a.b", 3, moment, moment)
    assert remote.shape("a.b") == Shape("a.b", 3, (Column("userId", "user_id", "bigint"),), ("userId",))
    remote.enter([entry])
    assert tiny.entries == [entry]
    assert remote.ledger(["incoming/1", "x"]) == {"incoming/1": frozenset({"a.b"})}
    remote.forget(["incoming/1"])
    assert remote.ledger(["incoming/1"]) == {}
    assert remote.expire("a.b", moment, 3, about="c.d") == 3
    assert tiny.expired == [("a.b", moment, 3, "c.d")]
    assert remote.versions(["a.b"]) == {"a.b": "v1"}
    remote.halt("a.b", "too much")
    assert list(remote.halts()) == tiny.halted
    assert tiny.halted[0].reason == "too much"
    remote.resume("a.b")
    assert remote.halts() == []
    assert remote.row_count("a.b", moment, 5) == 5
    assert remote.tables("a") == ["a.b"]
    view = LatestView("a.v", "a.b", "user", "id", "at", ("x", "y"))
    assert remote.latest_view(view) is True
    assert tiny.views == [view]
    fill = Fill("a.b", (Column("userId", "user_id", "bigint"),), since=moment)
    pieces = [Rows(("/archive/1.zst",), 7), Rows(b"x", 1, prepared=True)]
    remote.stage(fill, ["incoming/1"], pieces)
    assert tiny.gathered == [(fill, ["incoming/1"], pieces)]
    assert remote.staged(fill) == {"incoming/1"}
    assert remote.fill(fill) == Filled(1, 1)
    assert tiny.gathered[0][0].side == fill.side
    rebuild = Rebuild("a.b", fill.columns, ("gone",))
    remote.begin_rebuild(rebuild)
    noted = SchemaChange("dropped", "a.b", "gone")
    ended = remote.end_rebuild(rebuild, without=["x"], noted=[noted], drops_others=True, holds_back=True)
    assert ended == Rebuilt(7, ("incoming/1",), 2, True)
    arguments = {"without": ["x"], "noted": [noted], "drops_others": True, "holds_back": True}
    assert tiny.rebuilds == [(rebuild, {}), (rebuild, arguments)]
    remote.tidy(datetime.now(UTC))
    assert tiny.tidied == 1
    remote.backup(Path("/tmp/x"))
    assert tiny.backups == [Path("/tmp/x")]


def test_a_batch_arrives_as_it_was(remote: RemoteDuckDB, tiny: TinyWarehouse) -> None:
    moment = now()
    batch = Batch(
        names=("incoming/1", "incoming/2"),
        table="a.b",
        rows=(Rows(b'{"a":"\xc3\xa9"}\n' * 1000, 1000), Rows(("/archive/1.zst", "/archive/2.zst"), 1, True)),
        record_count=1001,
        first_received_at=moment,
        last_received_at=moment,
        search_from=moment - timedelta(days=7),
        shape_version=2,
        changes=(AddColumn(Column("x", "x", "json")), Widen("y"), SetKey(("x",))),
        key=("x",),
        distinct=True,
        early=False,
        dead=(DeadLetter("1", "a.b", "not-json", "…", "incoming/1:3", moment, b"\xff\x00"),),
        entries=(LedgerEntry("incoming/1", "a.c", 3, moment, moment),),
    )
    assert (
        remote.load([batch, batch], past_ledger=True)
        == [Loaded(("incoming/1", "incoming/2"), "a.b", 1000, 1, 1, False)] * 2
    )
    assert tiny.batches == [batch, batch]
    assert tiny.past_ledger


def all_errors(kind: type[CatchmentError] = CatchmentError) -> Iterator[type[CatchmentError]]:
    yield kind
    for below in kind.__subclasses__():
        if below.__module__ == errors.__name__:
            yield from all_errors(below)


def example(kind: type[CatchmentError]) -> CatchmentError:
    names = list(inspect.signature(kind.__init__).parameters)[1:]
    return kind(**{name: f"the {name}" for name in names})


@pytest.mark.parametrize("kind", list(all_errors()), ids=lambda kind: kind.__name__)
def test_an_error_stays_the_error_it_is(remote: RemoteDuckDB, tiny: TinyWarehouse, kind: type[CatchmentError]) -> None:
    tiny.failure = sent = example(kind)
    for call in (lambda: remote.shape("a.b"), lambda: remote.load([]), lambda: remote.query("SELECT 1")):
        with pytest.raises(CatchmentError) as caught:
            call()
        assert type(caught.value) is kind
        assert str(caught.value) == str(sent)
        assert vars(caught.value) == vars(sent)


def test_an_error_of_a_newer_version_falls_back_on_its_family() -> None:
    class Newer(errors.SchemaChanged):
        pass

    assert type(wire.raised(wire.problem(Newer("a.b")))) is errors.SchemaChanged
    assert type(wire.raised(wire.Problem(("Newest", "Retry", "CatchmentError"), {"message": "m"}))) is Retry
    assert type(wire.raised(wire.Problem(("Newest",), {"message": "m"}))) is errors.Abort


def test_a_fault_of_the_process_is_told_and_does_not_end_it(remote: RemoteDuckDB, tiny: TinyWarehouse) -> None:
    tiny.failure = ZeroDivisionError("oh")
    with pytest.raises(errors.Abort, match="ZeroDivisionError: oh"):
        remote.shape("a.b")
    tiny.failure = None
    assert remote.shape("a.b").version == 3


# Queries ---------------------------------------------------------------------------------------------------

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**127), 2**127)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.uuids()
    | st.dates()
    | st.times().map(lambda moment: moment.replace(fold=0))
    | st.datetimes().map(lambda moment: moment.replace(fold=0))
    | st.datetimes(timezones=st.just(UTC)).map(lambda moment: moment.replace(fold=0))
    | st.timedeltas()
)


@given(st.none() | st.lists(scalars | st.lists(scalars)) | st.dictionaries(st.text(), scalars))
def test_parameters_keep_their_types(params: Any) -> None:
    wired = msgspec.msgpack.decode(wire.encode(wire.Query("", wire.packed(params))), type=wire.Query).params
    assert repr(wire.unpacked(wired)) == repr(params)


def test_a_parameter_of_no_known_type() -> None:
    with pytest.raises(UsageError, match="type object"):
        wire.packed([object()])
    for bad in ([["decimal", "x"]], ["what", "x"], ["list"]):
        with pytest.raises((ValueError, ArithmeticError)):
            wire.unpacked(["list", [bad]])


def test_a_query_with_parameters(remote: RemoteDuckDB) -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    values = [
        1, 2**80, 1.5, "é", b"\xff", Decimal("1.50"), UUID(int=7), date(2026, 1, 1), time_of_day(1, 2),
        moment, timedelta(days=1), [1, 2], None,
    ]  # fmt: skip
    marks = ", ".join("?" * len(values))
    assert rows(remote.query(f"SELECT {marks}", values)) == [
        (1, Decimal(2**80), 1.5, "é", b"\xff", Decimal("1.50"), str(UUID(int=7)), *values[7:])
    ]
    assert rows(remote.query("SELECT $x + $y", {"x": 1, "y": 2})) == [(3,)]


def test_a_large_result_is_the_same_from_near_and_far(remote: RemoteDuckDB, tiny: TinyWarehouse) -> None:
    sql = "SELECT i, repeat('x', i % 1000) AS t, {'j': '1'::JSON} AS s FROM range(50_000) t(i) ORDER BY i"
    assert b"".join(remote.query(sql).ipc()) == b"".join(tiny.query(sql).ipc())


def test_limits_go_along(remote: RemoteDuckDB) -> None:
    assert len(rows(remote.query("SELECT * FROM range(10_000_000_000)", max_rows=3))) == 3
    with pytest.raises(Retry, match=r"longer than 0\.1 s"):
        rows(remote.query(FOREVER, timeout_s=0.1))


def test_an_error_after_the_first_rows(remote: RemoteDuckDB) -> None:
    chunks = remote.query("SELECT CASE WHEN i < 2_999_999 THEN i ELSE error('boom') END FROM range(3_000_000) t(i)")
    got: list[bytes] = []
    with pytest.raises(UsageError, match="boom"):
        got.extend(chunks.ipc())
    assert sum(map(len, got)) > 1_000_000
    assert rows(remote.query("SELECT 1")) == [(1,)]


def test_twenty_at_a_time(remote: RemoteDuckDB, runtime: Path) -> None:
    sql = "SELECT i, ? AS who FROM range(200_000) t(i)"
    with ThreadPoolExecutor(20) as pool:
        results = list(pool.map(lambda who: rows(remote.query(sql, [who])), range(20)))
    for who, result in enumerate(results):
        assert len(result) == 200_000
        assert {row[1] for row in result} == {who}


def test_a_line_too_long_is_told(tiny: TinyWarehouse, runtime: Path) -> None:
    server = WarehouseServer(tiny, runtime, max_queries=1, queue_s=0.2)
    server.start()
    remote = find(runtime)
    assert remote is not None
    first = remote.query("SELECT * FROM range(10_000_000)")
    chunks = first.ipc()
    next(chunks)
    with pytest.raises(Retry, match="1 queries are running"):
        remote.query("SELECT 1")
    first.close()
    assert eventually(lambda: rows(remote.query("SELECT 1")) == [(1,)])
    remote.close()
    server.stop()


@pytest.mark.parametrize("started", [False, True], ids=["before its first row", "in the middle"])
def test_a_query_ends_when_its_client_leaves(remote: RemoteDuckDB, tiny: TinyWarehouse, started: bool) -> None:
    before = tiny.connections()
    stream = remote.query("SELECT * FROM range(100_000_000_000)" if started else FOREVER)
    chunks = stream.ipc()
    if started:
        next(chunks)
    assert tiny.connections() > before
    left = time.monotonic()
    stream.close()
    assert eventually(lambda: tiny.connections() == before)
    assert time.monotonic() - left < 1.5  # 0.2 s on an idle machine


def test_a_persons_query_ends_when_their_program_is_killed(runtime: Path, tiny: TinyWarehouse, server: Any) -> None:
    before = tiny.connections()
    asking = (
        "import sys; from pathlib import Path; from catchment.warehouses import Asker; "
        "from catchment.warehouses.duckdb_remote import find; "
        f"stream = find(Path(sys.argv[1])).query({FOREVER!r}, asker=Asker('mine')); "
        "print('asked', flush=True); list(stream.ipc())"
    )
    with subprocess.Popen([sys.executable, "-c", asking, str(runtime)], stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == b"asked\n"
        assert tiny.connections() > before
        program.kill()
    assert eventually(lambda: tiny.connections() == before)


def test_one_that_waits_in_line_is_cancelled_too(tiny: TinyWarehouse, runtime: Path) -> None:
    server = WarehouseServer(tiny, runtime, max_queries=1, queue_s=60)
    server.start()
    remote = find(runtime)
    assert remote is not None
    running = remote.query(FOREVER, asker=Asker("first"))
    ended: list[str] = []

    def ask() -> None:
        try:
            remote.query("SELECT 1", asker=Asker("second"))
        except Retry as error:
            ended.append(error.message)

    waiting = threading.Thread(target=ask)
    waiting.start()
    assert eventually(lambda: remote.cancel("second"))
    waiting.join(10)
    assert ended == ["the query was cancelled"]
    assert remote.cancel("first")
    with pytest.raises(Retry, match="cancelled"):
        list(running.ipc())
    assert eventually(lambda: not remote.cancel("first"))
    remote.close()
    server.stop()


def test_closing_from_another_thread(remote: RemoteDuckDB) -> None:
    stream = remote.query(FOREVER)
    ended: list[str] = []

    def read() -> None:
        try:
            list(stream.ipc())
        except Retry as error:
            ended.append(error.message)

    reader = threading.Thread(target=read)
    reader.start()
    time.sleep(0.1)
    stream.close()
    reader.join(5)
    assert ended == ["the query was given up by its reader"]
    assert rows(remote.query("SELECT 1")) == [(1,)]


def test_a_stream_closed_after_its_end_leaves_the_connection_to_others(remote: RemoteDuckDB) -> None:
    stream = remote.query("SELECT 1")
    list(stream.ipc())
    stream.close()
    assert [len(remote._idle), remote.shape("a.b").version] == [1, 3]


# Who may, and what harms nobody ----------------------------------------------------------------------------


def test_files_are_private(server: WarehouseServer, runtime: Path) -> None:
    description = json.loads((runtime / "warehouse.json").read_text())
    path = Path(description["socket"])
    assert stat.S_IMODE((runtime / "warehouse.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert len(os.fsencode(path)) <= 100
    assert description["pid"] == os.getpid()


def test_a_folder_open_to_others_is_refused(tiny: TinyWarehouse, runtime: Path) -> None:
    folder = Path(os.environ["XDG_RUNTIME_DIR"]) / f"catchment-{os.geteuid()}"
    folder.mkdir(mode=0o755)
    with pytest.raises(StorageError, match="open to others"):
        WarehouseServer(tiny, runtime).start()
    folder.rmdir()
    folder.symlink_to(runtime)
    with pytest.raises(StorageError, match="open to others"):
        WarehouseServer(tiny, runtime).start()


def test_other_users_are_refused(
    server: WarehouseServer, runtime: Path, monkeypatch: pytest.MonkeyPatch, remote: RemoteDuckDB
) -> None:
    monkeypatch.setattr(duckdb_server, "_peer_uid", lambda _: os.geteuid() + 1)
    stranger = RemoteDuckDB(runtime)
    with pytest.raises(WarehouseDown):
        stranger.shape("a.b")
    stranger.close()


def test_writing_needs_the_token(server: WarehouseServer, runtime: Path, tiny: TinyWarehouse) -> None:
    path = runtime / "warehouse.json"
    description = msgspec.json.decode(path.read_bytes(), type=wire.Description)
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(description, token="wrong")))
    reader = RemoteDuckDB(runtime)
    assert reader.shape("a.b").version == 3
    assert rows(reader.query("SELECT 1")) == [(1,)]
    for name, call in wire.CALLS.items():
        if call.writes:
            with pytest.raises(UsageError, match="needs the token"):
                reader._call(name)
    assert tiny.tidied == 0
    reader.close()


GARBAGE = [
    b"",
    b"\x00" * 100,
    b"GET / HTTP/1.1\r\n\r\n",
    b"POST /shape HTTP/1.1\r\n\r\n",
    b"POST /shape HTTP/1.1\r\nX-Catchment-Protocol: 2\r\nContent-Length: -1\r\n\r\n",
    b"POST /shape HTTP/1.1\r\nX-Catchment-Protocol: 2\r\nContent-Length: 3\r\n\r\nxxx",
    b"POST /query HTTP/1.1\r\nX-Catchment-Protocol: 2\r\nContent-Length: 1\r\n\r\n\xc1",
    b"POST /nothing HTTP/1.1\r\nX-Catchment-Protocol: 2\r\nContent-Length: 0\r\n\r\n",
    b"POST /shape HTTP/1.1\r\nX-Catchment-Protocol: 2\r\nContent-Length: 999999999\r\n\r\n",
    b"POST /shape HTTP/1.1\r\nX-Catchment-Protocol: 2\r\nContent-Length: 20\r\n\r\ncut short",
    b"POST /shape HTTP/1.1\r\nX-Catchment-Protocol: 9\r\nContent-Length: 0\r\n\r\n",
    b"POST /shape HTTP/1.1\r\n" + b"X: y\r\n" * 1000,
    b"x" * 100_000,
]


@pytest.mark.parametrize("bytes_sent", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_harms_nobody(remote: RemoteDuckDB, server: WarehouseServer, bytes_sent: bytes) -> None:
    address = remote._new_connection().description.socket
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stranger:
        stranger.settimeout(5)
        stranger.connect(address)
        try:
            stranger.sendall(bytes_sent)
            stranger.shutdown(socket.SHUT_WR)
            answer = stranger.recv(1_000_000)
        except (BrokenPipeError, ConnectionResetError):
            answer = b""
    assert b"200 OK" not in answer[:30]
    assert remote.shape("a.b").version == 3


def test_a_body_that_is_refused_is_not_taken_for_a_request(server: WarehouseServer, remote: RemoteDuckDB) -> None:
    hidden = b"POST /halts HTTP/1.1\r\nX-Catchment-Protocol: 2\r\nContent-Length: 1\r\n\r\n\x90"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stranger:
        stranger.settimeout(5)
        stranger.connect(remote._new_connection().description.socket)
        head = b"POST /halts HTTP/1.1\r\nX-Catchment-Protocol: 2\r\nContent-Length: 999999999\r\n\r\n"
        stranger.sendall(head + hidden)
        answers = b""
        try:
            while piece := stranger.recv(65536):
                answers += piece
        except ConnectionResetError:
            pass  # it hung up with our bytes unread
    assert answers.count(b"HTTP/1.1") == 1
    assert b"HTTP/1.1 400" in answers


# Coming and going ------------------------------------------------------------------------------------------


def test_nothing_runs(runtime: Path) -> None:
    assert find(runtime) is None
    with pytest.raises(WarehouseDown, match="catchment up"):
        RemoteDuckDB(runtime).shape("a.b")


def test_stopping_takes_the_files_along_and_twice_is_fine(tiny: TinyWarehouse, runtime: Path) -> None:
    server = WarehouseServer(tiny, runtime)
    server.stop()
    server.start()
    remote = find(runtime)
    assert remote is not None
    server.stop()
    server.stop()
    assert find(runtime) is None
    assert [path.name for path in runtime.iterdir()] == ["warehouse.duckdb"]
    with pytest.raises(WarehouseDown):
        remote.shape("a.b")
    server.start()
    assert remote.shape("a.b").version == 3
    server.stop()
    remote.close()


def test_stopping_lets_a_running_query_end(tiny: TinyWarehouse, runtime: Path) -> None:
    server = WarehouseServer(tiny, runtime)
    server.start()
    remote = find(runtime)
    assert remote is not None
    chunks = remote.query("SELECT * FROM range(3_000_000)").ipc()
    data = [next(chunks)]
    stopping = threading.Thread(target=server.stop)
    stopping.start()
    assert eventually(lambda: not (runtime / "warehouse.json").exists())
    data.extend(chunks)
    assert sum(map(len, data)) > 24_000_000
    stopping.join()
    remote.close()


def test_stopping_ends_at_last_what_does_not_end(tiny: TinyWarehouse, runtime: Path) -> None:
    server = WarehouseServer(tiny, runtime)
    server.start()
    remote = find(runtime)
    assert remote is not None
    stream = remote.query(FOREVER)
    threading.Timer(0.1, server.stop, [0.1]).start()
    with pytest.raises(WarehouseDown, match="stopping"):
        list(stream.ipc())
    remote.close()


def test_two_processes_of_one_project(server: WarehouseServer, tiny: TinyWarehouse, runtime: Path) -> None:
    second = WarehouseServer(tiny, runtime)
    with pytest.raises(StorageError, match="another warehouse process"):
        second.start()
    second.stop()
    first = find(runtime)
    assert first is not None
    first.close()


def test_a_process_of_another_version(server: WarehouseServer, runtime: Path) -> None:
    path = runtime / "warehouse.json"
    description = msgspec.json.decode(path.read_bytes(), type=wire.Description)
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(description, protocol=9, version="9.9")))
    with pytest.raises(UsageError, match=r"of Catchment 9\.9"):
        find(runtime)


class Process:
    """The tiny warehouse in a process of its own."""

    def __init__(self, runtime: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("tiny.py")), str(runtime)], stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"listening\n"

    def end(self, number: int) -> None:
        if self._process.poll() is None:
            self._process.send_signal(number)
            self._process.communicate()


@pytest.fixture
def process(runtime: Path) -> Iterator[Process]:
    process = Process(runtime)
    yield process
    process.end(signal.SIGKILL)


def test_killed_in_the_middle_of_a_stream_and_started_again(process: Process, runtime: Path) -> None:
    remote = find(runtime)
    assert remote is not None
    assert remote.shape("a.b").version == 3
    chunks = remote.query("SELECT * FROM range(1_000_000_000)").ipc()
    next(chunks)
    process.end(signal.SIGKILL)
    with pytest.raises(WarehouseDown, match="has gone"):
        list(chunks)
    with pytest.raises(WarehouseDown, match="not running"):
        remote.shape("a.b")
    assert (runtime / "warehouse.json").exists()
    assert find(runtime) is None
    again = Process(runtime)
    assert remote.shape("a.b").version == 3
    remote.tidy(datetime.now(UTC))
    again.end(signal.SIGTERM)
    remote.close()


def test_an_idle_connection_to_a_process_that_was_replaced(process: Process, runtime: Path) -> None:
    remote = find(runtime)
    assert remote is not None
    remote.tidy(datetime.now(UTC))
    process.end(signal.SIGKILL)
    again = Process(runtime)
    remote.tidy(datetime.now(UTC))
    again.end(signal.SIGTERM)
    remote.close()
