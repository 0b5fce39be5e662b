"""`catchment.connect` against the real pages over HTTP."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from decimal import Decimal

import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st

import catchment
from catchment import client
from catchment.client import InterfaceError, OperationalError, ProgrammingError, numbered
from tests.serve.pages import World


@pytest.fixture(scope="module")
def address(world: World) -> Iterator[str]:
    """The pages on a port. Their own event loop goes on: the server has one beside it for connections alone."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        server = uvicorn.Server(uvicorn.Config(world.app, log_level="error", lifespan="off", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def connection(world: World, address: str) -> Iterator[client.Connection]:
    with closing(catchment.connect(address, world.program("analyst").token)) as made:
        yield made


def test_rows_with_their_types_and_all_their_digits(connection: client.Connection) -> None:
    cursor = connection.execute(
        "SELECT 9007199254740993 AS big, -1.25::DECIMAL(38, 9) AS exact, TIMESTAMP '2026-11-30 08:00:00' AS moment,"
        " ? AS given, 'a ? b' AS text -- why?",
        ["x"],
    )
    assert [column[0] for column in cursor.description or []] == ["big", "exact", "moment", "given", "text"]
    assert cursor.fetchall() == [(9007199254740993, Decimal("-1.250000000"), datetime(2026, 11, 30, 8), "x", "a ? b")]
    assert cursor.fetchone() is None


def test_rows_come_one_by_one_some_or_all(connection: client.Connection) -> None:
    cursor = connection.execute("SELECT * FROM range(5000)")
    assert cursor.fetchone() == (0,)
    assert cursor.fetchmany(2) == [(1,), (2,)]
    assert len(cursor.fetchmany()) == cursor.arraysize
    assert len(cursor.fetchall()) == 5000 - 3 - cursor.arraysize
    assert sum(number for (number,) in connection.execute("SELECT * FROM range(10)")) == 45


def test_as_arrow_once(connection: client.Connection) -> None:
    cursor = connection.execute("SELECT 1 AS one")
    assert cursor.arrow().read_all().to_pylist() == [{"one": 1}]
    with pytest.raises(InterfaceError, match="read already"):
        cursor.arrow()
    cursor.close()


def test_what_is_wrong_is_told_apart(connection: client.Connection, world: World, address: str) -> None:
    with pytest.raises(ProgrammingError, match="selec"):
        connection.execute("selec 1")
    with pytest.raises(ProgrammingError, match="read_csv"):
        connection.execute("SELECT * FROM read_csv('/etc/passwd')")
    with pytest.raises(InterfaceError, match="list or tuple"):
        connection.execute("SELECT ?", "x")
    with pytest.raises(client.DatabaseError, match="token"), closing(client.connect(address, "catchment_no")) as other:
        other.execute("SELECT 1")
    with pytest.raises(OperationalError, match="cannot be reached"):
        client.connect("http://127.0.0.1:9", "x").execute("SELECT 1")
    with pytest.raises(InterfaceError, match="no address"):
        client.connect("data.acme.example", "x")


def test_an_answer_that_breaks_off_is_an_error_of_ours(connection: client.Connection) -> None:
    late = "SELECT if(i > 900_000, 'a', '1')::INT AS n FROM range(1_000_000) t(i)"
    with pytest.raises(OperationalError, match="the answer broke off"):
        connection.execute(late).fetchall()
    cursor = connection.execute(late)
    assert cursor.fetchone() == (1,)
    with pytest.raises(OperationalError, match="the answer broke off"):
        for _ in cursor:
            pass
    assert connection.execute("SELECT 1").fetchall() == [(1,)]


@pytest.mark.parametrize("sent", [b"", b"\xff\xff\xff\xff\x10"], ids=["before the columns", "within them"])
def test_a_lost_connection_is_an_error_of_ours(sent: bytes) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:

        def answer() -> None:
            connected, _ = listening.accept()
            with connected:
                connected.recv(65_536)
                connected.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n" + sent)

        thread = threading.Thread(target=answer)
        thread.start()
        made = client.connect(f"http://127.0.0.1:{listening.getsockname()[1]}", "x")
        with pytest.raises(OperationalError, match="the answer broke off"):
            made.execute("SELECT 1").fetchall()
        thread.join()


def test_a_closed_connection_asks_nothing(address: str) -> None:
    with client.connect(address, "x") as made:
        pass
    with pytest.raises(InterfaceError, match="closed"):
        made.cursor()


def test_question_marks_become_numbers_but_for_those_in_texts() -> None:
    assert numbered("select ?, '?', \"?\", ? -- ?\n/* ? */") == "select $1, '?', \"?\", $2 -- ?\n/* ? */"


@given(st.lists(st.sampled_from(["?", "'a ? b'", '"?"', "-- ?\n", "/* ? */", "x", " ", "1"]), max_size=12))
def test_nothing_else_changes(parts: list[str]) -> None:
    asked = iter(range(1, 13))
    expected = " ".join(f"${next(asked)}" if part == "?" else part for part in parts)
    assert numbered(" ".join(parts)) == expected
