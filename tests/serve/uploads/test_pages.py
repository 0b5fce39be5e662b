"""Uploading by the addresses that the page calls: whose it is, where it may go, what is written down, what stays."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from catchment.serve.config import UploadConfig
from tests.load.loading import event
from tests.serve.pages import Person, World, serving

CSV = b"a,b\n1,x\n2,y\n"
PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with serving(tmp_path_factory.mktemp("pages"), upload=UploadConfig(max_bytes=100_000, max_rows=5_000)) as made:
        made.rig.file(event("e1"), event("e2", table="shop.orders", a=1))
        yield made


def spooled(world: World) -> list[Path]:
    folder = world.root / ".catchment" / "uploads"
    return [path for path in folder.rglob("*") if path.is_file() and path.name != "lock"] if folder.is_dir() else []


def send(person: Person, content: bytes = CSV, name: str = "file.csv") -> Any:
    answer = person.ask("POST", f"/upload/file?name={quote(name)}", raw=content)
    return answer.json | {"status": answer.status}


def state(person: Person, upload: str, *until: str) -> dict[str, Any]:
    """What is said of it once it is in one of these states."""
    give_up_s = time.monotonic() + PATIENCE_S
    while True:
        answer = person.ask("GET", f"/upload/{upload}")
        assert answer.status == 200, answer.body
        told: dict[str, Any] = answer.json
        if told["state"] in until:
            return told
        assert time.monotonic() < give_up_s, told
        time.sleep(0.05)


def file(person: Person, upload: str, table: str, **more: Any) -> dict[str, Any]:
    answer = person.ask("POST", f"/upload/{upload}/file", body={"table": table, **more})
    assert answer.status == 200, answer.body
    return state(person, upload, "loaded", "failed")


def test_from_the_first_byte_to_the_table(world: World) -> None:
    analyst = world.person("analyst")
    sent = send(analyst, name="../../../etc/My\x00 <b>File</b>\u202e.csv")
    assert (sent["name"], sent["format"], sent["bytes"]) == ("b>.csv", "csv", len(CSV))
    told = state(analyst, sent["id"], "looked at")
    assert (told["rows"], told["bad"]) == (2, 0)
    fitted = analyst.ask("POST", f"/upload/{sent['id']}/fit", body={"table": "uploads.first"}).json
    assert (fitted["is_new"], fitted["problem"], fitted["notes"]) == (True, "", [])
    assert len(spooled(world)) == 1
    told = file(analyst, sent["id"], "uploads.first")
    assert told["sent"] == {"rows": 2, "dead_letters": 0}
    assert world.rig.ask("SELECT a, b FROM uploads.first ORDER BY a") == [(1, "x"), (2, "y")]
    assert analyst.ask("GET", "/catalogue/uploads.first").status == 200
    assert spooled(world) == []
    again = analyst.ask("POST", f"/upload/{sent['id']}/file", body={"table": "uploads.first"})
    assert again.status == 400
    began, ended = world.did("begin upload", "upload")[-2:]
    assert began[:3] == ("begin upload", "done", "analyst-none@acme.example")
    assert "b>.csv (sha256 " in began[3]
    assert "into uploads.first" in began[3]
    assert (ended[0], ended[1], ended[4]) == ("upload", "done", 2)


def test_hostile_names_and_values_are_text(world: World) -> None:
    analyst = world.person("analyst")
    evil = '<script>alert(1)</script>"'
    sent = send(
        analyst, f'"{evil.replace(chr(34), chr(34) * 2)}",n\n"=cmd|calc","<img src=x>"\n'.encode(), f"{evil}.csv"
    )
    state(analyst, sent["id"], "looked at")
    html = analyst.ask("POST", f"/upload/{sent['id']}/fit", body={"table": "uploads.evil"}).json["html"]
    assert "<script" not in html
    assert "<img" not in html
    assert "&lt;img src=x&gt;" in html
    file(analyst, sent["id"], "uploads.evil")
    assert world.rig.ask("SELECT n FROM uploads.evil") == [("<img src=x>",)]


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ("catchment.ledger", "Catchment's own"),
        ("catchment.dead_letters", "Catchment's own"),
        ("information_schema.x", "schema.table"),
        ("web.event", "web writes to"),
        ("web.another", "web writes to"),
        ("orders", "schema.table"),
        ("", "Name a table"),
        ("Uploads.A", "schema.table"),
        ('uploads."; drop table x', "schema.table"),
        ("uploads.a\n", "schema.table"),
    ],
)
def test_tables_that_are_not_for_files(world: World, table: str, why: str) -> None:
    analyst = world.person("analyst")
    sent = send(analyst)
    state(analyst, sent["id"], "looked at")
    assert why in analyst.ask("POST", f"/upload/{sent['id']}/fit", body={"table": table}).json["problem"]
    refused = analyst.ask("POST", f"/upload/{sent['id']}/file", body={"table": table})
    assert refused.status == 400
    assert why.encode() in refused.body.replace(b"&#39;", b"'")
    assert state(analyst, sent["id"], "looked at")["rows"] == 2


def test_keys(world: World) -> None:
    analyst = world.person("analyst")
    sent = send(analyst, b"a,b,c\n1,x,\n2,y,\n")
    state(analyst, sent["id"], "looked at")

    def problem(table: str, **more: Any) -> str:
        answer = analyst.ask("POST", f"/upload/{sent['id']}/fit", body={"table": table, **more})
        return str(answer.json["problem"])

    assert "Choose the columns" in problem("uploads.keyed", mode="upsert")
    assert "identifies none" in problem("uploads.keyed", mode="upsert", key=["c"])
    assert "identifies none" in problem("uploads.keyed", mode="upsert", key=["zzz"])
    assert "have no key" in problem("shop.orders", mode="upsert", key=["a"])
    assert problem("shop.orders") == ""
    file(analyst, sent["id"], "uploads.keyed", mode="upsert", key=["b", "a"])
    other = send(analyst, b"b,z\nx,1\n")
    state(analyst, other["id"], "looked at")
    fitted = analyst.ask("POST", f"/upload/{other['id']}/fit", body={"table": "uploads.keyed"}).json
    assert fitted["problem"] == "The table's key is a, b; the file lacks a."
    assert fitted["is_keyed"] is True


def fitted(person: Person, upload: str, table: str, **more: Any) -> dict[str, Any]:
    answer = person.ask("POST", f"/upload/{upload}/fit", body={"table": table, **more})
    assert answer.status == 200, answer.body
    told: dict[str, Any] = answer.json
    return told


def looked_at(person: Person, content: bytes, name: str = "file.csv") -> str:
    upload = str(send(person, content, name)["id"])
    state(person, upload, "looked at")
    return upload


def test_what_is_told_in_the_end_is_what_became_of_the_rows(world: World) -> None:
    """Not what was sent: the loader finds rows without a key, of which a later one is in the file, and known ones."""
    analyst = world.person("analyst")
    upload = looked_at(analyst, b"k,v\n1,a\n2,b\n,c\n1,d\n,e\n,f\n")
    notes = fitted(analyst, upload, "uploads.became", mode="upsert", key=["k"])["notes"]
    assert notes == [["k", "is of the key: 3 rows have no value there, and become dead letters", True]]
    told = file(analyst, upload, "uploads.became", mode="upsert", key=["k"])
    assert told["sent"] == {"rows": 6, "dead_letters": 0}
    assert told["became"] == {"rows": 2, "dead_letters": 3, "is_there": True}
    assert world.rig.ask("SELECT k, v FROM uploads.became ORDER BY k") == [(1, "d"), (2, "b")]
    ended = world.did("upload")[-1]
    assert ended[4] == 2
    assert "6 sent, 3 dead letters" in ended[3]


def test_the_same_file_again_is_told_before_and_after(world: World) -> None:
    analyst = world.person("analyst")
    content = "".join(f"{n};Zoë;{n}\n" for n in range(300)).encode("cp1252")
    for reading, added in (("cp1252", 300), ("mac-roman", 0)):
        sent = send(analyst, b"n;name;m\n" + content, "same.csv")
        state(analyst, sent["id"], "unclear")
        analyst.ask("POST", f"/upload/{sent['id']}/look", body={"encoding": reading})
        state(analyst, sent["id"], "looked at")
        assert fitted(analyst, sent["id"], "uploads.same")["is_there"] is not added
        assert fitted(analyst, sent["id"], "uploads.elsewhere")["is_there"] is False
        told = file(analyst, sent["id"], "uploads.same")
        assert told["became"] == {"rows": added, "dead_letters": 0, "is_there": True}
        assert world.did("upload")[-1][4] == added
    other = looked_at(analyst, b"n;name;m\n1;x;2\n")
    assert fitted(analyst, other, "uploads.same")["is_there"] is False


def test_a_download_goes_back_without_catchments_own_columns(world: World) -> None:
    analyst = world.person("analyst")
    first = looked_at(analyst, b"a,b\n1,back\n2,again\n")
    file(analyst, first, "uploads.back")
    rows = world.rig.ask("SELECT * FROM uploads.back ORDER BY a")
    names = [column for (column,) in world.rig.ask("SELECT column_name FROM information_schema.columns WHERE "
             "table_schema = 'uploads' AND table_name = 'back' ORDER BY ordinal_position")]  # fmt: skip
    text = "\n".join(",".join("" if value is None else str(value) for value in row) for row in [names, *rows])
    upload = looked_at(analyst, text.encode())
    told = fitted(analyst, upload, "uploads.back")
    [note] = told["notes"]
    assert note[0].startswith("_id, _received_at, _source")
    assert "left out" in note[1]
    assert told["html"].count("data-out") == len(names) - 2
    assert file(analyst, upload, "uploads.back")["became"]["rows"] == 2
    assert [column.name for column in world.rig.warehouse.shape("uploads.back").columns] == ["a", "b"]
    own = looked_at(analyst, b"_id,_source,_received_at\n1,2,3\n")
    assert "no columns but" in fitted(analyst, own, "uploads.back")["problem"]


def test_a_file_without_rows_says_so(world: World) -> None:
    analyst = world.person("analyst")
    upload = looked_at(analyst, b"a,b\n")
    assert "no rows" in fitted(analyst, upload, "uploads.none")["problem"]
    analyst.ask("POST", f"/upload/{upload}/look", body={"header_row": 9})
    assert "has no line 9" in state(analyst, upload, "failed")["error"]


def test_nobody_sees_the_file_of_another(world: World) -> None:
    analyst, admin = world.person("analyst"), world.person("admin")
    sent = send(analyst)
    state(analyst, sent["id"], "looked at")
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/fit"), ("POST", "/file"), ("POST", "/look")):
        body = None if not path else {} if path == "/look" else {"table": "uploads.x"}
        assert admin.ask(method, f"/upload/{sent['id']}{path}", body=body).status == 400, path
    assert analyst.ask("DELETE", f"/upload/{sent['id']}").status == 200
    assert analyst.ask("GET", f"/upload/{sent['id']}").status == 400


def test_no_other_site_can_make_a_browser_upload(world: World) -> None:
    analyst = world.person("analyst")
    before = len(spooled(world))
    for site in ("cross-site", "same-site"):
        answer = analyst.ask("POST", "/upload/file?name=a.csv", raw=CSV, headers={"sec-fetch-site": site})
        assert answer.status == 403
    assert len(spooled(world)) == before


def test_a_file_beyond_the_limit(world: World) -> None:
    analyst = world.person("analyst")
    before = spooled(world)
    large = b"a\n" + b"1\n" * 60_000
    for headers in ({}, {"content-length": str(len(large))}):
        answer = analyst.ask("POST", "/upload/file?name=a.csv", raw=large, headers=headers)
        assert answer.status == 413
        assert "larger than" in answer.json["error"]
    assert set(spooled(world)) <= set(before)
    sent = send(analyst, b"a\n" + b"1\n" * 6_000)
    told = state(analyst, sent["id"], "failed")
    assert "has 6,000 rows; an upload may have 5,000" in told["error"]


def test_one_that_is_cut_off_leaves_nothing(world: World) -> None:
    analyst = world.person("analyst")
    before = spooled(world)
    assert world.site.uploads is not None

    async def cut() -> None:
        gone = asyncio.Event()
        gone.set()
        with suppress(Exception):
            await asyncio.wait_for(_begun(analyst, gone), 30)

    world.loop.run(cut())
    assert set(spooled(world)) <= set(before)


async def _begun(person: Person, gone: asyncio.Event) -> None:
    """A body whose end never comes."""
    pieces = [b"a,b\n" * 20_000]

    async def receive() -> dict[str, Any]:
        if pieces:
            return {"type": "http.request", "body": pieces.pop(), "more_body": True}
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        del message

    headers = {"host": person.host, "sec-fetch-site": "same-origin"}
    headers["cookie"] = "; ".join(f"{name}={value}" for name, value in person.cookies.items())
    scope = person._scope("http", "/upload/file", headers)
    await person.app(
        scope | {"method": "POST", "query_string": b"name=a.csv", "raw_path": b"/upload/file"}, receive, send
    )


def test_what_nobody_goes_on_with_is_forgotten(world: World) -> None:
    analyst = world.person("analyst")
    sent = [send(analyst)["id"] for _ in range(7)]
    for upload in sent[-4:]:
        state(analyst, upload, "looked at")
    assert [analyst.ask("GET", f"/upload/{upload}").status for upload in sent] == [400] * 3 + [200] * 4
    assert len(spooled(world)) <= 5
    world.site.uploads.tidy(kept_s=0)
    assert analyst.ask("GET", f"/upload/{sent[-1]}").status == 400
    assert spooled(world) == []


def test_bad_requests(world: World) -> None:
    analyst = world.person("analyst")
    sent = send(analyst)
    state(analyst, sent["id"], "looked at")
    for body in ({"delimiter": "ab"}, {"delimiter": "\n"}, {"header_row": -1}, {"other": 1}, {"encoding": 7}):
        assert analyst.ask("POST", f"/upload/{sent['id']}/look", body=body).status == 400, body
    assert state(analyst, sent["id"], "looked at")["rows"] == 2
    for encoding in ("rot13", "nothing", "zlib_codec", "idna"):
        assert analyst.ask("POST", f"/upload/{sent['id']}/look", body={"encoding": encoding}).status == 200
        assert "encoding" in state(analyst, sent["id"], "failed", "unclear")["error"]


def test_switched_off(tmp_path: Path) -> None:
    with serving(tmp_path, upload=UploadConfig(enabled=False)) as world:
        analyst = world.person("analyst")
        assert analyst.ask("GET", "/upload").status == 404
        assert analyst.ask("POST", "/upload/file?name=a", raw=CSV).status == 400
        assert b"/upload" not in analyst.ask("GET", "/catalogue").body


def test_only_some_schemas(tmp_path: Path) -> None:
    with serving(tmp_path, upload=UploadConfig(schemas=["plans", "web"])) as world:
        analyst = world.person("analyst")
        sent = send(analyst)
        assert sent["table"] == "plans.file"
        state(analyst, sent["id"], "looked at")
        for table, is_allowed in (("plans.a", True), ("web.a", True), ("uploads.a", False)):
            told = analyst.ask("POST", f"/upload/{sent['id']}/fit", body={"table": table}).json
            assert (told["problem"] == "") == is_allowed, table


def test_what_an_earlier_process_left_goes(tmp_path: Path) -> None:
    left = tmp_path / ".catchment" / "uploads" / "serve-left" / "upload-1"
    left.mkdir(parents=True)
    (left / "file").write_bytes(CSV)
    with serving(tmp_path) as world:
        assert spooled(world) == []
        send(world.person("analyst"))
        assert len(spooled(world)) == 1
    assert list((tmp_path / ".catchment" / "uploads").iterdir()) == []
