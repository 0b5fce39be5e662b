"""What may stand at the cursor (`|`) of half-written SQL."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catchment.sql.complete import Completion, complete, quoted
from catchment.sql.scope import Column, outputs

CHATS = ["id", "created_at", "queue", "channel", "agent", "wait_s", "csat", "nps", "solved"]
ISSUES = ["id", "org", "repo", "title", "author", "created_at", "closed_at", "state", "labels"]
USERS = ["id", "email", "name", "plan", "created_at", "Full Name", "order"]
TYPES = {"created_at": "timestamptz", "wait_s": "bigint"}
CATALOGUE = {
    table: [Column(name, TYPES.get(name, "varchar")) for name in names]
    for table, names in {"shop.chats": CHATS, "shop.issues": ISSUES, "app.users": USERS}.items()
}


def at_cursor(marked: str, **more: object) -> Completion:
    offset = marked.rindex("|") if marked.count("|") == 1 else marked.index("|")
    return complete(marked[:offset] + marked[offset + 1 :], offset, CATALOGUE, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("marked", "wanted"),
    [
        ("select | from chats", "id"),
        ("select qu| from chats", "queue"),
        ("select c.wa| from chats c", "wait_s"),
        ("select count(*) from ch|", "shop.chats"),
        ("select * from chats join is|", "shop.issues"),
        ("select * from chats c join issues i on c.id = i.|", "id"),
        ("select queue, count(*) from shop.chats where cre|", "created_at"),
        ("select queue, count(*) from chats group by q|", "queue"),
        ("with d as (select queue as q2, count(*) as n from chats group by 1) select q| from d", "q2"),
        ("with d as (select queue as q2, count(*) as n from chats group by 1) select * from |", "d"),
        ("with d as (select queue as q2 from chats) select d.| from d", "q2"),
        ("with d as (select qu| from chats) select 1", "queue"),
        ("select * from (select agent as who from chats) x where x.w|", "who"),
        ("select * from chats where queue in (select la| from issues)", "labels"),
        ("select sum(w| from chats", "wait_s"),
        ("select case when cs| > 3 then 1 end from chats", "csat"),
        ("select queue, |\nfrom chats\nwhere created_at >= $from", "id"),
        ("select u.em| from users u left join chats c on c.id = u.id", "email"),
        ("select date_tr|", "date_trunc"),
        ("sel|", "select"),
        ("select 1; select cs| from chats", "csat"),
        ("select * exclude (i|) from chats", "id"),
        ("select row_number() over (partition by ag| order by created_at) from chats", "agent"),
        ("select * from chats where solved and |", "id"),
        ("with a as (select * from chats), b as (select * from a where |) select 1", "id"),
        ("select a.x|, b.ti| from issues b", None),
        ("select nps from chats qualify row_number() over (order by w|) = 1", "wait_s"),
        ("select * from chats c, users u where u.pl|", "plan"),
        ("with a as (select csat as s from chats), b as (select s*2 as t from a) select b.|", "t"),
        ("with a as (select csat as s from chats), b as (select s*2 as t from a) select b.| from b", "t"),
        # more
        ("select 'fr| from chats", None),
        ("select 1 -- fr|", None),
        ("select /* | */ 1", None),
        ("select $$ | $$", None),
        ("select 1|", None),
        ("select * from shop.|", "chats"),
        ("select * from shop.i|", "issues"),
        ("select shop.chats.q| from shop.chats", "queue"),
        ("select chats.q| from shop.chats", "queue"),
        ("from chats select ag|", "agent"),
        ("select * from chats wh|", "where"),
        ("select * |", "from"),
        ("select queue |", "from"),
        ("select wait_s * | from chats", "id"),
        ("select date_trunc('day', created_at) as day, count(*) as n from chats group by da|", "day"),
        ("select queue as q, count(*) n from chats order by n|", "n"),
        ("select * from chats c where exists (select 1 from issues i where i.id = c.wa|", "wait_s"),
        ("select * from chats c join (select agent a2 from chats where c.|) x on true", None),
        ("select * from chats c join lateral (select agent a2 from issues where c.wa|) x on true", "wait_s"),
        ("select id from chats union select em| from users", "email"),
        ("with recursive t(a, b) as (select id, queue from chats union all select t.| from t) from t", "a"),
        ("select g.| from generate_series(1, 3) as g(number)", "number"),
        ("select x.| from (select * exclude (id, queue) from chats) x", "created_at"),
        ("select x.| from (values (1, 2)) x(one, two)", "one"),
        ('select u."Fu| from users u', None),
        ("select u.Fu| from users u", "Full Name"),
        ("select n.| from (select n: count(*), wait_s::double as d from chats) n", "n"),
        ("describe ch|", "shop.chats"),
        ("select * from chats, |", "app.users"),
        ("select * from (chats c join issues i using (id)) where i.ti|", "title"),
        ("select * from chats where created_at in $per|", None),
        ("select * from chats where queue in $|", None),
        ("select 1 from chats where id = 1 or|", "or"),
        (";|", "select"),
        ("|", "select"),
    ],
)
def test_what_is_wanted_is_among_the_first_five(marked: str, wanted: str | None) -> None:
    if marked.count("|") == 2:
        marked = marked.replace("x|", "x", 1)
        wanted = "title"
    found = [each.label for each in at_cursor(marked).suggestions]
    assert (wanted in found[:5]) if wanted else found == [], found[:8]


def test_a_suggestion_has_its_place_its_text_and_its_type() -> None:
    found = at_cursor("select c.wa|it from chats c")
    assert (found.start, found.end) == (9, 13)
    assert [(each.text, each.kind, each.detail) for each in found.suggestions] == [("wait_s", "column", "bigint · c")]
    texts = {each.label: each.text for each in at_cursor("select users.| from users").suggestions}
    assert texts["Full Name"] == '"Full Name"'
    assert texts["order"] == '"order"'
    assert quoted('a"b') == '"a""b"'


def test_types_come_through_subqueries() -> None:
    found = at_cursor("with d as (select created_at as at, count(*) n, nps::int i from chats) select d.| from d")
    assert [(each.label, each.detail) for each in found.suggestions] == [
        ("at", "timestamptz · d"), ("n", "bigint · d"), ("i", "int · d"),
    ]  # fmt: skip


def test_functions_are_those_of_the_warehouse() -> None:
    assert "median" in {each.label for each in at_cursor("select med| from chats").suggestions}
    assert at_cursor("select quantile_c| from chats", dialect="postgres").suggestions == ()
    assert "read_csv" not in {each.label for each in at_cursor("select read| from chats").suggestions}


def test_the_columns_of_a_result() -> None:
    sql = 'select queue, max(wait_s), count(*) as n, wait_s / 60 as "In minutes", u.* exclude (id) from chats, users u'
    found = [each and each.name for each in outputs(sql, CATALOGUE)]
    assert found[:4] == ["queue", "max", "n", "In minutes"]
    assert found[4:] == ["email", "name", "plan", "created_at", "Full Name", "order"]
    assert [each and each.name for each in outputs("with a as (select 1 + 1, 2 b) from a", {})] == ["b"]
    assert outputs("select 1 + 1 union select 2", {}) == [None]


WORDS = (
    "select from chats c . , ( ) with as union join on ' \" $ -- /* * ; where end case id [ ] { :: in values 1 table"
)


@settings(deadline=None)
@given(st.lists(st.sampled_from(WORDS.split())), st.integers(0, 200))
def test_whatever_is_written_it_answers(words: list[str], offset: int) -> None:
    sql = " ".join(words)
    found = complete(sql, min(offset, len(sql)), CATALOGUE)
    assert 0 <= found.start <= found.end <= len(sql)
    outputs(sql, CATALOGUE)
