"""Every page by every role; who may see which dashboard; addresses; tiles as they come."""

from __future__ import annotations

import html
import json
import re
import time
from urllib.parse import quote

import pytest

from catchment.serve.accounts import Role
from tests.serve.conftest import NASTY
from tests.serve.pages import World, lines, payloads

ROLES: tuple[Role | None, ...] = (None, "viewer", "analyst", "admin")
SAVED = {"text": "x", "base": "0" * 20, "what": ""}
ROUTES: list[tuple[str, str, object, tuple[int, int, int, int]]] = [
    # method, address, what is sent, what anonymous, viewer, analyst and admin get
    ("GET", "/healthz", None, (200, 200, 200, 200)),
    ("GET", "/static/nothing.js", None, (404, 404, 404, 404)),
    ("GET", "/", None, (303, 200, 200, 200)),
    ("GET", "/dashboards", None, (303, 200, 200, 200)),
    ("GET", "/d/orders", None, (303, 200, 200, 200)),
    ("GET", "/d/broken", None, (303, 200, 200, 200)),
    ("GET", "/d/nothing", None, (303, 404, 404, 404)),
    ("GET", "/d/money/salaries", None, (303, 403, 403, 200)),
    ("GET", "/d/money/salaries/tiles", None, (303, 403, 403, 200)),
    ("GET", "/d/money/salaries/options/kind", None, (303, 403, 403, 200)),
    ("GET", "/d/money/salaries/tiles/total/details", None, (303, 403, 403, 200)),
    ("GET", "/d/money/salaries/tiles/total/csv", None, (303, 403, 403, 200)),
    ("GET", "/d/money//salaries", None, (303, 404, 404, 404)),
    ("GET", "/d/./money/salaries", None, (303, 404, 404, 404)),
    ("GET", "/d/x/../money/salaries", None, (303, 404, 404, 404)),
    ("GET", "/d/orders/tiles", None, (303, 200, 200, 200)),
    ("GET", "/d/orders/tiles/rows/rows", None, (303, 200, 200, 200)),
    ("GET", "/d/orders/tiles/rows/rows?_page=x", None, (303, 200, 200, 200)),
    ("GET", "/d/orders/tiles/rows/details", None, (303, 200, 200, 200)),
    ("GET", "/d/orders/tiles/rows/csv", None, (303, 200, 200, 200)),
    ("GET", "/d/orders/tiles/rows/parquet", None, (303, 200, 200, 200)),
    ("GET", "/d/orders/tiles/rows/exe", None, (303, 404, 404, 404)),
    ("GET", "/d/orders/tiles/nothing/csv", None, (303, 404, 404, 404)),
    ("GET", "/d/broken/tiles/wrong/csv", None, (303, 400, 400, 400)),
    ("GET", "/d/broken/tiles/wrong/rows", None, (303, 400, 400, 400)),
    ("GET", "/d/broken/tiles/two/csv", None, (303, 400, 400, 400)),
    ("GET", "/d/broken/tiles/two/rows", None, (303, 400, 400, 400)),
    ("GET", "/d/broken/tiles/two/details", None, (303, 200, 200, 200)),
    ("GET", "/d/orders/options/kind", None, (303, 200, 200, 200)),
    ("GET", "/d/orders/options/nothing", None, (303, 404, 404, 404)),
    ("GET", "/catalogue", None, (303, 200, 200, 200)),
    ("GET", "/catalogue/web.event", None, (303, 403, 200, 200)),
    ("GET", "/catalogue/web.nothing", None, (303, 403, 404, 404)),
    ("GET", "/search?q=or", None, (303, 200, 200, 200)),
    ("GET", "/sql", None, (303, 403, 200, 200)),
    ("GET", "/sql/history", None, (303, 403, 200, 200)),
    ("POST", "/sql/run", {"sql": "select 1"}, (303, 403, 200, 200)),
    ("POST", "/sql/run", {}, (303, 403, 400, 400)),
    ("POST", "/sql/complete", {"sql": "select ", "offset": 7}, (303, 403, 200, 200)),
    ("POST", "/sql/keep", {"tab": {"id": "a", "title": "A", "sql": ""}, "place": 0}, (303, 403, 200, 200)),
    ("POST", "/sql/drop", {"id": "a"}, (303, 403, 200, 200)),
    ("POST", "/sql/save", {"title": "A", "sql": "select 1"}, (303, 403, 200, 200)),
    ("POST", "/sql/share", {"title": "A", "sql": "select 1"}, (303, 403, 200, 200)),
    ("POST", "/api/query", {"sql": "select 1"}, (303, 403, 200, 200)),
    ("GET", "/edit/orders", None, (303, 403, 200, 200)),
    ("GET", "/edit/new/one", None, (303, 403, 200, 200)),
    ("GET", "/edit/.hidden", None, (303, 403, 400, 400)),
    ("GET", "/edit/money/salaries", None, (303, 403, 403, 200)),
    ("GET", "/edit/money/salaries/history", None, (303, 403, 403, 200)),
    ("GET", "/edit/money//salaries/history", None, (303, 403, 400, 400)),
    ("GET", "/edit/money/salaries/version/HEAD", None, (303, 403, 403, 400)),
    ("PUT", "/edit/money/salaries/draft", {"text": "x"}, (303, 403, 403, 200)),
    ("POST", "/edit/money/salaries/save", SAVED, (303, 403, 403, 403)),
    ("POST", "/edit/money/salaries/preview", {"text": "x"}, (303, 403, 403, 200)),
    ("GET", "/edit/orders/history", None, (303, 403, 200, 200)),
    ("GET", "/edit/orders/version/--output=x", None, (303, 403, 400, 400)),
    ("POST", "/edit/orders/preview", {"text": "# x"}, (303, 403, 200, 200)),
    ("PUT", "/edit/orders/draft", {"text": "x"}, (303, 403, 200, 200)),
    ("DELETE", "/edit/orders/draft", None, (303, 403, 200, 200)),
    ("POST", "/edit/orders/save", SAVED, (303, 403, 403, 403)),
    ("POST", "/edit/orders/complete", {"text": "```sql table\nselect \n```", "offset": 20}, (303, 403, 200, 200)),
    ("GET", "/upload", None, (303, 403, 200, 200)),
    ("POST", "/upload/file?name=a.csv", {"a": 1}, (303, 403, 200, 200)),
    ("GET", "/upload/nothing", None, (303, 403, 400, 400)),
    ("DELETE", "/upload/nothing", None, (303, 403, 400, 400)),
    ("POST", "/upload/nothing/look", {}, (303, 403, 400, 400)),
    ("POST", "/upload/nothing/fit", {"table": "uploads.a"}, (303, 403, 400, 400)),
    ("POST", "/upload/nothing/file", {"table": "uploads.a"}, (303, 403, 400, 400)),
    ("GET", "/api/me", None, (303, 200, 200, 200)),
    ("GET", "/api/admin/users", None, (303, 403, 403, 200)),
    ("GET", "/nothing", None, (303, 404, 404, 404)),
]


