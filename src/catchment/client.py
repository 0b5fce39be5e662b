"""Ask the pages' warehouse from Python: `catchment.connect(url, token)`, by PEP 249, and as Arrow, pandas or polars.

Parameters are `?`; they are bound, and never enter the text.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Self
from urllib.parse import urlsplit

from catchment.sql.lexer import tokens

apilevel = "2.0"
threadsafety = 1
"""Threads may share the module, and no connection."""
paramstyle = "qmark"

TIMEOUT_S = 300.0


class Error(Exception):
    """Whatever goes wrong."""


class InterfaceError(Error):
    """This module was used as it can't be."""


class DatabaseError(Error):
    """The warehouse, or what stands before it, said no."""


class OperationalError(DatabaseError):
    """It may work later: the server or the warehouse is away, or too busy."""


class ProgrammingError(DatabaseError):
    """The SQL is wrong, or not allowed."""


def connect(url: str, token: str, *, timeout_s: float = TIMEOUT_S) -> Connection:
    """A connection to the pages at `url`, such as `https://data.acme.example`, in the name of a token's owner.

    Nothing is asked yet. Raises `InterfaceError` for what is no address.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise InterfaceError(f"{url!r} is no address, such as https://data.acme.example")
    return Connection(parts.scheme, parts.netloc, parts.path.rstrip("/"), token, timeout_s)


class Connection:
    """What queries are asked through. Each is a request of its own: there are no transactions, and nothing is
    written."""

    def __init__(self, scheme: str, host: str, base: str, token: str, timeout_s: float) -> None:
        self._scheme = scheme
        self._host = host
        self._base = base
        self._token = token
        self._timeout_s = timeout_s
        self._is_closed = False

    def cursor(self) -> Cursor:
        """What one query is asked and read by."""
        if self._is_closed:
            raise InterfaceError("the connection is closed")
        return Cursor(self)

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> Cursor:
        """A cursor that has asked."""
        return self.cursor().execute(sql, parameters)

    def commit(self) -> None:
        """Nothing is written, so there is nothing to do."""

    def rollback(self) -> None:
        """Nothing is written, so there is nothing to do."""

    def close(self) -> None:
        """Twice does nothing."""
        self._is_closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def ask(self, sql: str, parameters: Sequence[Any]) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        """The answer as a stream of Arrow's IPC format, and what it comes over: both are the caller's to close."""
        body = json.dumps(
            {
                "sql": numbered(sql),
                "params": [_plain(value) for value in parameters],
                "format": "arrow",
                "timeout_s": min(self._timeout_s, TIMEOUT_S),
            }
        )
        kind = http.client.HTTPSConnection if self._scheme == "https" else http.client.HTTPConnection
        connection = kind(self._host, timeout=self._timeout_s)
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json", "Connection": "close"}
        try:
            connection.request("POST", f"{self._base}/api/query", body.encode(), headers)
            answer = connection.getresponse()
            refused = None if answer.status == 200 else answer.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise OperationalError(f"{self._scheme}://{self._host} cannot be reached: {error}") from error
        if refused is not None:
            connection.close()
            raise _refused(answer.status, refused)
        return connection, answer


def _refused(status: int, body: bytes) -> Error:
    try:
        said = json.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        said = f"the server answered {status}"
    if status in {429, 502, 503, 504}:
        return OperationalError(said)
    return ProgrammingError(said) if status == 400 else DatabaseError(said)


def numbered(sql: str) -> str:
    """The SQL with `$1`, `$2` in place of `?`, but for those in texts, names and comments."""
    parts, count = [], 0
    for token in tokens(sql):
        if token.kind == "sign" and token.text == "?":
            count += 1
            parts.append(f"${count}")
        else:
            parts.append(token.text)
    return "".join(parts)


def _plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    return value


class Cursor:
    """One query and its rows."""

    arraysize = 1_000

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._over: tuple[http.client.HTTPConnection, http.client.HTTPResponse] | None = None
        self._stream: Any = None
        self._rows: Iterator[tuple[Any, ...]] | None = None
        self.description: list[tuple[Any, ...]] | None = None
        self.rowcount = -1

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> Self:
        """Ask. Raises `ProgrammingError` for wrong SQL, `OperationalError` where it may work later. Reading the rows
        raises it too, where the answer breaks off: such as by a value far down that cannot be cast."""
        import nanoarrow
        from nanoarrow.ipc import InputStream

        from catchment.serve.results import columns_of

        if isinstance(parameters, str | Mapping):
            raise InterfaceError("parameters are a list or tuple, for each ? one")
        self.close()
        self._over = self._connection.ask(sql, parameters)
        with self._unbroken():
            self._stream = nanoarrow.ArrayStream(InputStream.from_readable(self._over[1]))
            self.description = [(each.name, each.type, *[None] * 5) for each in columns_of(self._stream)]
        return self

    @contextmanager
    def _unbroken(self) -> Iterator[None]:
        """What reading raises, as an error of ours; the rest is given up."""
        from nanoarrow._utils import NanoarrowException

        try:
            yield
        except (NanoarrowException, OSError, http.client.HTTPException) as error:
            self.close()
            raise OperationalError(
                f"the answer broke off: {' '.join(str(error).split())}. The SQL failed after its first rows, or the"
                " connection was lost; ask again, or look at the query in the SQL editor"
            ) from error

    def executemany(self, sql: str, many: Sequence[Sequence[Any]]) -> Self:
        """Each in turn; the rows are those of the last."""
        for parameters in many:
            self.execute(sql, parameters)
        return self

    def arrow(self) -> Any:
        """The result as a `nanoarrow.ArrayStream`, which whatever takes Arrow's PyCapsules reads, once."""
        if self._stream is None:
            raise InterfaceError("nothing was asked, or it was read already")
        stream, self._stream = self._stream, None
        return stream

    def pl(self) -> Any:
        """The result as a polars DataFrame."""
        import polars

        stream = self.arrow()
        with self._unbroken():
            return polars.DataFrame(stream.read_all())

    def df(self) -> Any:
        """The result as a pandas DataFrame."""
        import pandas

        names = [column[0] for column in self.description or []]
        return pandas.DataFrame(self.fetchall(), columns=names)

    def _read(self) -> Iterator[tuple[Any, ...]]:
        if self._rows is None:
            from catchment.serve.results import rows_of

            self._rows = self._to_the_end(rows_of(self.arrow()))
        return self._rows

    def _to_the_end(self, rows: Iterator[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
        with self._unbroken():
            yield from rows
        self._let_go()

    def _let_go(self) -> None:
        if self._over is not None:
            connection, answer = self._over
            answer.close()
            connection.close()
        self._over = None

    def fetchone(self) -> tuple[Any, ...] | None:
        """The next row; None at the end."""
        return next(self._read(), None)

    def fetchmany(self, size: int | None = None) -> list[tuple[Any, ...]]:
        """The next rows."""
        rows = self._read()
        return [row for _, row in zip(range(size or self.arraysize), rows, strict=False)]

    def fetchall(self) -> list[tuple[Any, ...]]:
        """All that are left."""
        found = list(self._read())
        self.rowcount = len(found)
        return found

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return self._read()

    def close(self) -> None:
        """Give up the rest. Twice does nothing."""
        self._let_go()
        self._stream = self._rows = self.description = None
        self.rowcount = -1

    def setinputsizes(self, sizes: object) -> None:
        """Does nothing, as PEP 249 allows."""

    def setoutputsize(self, size: object, column: object = None) -> None:
        """Does nothing, as PEP 249 allows."""
