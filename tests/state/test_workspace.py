"""Drafts, favourites, saved and shared queries, history and tabs: what is one user's is nobody else's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catchment.state import State, Transaction
from catchment.state.drafts import Drafts
from catchment.state.editor_tabs import EditorTabs, Tab
from catchment.state.favourites import Favourites
from catchment.state.query_history import KEPT, QueryHistory
from catchment.state.saved_queries import SavedQueries
from catchment.state.shared_queries import SharedQueries
from catchment.state.sqlite import SqliteState
from catchment.state.users import Users

NOW = datetime(2026, 11, 30, 9, tzinfo=UTC)
LATER = NOW + timedelta(minutes=1)


@contextmanager
def with_users(state: State) -> Iterator[tuple[State, str, str]]:
    with closing(state):
        with state.writing() as transaction:
            ana = Users(transaction).add("ana@acme.example", "Ana", "analyst", [], NOW)
            bob = Users(transaction).add("bob@acme.example", "Bob", "analyst", [], NOW)
        yield state, ana.id, bob.id


@pytest.fixture(params=["sqlite", "postgres"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Transaction, str, str]]:
    """A transaction on each kind of state, and two users."""
    state: State
    if request.param == "sqlite":
        state = SqliteState(SqliteState.Config(), tmp_path)
    else:
        from catchment.state.postgres import PostgresState

        url = request.getfixturevalue("postgres_server").new_database()
        state = PostgresState(PostgresState.Config(url=url), tmp_path)
    with with_users(state) as (_, ana, bob), state.writing() as transaction:
        yield transaction, ana, bob


Opened = tuple[Transaction, str, str]


def test_a_draft_is_kept_until_it_is_saved(opened: Opened) -> None:
    transaction, ana, bob = opened
    drafts = Drafts(transaction)
    drafts.keep(ana, "dashboards/a.md", "one", "hash", NOW)
    drafts.keep(ana, "dashboards/a.md", "two", "hash", LATER)
    drafts.keep(ana, "dashboards/b.md", "new", "", NOW)
    drafts.keep(bob, "dashboards/a.md", "Bob's", "hash", NOW)
    kept = drafts.get(ana, "dashboards/a.md")
    assert kept is not None
    assert (kept.text, kept.base, kept.changed_at) == ("two", "hash", LATER)
    assert [draft.path for draft in drafts.of_user(ana)] == ["dashboards/a.md", "dashboards/b.md"]
    assert (drafts.drop(ana, "dashboards/a.md"), drafts.drop(ana, "dashboards/a.md")) == (True, False)
    assert drafts.get(ana, "dashboards/a.md") is None
    assert [draft.text for draft in drafts.of_user(bob)] == ["Bob's"]


def test_favourites(opened: Opened) -> None:
    transaction, ana, bob = opened
    favourites = Favourites(transaction)
    for dashboard in ("company", "chat-queue", "company"):
        favourites.mark(ana, dashboard)
    favourites.unmark(ana, "chat-queue")
    favourites.unmark(bob, "company")
    assert favourites.of_user(ana) == {"company"}
    assert favourites.of_user(bob) == set()


def test_a_saved_query_is_seen_if_shared_and_changed_by_its_owner_alone(opened: Opened) -> None:
    transaction, ana, bob = opened
    anas, bobs = SavedQueries(transaction, ana), SavedQueries(transaction, bob)
    mine = anas.add("mine", "select 1", NOW)
    ours = anas.add("ours", "select 2", LATER, is_shared=True)
    assert [(query.title, query.owner) for query in anas.all()] == [("ours", "Ana"), ("mine", "Ana")]
    assert [query.id for query in bobs.all()] == [ours]
    assert bobs.get(mine) is None
    assert not bobs.change(ours, "Bob's", "drop", NOW, is_shared=False)
    assert not bobs.drop(ours)
    assert anas.change(ours, "ours", "select 3", LATER, is_shared=False)
    assert bobs.get(ours) is None
    changed = anas.get(ours)
    assert changed is not None
    assert (changed.sql, changed.is_shared, changed.created_at) == ("select 3", False, LATER)
    assert (anas.drop(mine), anas.drop(mine)) == (True, False)


def test_the_history_is_bounded_and_found_by_what_is_in_it(opened: Opened) -> None:
    transaction, ana, bob = opened
    history = QueryHistory(transaction, ana)
    QueryHistory(transaction, bob).add(NOW, "select 'bob'", "done", 1)
    for number in range(KEPT + 20):
        history.add(NOW, f"SELECT {number}", "done", 3, rows=number)
    history.add(NOW, "select 100%_!", "failed", 1, error="line 1: no")
    history.add(LATER, "select 100%_!", "done", 2)
    runs = history.latest(10_000)
    assert len(runs) == KEPT
    assert (runs[0].at, runs[0].outcome, runs[1].sql) == (LATER, "done", f"SELECT {KEPT + 19}")
    assert [run.sql for run in history.latest(5, "0%_!")] == ["select 100%_!"]
    assert [run.rows for run in history.latest(5, "select 30")] == [309, 308, 307, 306, 305]
    assert history.latest(5, "bob") == []
    history.clear()
    assert history.latest(5) == []
    assert len(QueryHistory(transaction, bob).latest(5)) == 1
    history.add(NOW, "again", "done", 1)
    assert [run.sql for run in history.latest(5)] == ["again"]


def test_tabs_are_there_again(opened: Opened) -> None:
    transaction, ana, bob = opened
    tabs = EditorTabs(transaction, ana)
    tabs.keep(Tab("b", "second", "select 2"), 1, NOW)
    tabs.keep(Tab("a", "first", "select"), 0, NOW)
    tabs.keep(Tab("a", "first", "select 1"), 0, LATER)
    EditorTabs(transaction, bob).keep(Tab("a", "Bob's", ""), 0, NOW)
    assert tabs.all() == [Tab("a", "first", "select 1"), Tab("b", "second", "select 2")]
    assert (tabs.drop("a"), tabs.drop("a")) == (True, False)
    assert [tab.id for tab in tabs.all()] == ["b"]
    assert len(EditorTabs(transaction, bob).all()) == 1


def test_a_shared_query_stays_as_it_was(opened: Opened) -> None:
    transaction, ana, bob = opened
    shared = SharedQueries(transaction)
    link = shared.add(ana, "numbers", "select 1", NOW)
    assert shared.add(ana, "numbers", "select 1", LATER) == link
    assert shared.add(bob, "numbers", "select 1", LATER) != link
    found = shared.get(link)
    assert found is not None
    assert (found.owner, found.title, found.sql, found.created_at) == ("Ana", "numbers", "select 1", NOW)
    assert shared.get("guess") is None
    assert not shared.drop(bob, link)
    assert shared.drop(ana, link)
    assert shared.get(link) is None


_TEXT = st.text(max_size=30)


@pytest.fixture(scope="module")
def shared_state() -> Iterator[tuple[State, str, str]]:
    with TemporaryDirectory() as folder, with_users(SqliteState(SqliteState.Config(), Path(folder))) as found:
        yield found


@settings(deadline=None, max_examples=50)
@given(texts=st.lists(st.tuples(_TEXT, _TEXT), max_size=5), wanted=_TEXT)
def test_any_text_comes_back_as_it_was(
    shared_state: tuple[State, str, str], texts: list[tuple[str, str]], wanted: str
) -> None:
    state, ana, _ = shared_state
    with state.writing() as transaction:
        for path, text in texts:
            Drafts(transaction).keep(ana, path, text, text, NOW)
        kept = {draft.path: draft.text for draft in Drafts(transaction).of_user(ana)}
        assert {path: kept[path] for path, _ in texts} == dict(texts)
        history = QueryHistory(transaction, ana)
        history.clear()
        for _, text in texts:
            history.add(NOW, text, "done", 1)
        found = [run.sql for run in history.latest(100, wanted)]
        ascii_lower = str.maketrans({chr(code): chr(code + 32) for code in range(65, 91)})
        runs = [text for at, (_, text) in enumerate(texts) if at + 1 == len(texts) or texts[at + 1][1] != text]
        if wanted.isascii() and "\0" not in wanted + "".join(runs):
            expected = [text for text in reversed(runs) if wanted.lower() in text.translate(ascii_lower)]
            assert found == expected
