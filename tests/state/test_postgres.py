"""The state on PostgreSQL: the same behaviour as the file's."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

pytest.importorskip("psycopg")

from catchment.errors import Retry, StorageError, UsageError
from catchment.serve.accounts import administration
from catchment.serve.accounts.administration import COMMAND
from catchment.state import postgres, schema
from catchment.state.attempts import Attempts
from catchment.state.audit import Audit, Entry
from catchment.state.postgres import PostgresState
from catchment.state.users import Users
from tests.accounts.asking import World
from tests.accounts.conftest import EMAIL, PASSWORD, signed_in
from tests.servers.postgres import PostgresServer

NOW = datetime(2026, 11, 30, 9, 0, 0, 123_456, tzinfo=UTC)


@pytest.fixture
def make(postgres_server: PostgresServer) -> Callable[[], PostgresState]:
    url = postgres_server.new_database()
    return lambda: PostgresState(PostgresState.Config(url=url), Path())


@pytest.fixture
def state(make: Callable[[], PostgresState]) -> Iterator[PostgresState]:
    with closing(make()) as state:
        yield state


def test_what_a_block_raises_undoes_it(state: PostgresState) -> None:
    with suppress(ZeroDivisionError), state.writing() as transaction:
        Users(transaction).add("a@b.c", "A", "viewer", [], NOW)
        raise ZeroDivisionError
    with state.reading() as transaction:
        assert Users(transaction).all() == []


def test_who_reads_waits_for_no_writer_and_sees_one_moment(state: PostgresState) -> None:
    with state.reading() as before:
        assert Users(before).all() == []
        with state.writing() as writing:
            Users(writing).add("a@b.c", "A", "viewer", ["x"], NOW)
            with state.reading() as reading:
                assert Users(reading).all() == []
        assert Users(before).all() == []
    with state.reading() as reading:
        [user] = Users(reading).all()
        assert (user.created_at, user.groups) == (NOW, ("x",))


def test_several_make_it_together_and_count_together(make: Callable[[], PostgresState]) -> None:
    allowed: list[str] = []
    failed: list[BaseException] = []

    def attempt() -> None:
        try:
            with closing(make()) as state:
                for _ in range(20):
                    with state.writing() as transaction:
                        begun = Attempts(transaction, timedelta(minutes=1)).begin({"x": 40}, NOW)
                    if isinstance(begun, str):
                        allowed.append(begun)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=attempt) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(set(allowed)) == len(allowed) == 40


def test_an_older_one_is_brought_up_and_a_newer_one_refused(
    make: Callable[[], PostgresState], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(postgres, "VERSIONS", schema.VERSIONS[:1])
        make().close()
    with closing(make()) as state, state.reading() as transaction:
        assert transaction.rows("SELECT count(*) FROM drafts") == [(0,)]
    with monkeypatch.context() as patched:
        patched.setattr(postgres, "VERSIONS", schema.VERSIONS[:1])
        with pytest.raises(StorageError, match="newer Catchment"):
            make()


def test_after_a_crash_of_the_server_it_goes_on(postgres_server: PostgresServer, state: PostgresState) -> None:
    with state.writing() as transaction:
        Users(transaction).add("a@b.c", "A", "viewer", [], NOW)
    postgres_server.stop()
    with pytest.raises(Retry, match="cannot be reached"), state.reading():
        pass
    postgres_server.start()
    with state.reading() as transaction:
        assert len(Users(transaction).all()) == 1


def test_a_wrong_address_is_said() -> None:
    with pytest.raises(UsageError, match="url"):
        PostgresState(PostgresState.Config(url="postgresql://x?nonsense=1"), Path())
    [finding] = PostgresState.diagnose(PostgresState.Config(url="postgresql:///x?host=/nowhere"), Path())
    assert not finding.is_well
    assert "cannot be reached" in finding.detail


def test_accounts_on_it(state: PostgresState) -> None:
    """Each repository once, by what stands on them."""
    world = World(state)
    with closing(world.accounts):
        ana = signed_in(world)
        assert ana.get("/api/me").json["email"] == EMAIL
        browser = world.browser()
        assert browser.ask("POST", "/sign-in", body={"email": EMAIL, "password": "wrong\0"}).status == 401
        assert browser.ask("POST", "/sign-in", body={"email": EMAIL, "password": PASSWORD}).status == 200
        token = ana.ask("POST", "/api/account/tokens", body={"name": "x"}).json
        headers = {"authorization": f"Bearer {token['secret']}"}
        assert world.browser().ask("GET", "/api/me", headers=headers).json["token"] == token["id"]
        assert ana.ask("DELETE", f"/api/account/tokens/{token['id']}").status == 200
        assert len(ana.get("/api/account").json["sessions"]) == 2
        assert ana.ask("DELETE", "/api/account/sessions").json == {"ended": 1}
        with state.writing() as transaction:
            Audit(transaction).add(Entry(NOW, "query", "done", None, "", "", "", "", "select '\0'", ("a.b",), 1, 2))
            assert Audit(transaction).latest(1, since=NOW, actions=["query"])[0].sql == "select '\ufffd'"
            # Those beyond the third, and what else was at that moment: all but the last.
            assert Audit(transaction).forget_beyond(3) > 3
            assert len(Audit(transaction).latest(10)) == 1
        signed_in(world, "bob@acme.example", "admin")
        administration.revoke(state, EMAIL, world.clock(), COMMAND)
        assert ana.get("/api/me").status == 401
