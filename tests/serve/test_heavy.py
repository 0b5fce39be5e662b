"""Texts that are made to take long, and boards that are odd: a page answers, and the others do not wait."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catchment.serve.web import prose
from catchment.sql.trees import MAX_CHARACTERS, query_tree
from tests.load.loading import event
from tests.serve.pages import World, lines, serving


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    root: Path = tmp_path_factory.mktemp("heavy")
    with serving(root) as made:
        made.rig.file(event("a", n=1))
        yield made


def test_sql_beyond_a_length_is_not_parsed_and_still_runs(world: World) -> None:
    sql = "select " + ",".join(["1"] * MAX_CHARACTERS)
    assert query_tree(sql) is None
    assert query_tree("select 1, 2") is not None
    world.board("long", "```sql number n\nselect 42 as n where " + "true and " * 3_000 + "true\n```\n")
    assert "42" in world.person("viewer").get("/d/long").body.decode()


def test_prose_beyond_a_length_is_shown_as_written() -> None:
    text = "[<b>" * prose.MAX_CHARACTERS
    assert prose.html_of(text).startswith("<pre>[&lt;b&gt;")
    assert prose.html_of("**b**") == "<p><strong>b</strong></p>\n"


FENCES = [
    "number\nselect 1\n",
    "line\nselect timestamp '2026-01-01' as t, 1 as n\n",
    "table x page=1 total\nselect null as a, [1] as b, {'c': 1} as c\n",
    "bar\nselect 'a', null\n",
    "heat\nselect 'a', 'b', 1.5\n",
    "area\nselect date '2026-01-01', 1, 'x' where 1 in $f\n",
    "scatter click=f\nselect 1, 'inf'::double\n",
    "number target=<1 format=.0%\nselect 'nan'::double\n",
    "query q\nselect 1 as n\n",
    "table\nfrom q where n in $r and 'a' in $t\n",
    "pie\nselect\n",
]
FRONT = """\
---
title: x
filters:
  f: {type: one, options: [1, a, null]}
  p: {type: period}
  q: {type: many, from: select 1}
  r: {type: range}
  t: {type: text, required: true}
groups: [a]
owner: <b>
refresh: 1s
annotations: select now() as at, 'x' as name
# <i>head</i>
text {{ 7 * 7 }} {% raw %}
```vega-lite q
""".splitlines(keepends=True)
WORDS = st.sampled_from([*FRONT, *(f"```sql {fence}```\n" for fence in FENCES), "```sql line\n", "\x00\u2028\ufeff"])
QUERIES = st.sampled_from(["", "?f=1", "?p=all&r=1..2", "?t=%25&f=", "?q=~null"])


@settings(deadline=None, max_examples=60)
@given(parts=st.lists(WORDS, max_size=14), query=QUERIES)
def test_no_board_breaks_a_page(world: World, parts: list[str], query: str) -> None:
    text = "".join(parts)
    world.board("odd", text)
    admin = world.person("admin")
    for address in (f"/d/odd{query}", f"/d/odd/tiles{query}", "/dashboards", f"/d/odd/options/f{query}"):
        answer = admin.get(address)
        assert answer.status in {200, 400, 404}, (address, answer.body)
        assert b"The log of serve says why" not in answer.body
    preview = admin.ask("POST", f"/edit/odd/preview{query}", body={"text": text})
    assert preview.status == 200
    assert "page" in lines(preview)[0]
