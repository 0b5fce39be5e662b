"""A PostgreSQL of the tests' and benches' own: initdb into a new folder, reached by a socket there, gone at the
end."""

from __future__ import annotations

import contextlib
import getpass
import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict

from tests.missing import without

_BINARIES = ("/usr/lib/postgresql/*/bin", "/opt/homebrew/opt/postgresql@*/bin", "/usr/local/opt/postgresql@*/bin")
SETTINGS: Mapping[str, str] = {
    "fsync": "off",  # nobody pulls the plug: what it has written outlives it
    "max_connections": "60",
    "autovacuum": "off",
}


def binaries() -> Path | None:
    """The folder with initdb and pg_ctl of the newest version there is."""
    if found := shutil.which("pg_ctl"):
        return Path(found).resolve().parent
    folders = [
        folder for pattern in _BINARIES for folder in Path("/").glob(pattern[1:]) if (folder / "pg_ctl").exists()
    ]
    return max(
        folders, key=lambda folder: [int(n) for n in folder.parent.name.split("@")[-1].split(".")], default=None
    )


class PostgresServer:
    """One running server. PostgreSQL refuses to run as root: then it runs as a user that may do nothing else."""

    def __init__(self, bin_folder: Path, settings: Mapping[str, str] = SETTINGS) -> None:
        self._bin = bin_folder
        self._user = _unprivileged()
        self.folder = Path(tempfile.mkdtemp(prefix="catchment-pg-"))
        if self._user is not None:
            shutil.chown(self.folder, self._user)
        self._numbers = itertools.count(1)
        self._run("initdb", "-D", self._data, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync")
        given = {"listen_addresses": "", "unix_socket_directories": str(self.folder), **settings}
        with (self.folder / "settings").open("w") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in given.items())
        with (Path(self._data) / "postgresql.conf").open("a") as file:
            file.write(f"include '{self.folder / 'settings'}'\n")
        self.start()

    @property
    def _data(self) -> str:
        return str(self.folder / "data")

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self._bin / program), *arguments],
            user=self._user,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if program == "initdb" else subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{program} failed: {(done.stdout or b'').decode()}\n{self.said()[-2000:]}"

    @property
    def pid(self) -> int:
        """Of the server's first process, while it runs."""
        return int((self.folder / "data" / "postmaster.pid").read_text().split()[0])

    def said(self) -> str:
        """The end of the server's log."""
        log = self.folder / "log"
        return log.read_text(errors="replace") if log.exists() else ""

    # ---- up and down ------------------------------------------------------------------

    def start(self) -> None:
        self._run("pg_ctl", "start", "-w", "-D", self._data, "-l", str(self.folder / "log"))

    def stop(self) -> None:
        """As a crash does: without a checkpoint, every connection cut."""
        self._run("pg_ctl", "stop", "-w", "-m", "immediate", "-D", self._data)

    def restart(self) -> None:
        """A crash, and up again."""
        self.stop()
        self.start()

    def close(self) -> None:
        with contextlib.suppress(AssertionError, subprocess.SubprocessError):
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    # ---- databases --------------------------------------------------------------------

    def url(self, database: str = "postgres", user: str = "postgres") -> str:
        return f"postgresql://{user}@/{database}?host={self.folder}"

    def new_database(self) -> str:
        """The address of an empty database."""
        name = f"test_{next(self._numbers)}"
        self.ask(f"CREATE DATABASE {name}")
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Drop what `new_database` made."""
        self.ask(f"DROP DATABASE {conninfo_to_dict(url)['dbname']} WITH (FORCE)")

    def emptied_database(self) -> str:
        """The address of the one that tests empty for each other: a fifth of the time that a new one takes."""
        if not self.ask("SELECT 1 FROM pg_database WHERE datname = 'emptied'"):
            self.ask("CREATE DATABASE emptied")
        schemas = self.ask(
            "SELECT string_agg(quote_ident(nspname), ', ') FROM pg_namespace "
            "WHERE nspname NOT LIKE 'pg\\_%' AND nspname NOT IN ('information_schema', 'public')",
            "emptied",
        )
        if schemas[0][0]:
            self.ask(f"DROP SCHEMA {schemas[0][0]} CASCADE", "emptied")
        return self.url("emptied")

    def ask(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """One statement as superuser."""
        with contextlib.closing(psycopg.connect(self.url(database), autocommit=True)) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def cut_connections(self, application: str = "catchment") -> int:
        """End every connection of that name, as a fail-over does; how many that were."""
        return len(
            self.ask(
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{application}'"
            )
        )


def _unprivileged() -> str | None:
    """Whom to run as where we are root."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody", getpass.getuser()) if name in known)


@contextlib.contextmanager
def running() -> Iterator[PostgresServer]:
    """A server for as long as it lasts; skips the test where there is none to run, and fails it in CI."""
    found = binaries()
    if found is None:
        without("PostgreSQL's server is not installed (tests/system_packages.sh brings it)")
    server = PostgresServer(found)
    try:
        yield server
    finally:
        server.close()
