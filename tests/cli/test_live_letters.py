"""Dead letters from end to end: a refused record is seen, mended and loaded once; a halted table resumes."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from tests.cli.live import Live, until

SETTINGS = """\
[load]
min_rejected = 3
max_rejected_share = 0.5
[load.tables."shop.orders"]
max_rejected_share = 1.0
[collect]
listen = "127.0.0.1:0"
[collect.sources.website]
write_key = "the-key"
mask = ["properties.email"]
"""
DOUBLED = '{"id": 7, "n": 1, "n": 2}'


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    made = Live(tmp_path_factory.mktemp("letters") / "p", SETTINGS)
    made.up()
    yield made
    made.close()


def test_a_bad_record_is_seen_mended_and_loaded_once(live: Live, tmp_path: Path) -> None:
    live.send("shop.orders", {"id": 1, "n": 1}, DOUBLED, id_field="id")
    (letter,) = live.letters()
    assert letter.keys() == {
        *("id", "table", "reason", "detail", "origin", "received_at", "source", "record_id", "bytes"),
    }
    assert (letter["table"], letter["reason"]) == ("shop.orders", "duplicate-key")
    assert (letter["source"], letter["record_id"]) == ("send", "7")
    listed = live.run("dead-letters list")
    assert listed.code == 3
    assert f"{letter['id'][:12]}  " in listed.out
    assert listed.err == "(1 dead letter)\n"
    shown = live.done("dead-letters show", letter["id"][:12])
    assert "reason:        duplicate-key" in shown
    assert '"data":{"id": 7, "n": 1, "n": 2}' in shown

    record = live.done("dead-letters show", "--bytes", letter["id"])
    mended = tmp_path / "mended.json"
    mended.write_text(record.replace('"n": 1, ', ""))
    assert live.done("dead-letters retry", letter["id"][:12], "--mended", mended) == "1 retried\n"
    assert until(lambda: live.rows("SELECT * FROM shop.orders WHERE n = 2"))
    assert live.letters() == []
    assert live.run("dead-letters list").code == 0
    live.done("send", "shop.orders", "--format", "ndjson", "--id", "id", "--wait", stdin='{"id": 7, "n": 2}')
    (row,) = live.rows("SELECT _id, _source, _received_at, id, n FROM shop.orders WHERE id = 7")
    assert (row["_id"], row["_source"], row["n"]) == ("7", "send", 2)
    times = [datetime.fromisoformat(text) for text in (row["_received_at"], letter["received_at"])]
    assert times[0] == times[1], "it keeps the time at which it came first"


def test_what_is_retried_in_vain_is_seen_again(live: Live) -> None:
    live.send("shop.orders", '{"id": 8, "n": 1, "n": 2}', id_field="id")
    (first,) = live.letters()
    live.done("dead-letters retry", first["id"])
    (second,) = until(lambda: [letter for letter in live.letters() if letter["id"] != first["id"]])
    assert (second["record_id"], second["reason"]) == ("8", "duplicate-key")
    assert json.loads(live.done("dead-letters discard", "--table", "shop.orders", "--json")) == {"discarded": 1}
    assert until(lambda: live.letters() == [])
    assert live.rows("SELECT count(*) AS n FROM catchment.dead_letters WHERE record_id = '8'") == [{"n": 2}]


def test_a_call_is_mended_in_the_form_in_which_it_was_sent(live: Live, tmp_path: Path) -> None:
    calls = [{"type": "track", "event": "Signed Up"}, {"type": "trick", "messageId": "m1", "event": "Paid"}]
    post(live, "/v1/batch", {"batch": calls})
    (letter,) = until(live.letters)
    assert (letter["source"], letter["origin"]) == ("website", "HTTP /v1/batch")
    again = live.run("dead-letters retry", letter["id"])
    assert again.code == 2
    assert "would be one again: not-a-record: `type` must be one of" in again.err
    assert len(live.letters()) == 1

    call = json.loads(live.done("dead-letters show", "--bytes", letter["id"]))
    mended = tmp_path / "call.json"
    mended.write_text(json.dumps({**call, "type": "track", "properties": {"total": 3, "email": "a@b.example"}}))
    live.done("dead-letters retry", letter["id"], "--mended", mended)
    until(lambda: has_table(live, "website.paid"))
    (row,) = live.rows("SELECT * FROM website.paid")
    assert (row["id"], row["event_text"], row["total"], row["_source"]) == ("m1", "Paid", 3, "website")
    assert row["email"] != "a@b.example"
    assert datetime.fromisoformat(row["_received_at"]) == datetime.fromisoformat(letter["received_at"])
    assert until(lambda: live.letters() == [])


def has_table(live: Live, table: str) -> bool:
    return any(each["table"] == table for each in live.status()["tables"])


def post(live: Live, path: str, body: object) -> None:
    address = next(each["address"] for each in live.status()["services"] if each["name"] == "collect")
    request = urllib.request.Request(address + path, json.dumps(body).encode(), {"X-Write-Key": "the-key"})
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200


def test_lines_of_a_file_are_told_apart(live: Live, tmp_path: Path) -> None:
    file = tmp_path / "o.csv"
    file.write_text("a,b\n1,2\n3\n4,5,6\n")
    live.done("send", "shop.lines", file, "--delimiter", ",", "--wait")
    letters = live.letters()
    assert [letter["origin"] for letter in letters] == ["file o.csv line 3", "file o.csv line 4"]
    assert len({letter["id"][:12] for letter in letters}) == 2
    assert live.done("dead-letters show", "--bytes", letters[0]["id"][:12]) == "3"
    assert "--limit shows more" in live.run("dead-letters list", "--limit", "1").err
    live.done("dead-letters discard", *(letter["id"] for letter in letters))
    assert until(lambda: live.letters() == [])


def test_mistakes(live: Live, tmp_path: Path) -> None:
    no_record = tmp_path / "x"
    no_record.write_bytes(b"\xff\x00")
    live.send("shop.mistakes", '{"n": 1, "n": 2}')
    (letter,) = live.letters()
    mistakes: list[tuple[tuple[str | Path, ...], str]] = [
        (("dead-letters show", "zzz"), "no open dead letter's id begins with 'zzz'"),
        (("dead-letters show", ""), "name it by its id"),
        (("dead-letters retry",), "name letters, or --table"),
        (("dead-letters retry", "--table", "shop.mistakes", letter["id"]), "name letters, or --table"),
        (("dead-letters retry", "--table", "Shop"), "not schema.table"),
        (("dead-letters retry", letter["id"], "--mended", no_record), "the mended record is none: invalid-utf8"),
        (("dead-letters retry", "a", "b", "--mended", no_record), "exactly one letter"),
        (("dead-letters retry", letter["id"], "--mended", tmp_path), "Is a directory"),
        (("dead-letters list", "; DROP TABLE x"), "not schema.table"),
        (("dead-letters resume", "shop.mistakes"), "has not halted"),
        (("dead-letters resume", "x"), "not schema.table"),
    ]
    for (command, *arguments), words in mistakes:
        ended = live.run(str(command), *arguments)
        assert ended.code == 2, (command, arguments)
        assert words in ended.err, (command, arguments)
    assert len(live.letters()) == 1
    live.done("dead-letters discard", letter["id"])
    assert until(lambda: live.letters() == [])


def test_a_table_that_rejects_too_much_halts_until_it_is_resumed(live: Live, tmp_path: Path) -> None:
    live.send("shop.sick", {"n": 1})
    file = tmp_path / "bad.ndjson"
    file.write_text("\n".join('{"n": 1, "n": 2}' for _ in range(4)))
    ended = live.run("send", "shop.sick", file, "--wait")
    assert ended.code == 1
    assert "loading of shop.sick has halted" in ended.err
    assert "Try: catchment dead-letters resume shop.sick" in ended.err

    status = live.run("status", "--json")
    assert status.code == 3
    found = json.loads(status.out)
    (table,) = [each for each in found["tables"] if each["table"] == "shop.sick"]
    assert "records were rejected" in table["halted"]
    assert found["unloaded_batches"] == 1
    assert "shop.sick: loading has halted" in live.run("status").err
    live.send("shop.well", {"n": 1})
    assert live.rows("SELECT n FROM shop.well") == [{"n": 1}], "the others go on"

    assert live.down() == 0
    live.done("dead-letters resume", "shop.sick")  # while it runs, the minute's sweep would notice
    live.up()
    assert until(lambda: live.status()["unloaded_batches"] == 0)
    assert len(live.letters()) == 4
    assert live.run("status").code == 0
    live.send("shop.sick", {"n": 3})
    assert live.rows("SELECT sum(n) AS n FROM shop.sick") == [{"n": 4}]