@pytest.mark.parametrize(("method", "address", "body", "statuses"), ROUTES, ids=lambda value: str(value)[:60])
def test_each_route_answers_each_role_as_it_should(
    world: World, method: str, address: str, body: object, statuses: tuple[int, ...]
) -> None:
    first, *others = (world.person(role).ask(method, address, body=body).status for role in ROLES)
    assert first == (401 if statuses[0] == 303 and (method != "GET" or address.startswith("/api/")) else statuses[0])
    found = (statuses[0], *others)
    assert found == statuses


@pytest.mark.parametrize(("method", "address", "body", "statuses"), ROUTES, ids=lambda value: str(value)[:60])
def test_programs_hear_the_same_and_nothing_without_a_token(
    world: World, method: str, address: str, body: object, statuses: tuple[int, ...]
) -> None:
    person = world.person(None)
    status = person.ask(method, address, body=body, headers={"accept": "application/json"}).status
    assert status == (401 if statuses[0] == 303 else statuses[0])


def test_a_dashboard_of_a_group_is_nowhere_for_others(world: World) -> None:
    for role in ("viewer", "analyst"):
        person = world.person(role)
        for address in ("/", "/dashboards", "/search?q=salaries", "/search?q=a"):
            assert b"alaries" not in person.get(address).body.replace(b"q=salaries", b"").replace(
                b"for salaries", b""
            ).replace(b"\xe2\x80\x9csalaries", b""), address
        refused = person.get("/d/money/salaries")
        assert refused.status == 403
        assert b"finance" in refused.body
        assert b"Ask Bea" in refused.body
        assert b"Quetzal" not in refused.body
        assert b"4711" not in refused.body
    table = world.person("analyst").get("/catalogue/web.event").body.decode()
    assert "/d/orders" in table
    assert "salaries" not in table
    member = world.person("viewer", ("finance",))
    assert b"Quetzal" in member.get("/d/money/salaries").body
    assert b"Salaries" in member.get("/dashboards").body
    assert b"Salaries" in member.get("/search?q=salaries").body
    assert "salaries" in world.person("admin").get("/catalogue/web.event").body.decode()


