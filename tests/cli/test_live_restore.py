"""What the archive brings back: after a backup is put back, without a warehouse, with a damaged one."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.cli.live import Live, until

EVERYTHING = "SELECT _id, _source, _received_at, n, text FROM shop.orders ORDER BY _id"


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    made = Live(tmp_path / "p")
    made.up()
    made.send("shop.orders", *({"id": n, "n": n, "text": f"text {n}"} for n in range(100)), id_field="id")
    made.send("shop.orders", '{"id": 100, "n": 1, "n": 2}', id_field="id")
    yield made
    made.close()


def warehouse(live: Live) -> Path:
    return live.runtime / "warehouse.duckdb"


def findings(live: Live, *arguments: str) -> dict[str, dict[str, Any]]:
    ended = live.run("doctor", "--json", *arguments)
    found = json.loads(ended.out)
    assert ended.code == (0 if found["ok"] else 3)
    return {finding["subject"]: finding for finding in found["findings"]}


def test_a_backup_put_back_catches_up(live: Live, tmp_path: Path) -> None:
    copy = live.done("backup", tmp_path / "copy").strip()
    assert copy == str(tmp_path / "copy" / "warehouse.duckdb")
    with duckdb.connect(copy, read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM shop.orders").fetchall() == [(100,)]
    live.send("shop.orders", {"id": 101, "n": 101, "extra": True}, id_field="id")
    (letter,) = live.letters()
    live.done("dead-letters discard", letter["id"])
    assert until(lambda: live.letters() == [])
    before = live.rows(EVERYTHING)

    for path, words in [(tmp_path / "copy", "exists already"), (tmp_path / "p" / "catchment.toml" / "x", "Not a dir")]:
        ended = live.run("backup", path)
        assert ended.code in {1, 2}
        assert words in ended.err

    assert live.down() == 0
    warehouse(live).with_suffix(".duckdb.wal").unlink(missing_ok=True)
    shutil.copyfile(copy, warehouse(live))
    live.up()
    assert until(lambda: live.status()["unloaded_batches"] == 0)
    assert live.rows(EVERYTHING) == before
    assert live.letters() == []


def test_a_warehouse_that_is_gone_is_restored(live: Live) -> None:
    before, letters = live.rows(EVERYTHING), live.letters()
    ended = live.run("restore", "--from-archive")
    assert ended.code == 2
    assert "stop `catchment up` first" in ended.err
    assert live.down() == 0
    warehouse(live).unlink()
    assert live.done("restore", "--from-archive") == "2 batches loaded from the archive\n"
    assert live.rows(EVERYTHING) == before
    assert [each["id"] for each in live.letters()] == [each["id"] for each in letters]
    assert json.loads(live.done("restore", "--from-archive", "--json")) == {"batches": 0, "damaged_files": 0}


def test_a_damaged_warehouse_is_set_aside_said_so_and_rebuilt(live: Live) -> None:
    before = live.rows(EVERYTHING)
    assert live.run("status").code == 0
    assert live.down() == 0
    warehouse(live).write_bytes(b"no database" * 10_000)
    assert "does not open" in findings(live)["warehouse"]["detail"]
    live.up()
    assert until(lambda: live.status()["unloaded_batches"] == 0)
    assert live.rows(EVERYTHING) == before
    assert "set aside" in live.said.read_text()
    found = findings(live)["damaged files"]
    assert not found["is_well"]
    assert "warehouse.duckdb.damaged-" in found["detail"]
    status = live.run("status")
    assert status.code == 3
    assert "warehouse.duckdb.damaged-" in status.err


def test_replay_brings_back_what_the_table_lacks_and_nothing_twice(live: Live) -> None:
    before = live.rows(EVERYTHING)
    assert live.down() == 0
    with duckdb.connect(str(warehouse(live))) as connection:
        connection.execute("DELETE FROM shop.orders WHERE n % 2 = 0")
    live.up()
    assert live.done("replay", "shop.orders") == "shop.orders: 50 rows added, of 101 records in 2 files\n"
    found = json.loads(live.done("replay", "shop.orders", "--json"))
    assert found == {"table": "shop.orders", "rows": 0, "records": 101, "files": 2, "damaged_files": 0}
    assert live.rows(EVERYTHING) == before
    assert live.done("replay", "shop.orders", "--until", "2000-01-01").endswith("of 0 records in 0 files\n")
    for arguments, words in [
        (("shop.orders", "--since", "yesterday"), "is no time"),
        (("shop.orders", "--since", "2026-02-30"), "is no time"),
        (("shop.orders", "--since", "2026-01-02", "--until", "2026-01-02"), "not later"),
        (("Shop",), "not schema.table"),
    ]:
        ended = live.run("replay", *arguments)
        assert (ended.code, ended.out) == (2, ""), arguments
        assert words in ended.err, arguments


def test_a_table_is_built_anew_while_everything_runs(live: Live) -> None:
    before, letters = live.rows(EVERYTHING), live.letters()
    assert live.down() == 0
    with duckdb.connect(str(warehouse(live))) as connection:
        connection.execute("UPDATE shop.orders SET text = 'spoiled'")
        connection.execute("INSERT INTO shop.orders (_id, _received_at, _source) VALUES ('x', now(), 'by hand')")
    live.up()
    assert live.done("replay", "shop.orders", "--rebuild", "--dry-run").startswith("shop.orders: 101 records in 2 ")
    ended = live.run("replay", "shop.orders", "--rebuild")
    assert ended.code == 2
    assert "1 rows of shop.orders are not in the archive" in ended.err
    found = json.loads(live.done("replay", "shop.orders", "--rebuild", "--drop-others", "--json"))
    assert (found["rows"], found["dropped"], found["damaged_files"]) == (100, 1, 0)
    assert live.rows(EVERYTHING) == before
    assert live.letters() == letters
    said = "shop.orders: built anew with 100 rows, of 101 records in 2 files\n"
    assert live.done("replay", "shop.orders", "--rebuild") == said
    for arguments in (["--rebuild", "--fill", "n"], ["--rebuild", "--since", "2026-01-01"], ["--drop-others"]):
        assert live.run("replay", "shop.orders", *arguments).code == 2


def test_a_damaged_file_of_the_archive_is_told_of(live: Live) -> None:
    assert findings(live)["archive"]["is_well"]
    file = sorted((live.runtime / "archive" / "incoming").iterdir())[0]
    file.chmod(0o644)
    content = bytearray(file.read_bytes())
    content[-20] ^= 0xFF
    file.write_bytes(content)
    for arguments in ((), ("--archive",)):
        found = findings(live, *arguments)["archive"]
        assert not found["is_well"]
        assert f"1 of 2 files are damaged, such as incoming/{file.name}: pack " in found["detail"]
    assert live.down() == 0
    warehouse(live).unlink()
    ended = live.run("restore", "--from-archive")
    assert ended.code == 1
    assert "an archive file is damaged and cannot be loaded" in ended.err
    assert "1 files of the archive are damaged and were left out" in ended.err


def test_a_broken_queue_file_is_set_aside_and_told_of(live: Live) -> None:
    assert live.down() == 0
    assert live.run("send", "shop.orders", "--format", "ndjson", stdin='{"n": 1}').code == 0
    (file,) = (live.runtime / "queue").glob("*-*.db")
    file.write_bytes(file.read_bytes()[:4096] + b"\xff" * 8192)
    live.up()
    broken = live.runtime / "queue" / "broken"
    until(lambda: list(broken.glob("*.db")) if broken.exists() else [])
    assert "damaged files" in findings(live)
    assert live.run("status").code == 3
    live.send("shop.orders", {"id": 7, "n": 7}, id_field="id")
    subprocess.run(["rm", "-r", broken], check=True)
    assert live.run("status").code == 0


def test_the_archive_is_listed_and_verified(live: Live) -> None:
    listed = live.done("archive ls", "incoming/").splitlines()
    assert listed
    assert all(line.endswith(".ndjson.zst") for line in listed)
    entries = [json.loads(line) for line in live.done("archive ls", "--json").splitlines()]
    assert [entry["name"] for entry in entries] == sorted(entry["name"] for entry in entries)
    assert live.run("archive ls", "../x").code == 2

    assert live.done("archive verify").startswith(f"{len(entries)} of {len(entries)} files are whole")
    victim = live.runtime / "archive" / entries[0]["name"]
    victim.write_bytes(victim.read_bytes()[:-5])
    (live.runtime / "archive" / entries[-1]["name"]).unlink()
    ended = live.run("archive verify", "--json")
    assert ended.code == 3
    found = json.loads(ended.out)
    assert [each["name"] for each in found["damaged"]] == [entries[0]["name"]]
    assert found["missing"] == [entries[-1]["name"]]
    said = live.run("archive verify")
    assert said.code == 3
    assert f"missing  {entries[-1]['name']}" in said.out
    assert "put the files back from a copy" in said.err