def test_a_page_has_a_payload_for_each_tile(world: World) -> None:
    found = payloads(world.person("viewer").get("/d/orders"))
    assert set(found) == {"how_many", "rows", "by_kind"}
    assert {each["state"] for each in found.values()} == {"ok"}
    assert "30" in found["how_many"]["html"]
    broken = payloads(world.person("viewer").get("/d/broken"))
    assert len(broken) == 4
    assert sorted(each["state"] for each in broken.values()) == ["error", "error", "error", "ok"]


def test_an_error_says_its_line_to_analysts_and_nothing_of_the_sql_to_viewers(world: World) -> None:
    told = payloads(world.person("analyst").get("/d/broken"))["wrong"]["html"]
    assert "broken.md, line 10, column 8" in told
    assert "nosuchcolumn" in told
    viewer = world.person("viewer")
    for address in (
        "/d/broken",
        "/d/broken/tiles",
        "/d/broken/tiles/wrong/details",
        "/d/broken/tiles/wrong/csv",
        "/d/broken/tiles/wrong/rows",
        "/d/broken/tiles/two/csv",
        "/d/orders/tiles/rows/details",
        "/d/orders",
    ):
        for accept in ("text/html", "application/json"):
            body = viewer.get(address, accept=accept).body.lower()
            assert b"nosuchcolumn" not in body, address
            assert b"select" not in body.replace(b"/select", b""), (address, accept)
    assert "Ask Cleo" in payloads(viewer.get("/d/broken"))["wrong"]["html"]


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("queue=Cardz", "queue: &#39;Cardz&#39; is none of"),
        ("nothing=1", "nothing"),
        ("size=x", "size"),
        ("period=last+x+days", "period"),
        ("kind=Nope", "kind: &#39;Nope&#39; is none of"),
    ],
)
def test_an_address_that_chooses_what_is_not_there_says_what_there_is(world: World, query: str, says: str) -> None:
    for person in (world.person("viewer"), world.person("analyst")):
        answer = person.get(f"/d/orders?{query}")
        assert answer.status == 400
        assert says in answer.body.decode()
        assert person.get(f"/d/orders/tiles?{query}").status == 400
        assert person.get(f"/d/orders/tiles/rows/csv?{query}").status == 400


COMPLETED = """\
---
title: Odd 🎉
filters:
  period: {type: period, default: last 30 days}
---
```sql query mine
select data_kind as sort, count(*) as many from web.event where _received_at in $period group by 1
```
```sql bar x=sort
select sort, many from mine
```
"""


@pytest.mark.parametrize(
    ("before", "at", "wanted"),
    [
        ("filters:", "own¦\nfilters:", "owner: "),
        ("```sql bar", "```sql ar¦", "area"),
        ("x=sort", "x=¦", "many"),
        ("x=sort", "x=sort cl¦", "click="),
        ("x=sort", "click=¦", "period"),
        ("in $period", "in $period.¦", "period.start"),
        ("from mine", "from mi¦", "mine"),
        ("from mine", "from web.¦", "event"),
        ("select sort, many", "select so¦", "sort"),
        ("select sort, many from mine", "select m.ma¦ from mine m", "many"),
        ("group by 1", "order by _rec¦", "_received_at"),
    ],
)
def test_what_may_stand_at_the_cursor_of_a_dashboards_text(world: World, before: str, at: str, wanted: str) -> None:
    assert before in COMPLETED
    text = COMPLETED.replace(before, at, 1)
    offset = text.index("¦")
    text = text.replace("¦", "")
    answer = world.person("analyst").ask("POST", "/edit/odd/complete", body={"text": text, "offset": offset}).json
    chosen = next(each for each in answer["suggestions"] if each["label"] == wanted)
    assert answer["end"] >= offset
    written = text[answer["start"] : offset]
    assert chosen["text"].startswith(written)
    assert " " not in written


def test_queries_that_need_each_other_are_said_where_they_are_read(world: World) -> None:
    fences = ("query a", "from b"), ("query b", "from a"), ("table t", "from a")
    text = "".join(f"```sql {info}\n{sql}\n```\n" for info, sql in fences)
    world.board("ring", f"---\ntitle: Ring\n---\n{text}")
    said = payloads(world.person("analyst").get("/d/ring"))["t"]
    assert said["state"] == "error"
    assert "queries a and b each need the other first" in said["html"]


FAILS = "select if(i > 9_000, 'abc', '1')::int as n from range(9_500) t(i)"
WHY = "Could not convert string 'abc' to INT32"


def test_sql_that_fails_while_it_runs_says_why_wherever_it_is_asked(world: World) -> None:
    analyst, text = world.person("analyst"), f"---\ntitle: Fails\n---\n```sql table t\n{FAILS}\n```\n"
    world.board("fails", text)
    page = payloads(analyst.get("/d/fails"))["t"]
    assert page["state"] == "error"
    assert WHY in html.unescape(page["html"])
    told = lines(analyst.ask("POST", "/edit/fails/preview", body={"text": text}))
    assert WHY in told[1]["mistakes"][0]["text"]
    assert WHY in lines(analyst.ask("POST", "/sql/run", body={"sql": FAILS}))[-1]["error"]
    refused = analyst.get("/d/fails/tiles/t/csv")
    assert refused.status == 400
    assert WHY in html.unescape(refused.body.decode())


def test_who_writes_a_dashboard_hears_that_a_query_hides_a_table(world: World) -> None:
    text = "---\ntitle: Odd\n---\n```sql query event\nselect 1 as one\n```\n```sql table t\nfrom event\n```\n"
    told = lines(world.person("analyst").ask("POST", "/edit/odd/preview", body={"text": text}))
    assert [each["text"] for each in told[0]["mistakes"]] == [
        "query event is named like the table web.event: give it another name"
    ]
    assert [each["tile"]["state"] for each in told[1:]] == ["ok"]


def test_none_null_and_nothing_said_are_three_choices(world: World) -> None:
    viewer = world.person("viewer")

    def rows(query: str) -> int:
        return len(viewer.get(f"/d/orders/tiles/rows/csv{query}").body.splitlines()) - 1

    assert rows("") == 30
    assert rows("?kind=") == 30
    assert rows("?kind=Cards") == 10
    assert viewer.get("/d/orders?queue=~null").status == 200
    assert viewer.get("/d/orders?queue=Cards&queue=~null").status == 200
    assert viewer.get("/d/orders?kind=~null").status == 400


def test_nothing_of_the_data_is_ever_html(world: World) -> None:
    analyst = world.person("analyst")
    evil = quote(NASTY)
    for address in (
        "/d/orders",
        f"/d/orders?kind={evil}",
        f"/d/orders?kind={evil}x",
        f"/d/orders?{evil}=1",
        "/d/orders/options/kind",
        "/d/orders/tiles/rows/rows",
        f"/d/orders/tiles/rows/details?kind={evil}",
        "/catalogue/web.event",
        f"/search?q={evil}",
        f"/dashboards?q={evil}",
        f"/d/{evil}",
        f"/edit/{evil}",
        f"/sql?sql={evil}",
        f"/sign-in?next={evil}",
    ):
        body = analyst.get(address).body
        assert b"<script>alert" not in body, address
        assert b"javascript:" not in body.replace(b"](javascript:alert(2))", b""), address
    shared = analyst.ask("POST", "/sql/share", body={"title": NASTY, "sql": f"select '{NASTY}'"}).json["id"]
    assert b"<script>alert" not in analyst.get(f"/sql?shared={shared}").body
    assert b"<script>alert" not in analyst.ask("POST", "/sql/save", body={"title": NASTY, "sql": NASTY}).body
    assert b"<script>alert" not in analyst.get("/sql").body
    assert b"<script>alert" not in analyst.get("/sql/history").body
    title = NASTY.replace("'", "")
    world.board("evil", f"---\ntitle: '{title}'\nowner: <b>x</b>\n---\n```sql table \"<i>t</i>\"\n"
                f"select 1 as \"<u>c</u>\"\n```\n```sql bar \"</script><script>alert(3)</script>\"\n"
                f"select '</script><script>alert(4)' as \"<script>alert(5)\", 1 as y\n```\n")  # fmt: skip
    for address in ("/d/evil", "/dashboards", "/search?q=alert", "/d/evil/tiles", "/edit/evil"):
        body = analyst.get(address).body
        assert b"<script>alert" not in body.replace(rb"\"", b"") or address.endswith("tiles"), address
        assert not any(tag in body for tag in (b"<i>t", b"<b>x", b"<u>c")), address
    (world.root / "dashboards/evil.md").unlink()


def test_prose_is_no_html_and_leads_to_no_script(world: World) -> None:
    body = world.person("viewer").get("/d/orders").body
    assert b"<strong>prose</strong>" in body
    assert b"&lt;script&gt;alert(1)" in body
    assert b'href="javascript' not in body


def test_tiles_are_new_only_where_the_data_is(world: World) -> None:
    from tests.load.loading import event

    viewer = world.person("viewer")
    address = "/d/broken/tiles"
    first = viewer.get(address)
    tag = lines(first)[-1]["tag"]
    assert viewer.get(address, if_none_match=tag).status == 304
    world.rig.file(event("new", n=99, kind="Cards", big=1, note=""))
    deadline = time.monotonic() + 20
    viewer.get("/d/broken")
    world.board(
        "broken", (world.root / "dashboards/broken.md").read_text().replace("owner: Cleo", "owner: Cleo\nrefresh: 10s")
    )
    while (again := viewer.get(address, if_none_match=tag)).status == 304 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert again.status == 200
    assert "31" in next(each for each in lines(again) if each.get("id") == "fine")["html"]
    assert again.header("etag") != tag


def test_each_query_is_in_the_audit(world: World) -> None:
    world.person("viewer").get("/d/orders?kind=Other")
    world.person("viewer").get("/d/orders/tiles/rows/csv?kind=Other")
    world.person("viewer").get("/d/broken")
    world.person("analyst").ask("POST", "/sql/run", body={"sql": "select 4 as audited"})
    world.person("analyst").ask("POST", "/sql/run", body={"sql": "select nothing_audited"})
    world.program("analyst").ask("POST", "/api/query", body={"sql": "select 5 as audited"})
    wanted = {
        ("SQL editor", "done"),
        ("SQL editor", "failed"),
        ("/api/query", "done"),
        ("dashboard orders, how_many", "done"),
        ("dashboard orders, rows, csv", "done"),
        ("dashboard broken, wrong", "failed"),
    }
    deadline = time.monotonic() + 20
    found: set[tuple[str, str]] = set()
    while not wanted <= found and time.monotonic() < deadline:
        found = {(row["about"], row["outcome"]) for row in world.audit()}
        time.sleep(0.1)
    assert wanted <= found, wanted - found


def test_what_is_sent_is_limited(world: World) -> None:
    analyst = world.person("analyst")
    huge = json.dumps({"sql": "x" * 6_000_000, "text": "", "offset": 0}).encode()
    for method, address in (
        ("POST", "/sql/run"),
        ("POST", "/sql/complete"),
        ("POST", "/sql/keep"),
        ("POST", "/api/query"),
        ("POST", "/edit/orders/preview"),
        ("PUT", "/edit/orders/draft"),
        ("POST", "/edit"),
    ):
        kind = "application/x-www-form-urlencoded" if address == "/edit" else "application/json"
        allowed = {400, 413} if address == "/edit" else {413}  # a form has limits of its own
        assert analyst.ask(method, address, raw=huge, headers={"content-type": kind}).status in allowed, address
        lied = {"content-type": kind, "content-length": "10"}
        assert analyst.ask(method, address, raw=huge, headers=lied).status in allowed, address


def test_scripts_that_do_not_wait_stand_behind_what_they_work_with(world: World) -> None:
    """Cached and on a busy machine, they run before the parser has come any further."""
    page = world.person("viewer").get("/d/orders").body.decode()
    scripts = re.findall(r'<script type="module" src="[^"]*/(page|board)\.[^"]*" async>', page)
    assert scripts == ["page", "board"]
    assert " async" not in page[: page.index("</head>")]
    assert page.index('<dialog id="finder"') < page.index(" async")
    assert page.index('<div id="stream"') < page.rindex(" async")
