"""The page that takes files: dropped or chosen, looked at, filed, and found in the warehouse."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Literal

import duckdb
import openpyxl
import pytest
from playwright.sync_api import Page, expect

from catchment import presence
from tests.cli.live import until
from tests.serve.browser.company import EVIL
from tests.serve.browser.test_every_page import hard_to_use
from tests.serve.browser.watching import DESKTOP, PATIENCE_MS, PHONE, Visitor, rest

THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
expect.set_options(timeout=PATIENCE_MS)
_DROP = """([name, bytes]) => {
  const data = new DataTransfer();
  data.items.add(new File([Uint8Array.from(atob(bytes), (each) => each.charCodeAt(0))], name));
  for (const kind of ["dragenter", "dragover", "drop"])
    document.querySelector(".drop").dispatchEvent(
      new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true }));
}"""


def drop(page: Page, name: str, content: bytes) -> None:
    """As a mouse does."""
    page.evaluate(_DROP, [name, base64.b64encode(content).decode()])


def choose(page: Page, path: Path) -> None:
    """As the dialog of the button does."""
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose a file").click()
    chooser.value.set_files(path)


def rows_of(visitor: Visitor, sql: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(visitor.company.command("query", "--format", "json", sql))
    return found


def filed(page: Page, table: str) -> None:
    """Press the button, and wait until all is in the table."""
    page.get_by_label("Table", exact=True).fill(table)
    button = page.get_by_role("button", name=re.compile("^Upload [0-9]"))
    expect(button).to_be_enabled()
    button.click()
    expect(page.locator("[data-result]")).to_contain_text(f"in {table}")


def test_a_dropped_csv_becomes_a_table(analyst: Visitor) -> None:
    csv = f"Order ID,Ok,When,Note\n0012,true,2026-11-01T10:00:00Z,{EVIL}\n7,false,2026-11-02T10:00:00Z,\n".encode()
    with analyst.page("/upload") as page:
        drop(page, "../../Orders <b>2026</b>.csv", csv)
        expect(page.locator("[data-name]")).to_have_text("Orders <b>2026</b>.csv".rpartition("/")[2])
        expect(page.get_by_label("Table", exact=True)).to_have_value(re.compile(r"uploads\."))
        heads = page.locator(".first-rows thead th")
        expect(heads).to_have_text([re.compile("order_id.*text"), re.compile("ok.*boolean"),
                                    re.compile("when.*timestamptz"), re.compile("note.*text")])  # fmt: skip
        expect(page.locator(".first-rows")).to_contain_text(EVIL)
        filed(page, "uploads.orders")
        expect(page.locator("[data-dead]")).to_be_empty()
        assert hard_to_use(page) == []
        page.get_by_role("link", name="Look at the table").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("orders")
    found = rows_of(analyst, "select order_id, ok, note from uploads.orders order by order_id")
    assert found == [{"order_id": "0012", "ok": True, "note": EVIL}, {"order_id": "7", "ok": False, "note": None}]
    with analyst.page("/upload") as page:  # once more: nothing doubles
        drop(page, "again.csv", csv)
        page.get_by_label("Table", exact=True).fill("uploads.orders")
        expect(page.locator(".notes")).to_contain_text("was uploaded to that table before")
        filed(page, "uploads.orders")
        expect(page.locator("[data-result]")).to_have_text("No row of again.csv is new in uploads.orders")
        expect(page.locator("[data-dead]")).to_contain_text("nothing has changed")
    assert rows_of(analyst, "select count(*)::int as n from uploads.orders") == [{"n": 2}]


def test_a_workbook_by_keyboard_its_sheet_and_its_header(analyst: Visitor, tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.title = "Cover"  # on which there is nothing
    sheet = book.create_sheet("Plan")
    rows = [
        ["Plan of 2026"],
        ["Month", "Customers", "Growth", "Seen"],
        [date(2026, 1, 1), 120, 0.5, datetime(2026, 1, 1, 9, 30)],
        [date(2026, 2, 1), 150, 1, None],
    ]
    for row in rows:
        sheet.append(row)
    book.save(tmp_path / "plan.xlsx")
    with analyst.page("/upload") as page:
        with page.expect_file_chooser() as chooser:
            button = page.get_by_role("button", name="Choose a file")
            button.focus()
            expect(button).to_be_focused()
            button.press("Enter")
        chooser.value.set_files(tmp_path / "plan.xlsx")
        expect(page.locator("[data-what]")).to_contain_text("sheet 'Cover': row 1 holds nothing")
        page.get_by_role("button", name="Plan").click()
        expect(page.locator(".first-rows")).to_contain_text("plan_of_2026")
        page.get_by_label("In row").fill("2")
        page.keyboard.press("Tab")
        expect(page.locator(".first-rows thead")).to_contain_text("growth")
        page.get_by_label("Replace rows by a key").check()
        expect(page.get_by_text("Choose the columns that identify a row.")).to_be_visible()
        page.get_by_role("checkbox", name="month").check()
        filed(page, "uploads.plan")
    assert rows_of(analyst, "select month, customers, growth, seen from uploads.plan order by month") == [
        {"month": "2026-01-01", "customers": 120, "growth": 0.5, "seen": "2026-01-01 09:30:00"},
        {"month": "2026-02-01", "customers": 150, "growth": 1.0, "seen": None},
    ]
    # The next plan takes the place of the first, by the key that the table has.
    sheet["B3"] = 130
    book.save(tmp_path / "plan.xlsx")
    with analyst.page("/upload?table=uploads.plan") as page:
        choose(page, tmp_path / "plan.xlsx")
        page.get_by_label("Sheet").select_option("Plan")
        expect(page.locator(".first-rows")).to_contain_text("plan_of_2026")
        expect(page.get_by_text("the file lacks month.")).to_be_visible()
        page.get_by_label("In row").fill("2")
        page.keyboard.press("Tab")
        expect(page.get_by_text("with the key month")).to_be_visible()
        expect(page.get_by_label("Add rows")).to_be_disabled()
        filed(page, "uploads.plan")
    assert rows_of(analyst, "select customers from uploads.plan order by month") == [
        {"customers": 130}, {"customers": 150}
    ]  # fmt: skip


def test_parquet_into_a_table_that_is_there(analyst: Visitor, tmp_path: Path) -> None:
    path = tmp_path / "more.parquet"
    rows = "select 'x-' || i as id, 1.5 as items, i as channel, now() as \"New One\" from range(3) r(i)"
    with duckdb.connect() as db:
        db.execute(f"copy ({rows}) to '{path}'")
    with analyst.page("/upload") as page:
        choose(page, path)
        page.get_by_label("Table", exact=True).fill("shop.orders")
        notes = page.locator(".notes")
        expect(notes).to_contain_text("items becomes double")
        expect(notes).to_contain_text("channel written as text")
        expect(notes).to_contain_text("new_one new column")
        expect(notes).to_contain_text("The file lacks")
        expect(page.get_by_label("Replace rows by a key")).to_be_disabled()
        page.get_by_label("Table", exact=True).fill("catchment.ledger")
        expect(page.get_by_text("Catchment's own")).to_be_visible()
        expect(page.locator("[data-send]")).to_be_disabled()


def test_what_a_file_does_not_say_is_asked(analyst: Visitor) -> None:
    with analyst.page("/upload") as page:
        drop(page, "names.csv", "name;size\nZoë;1\nJosé;2;3\n".encode("cp1252"))
        expect(page.get_by_text("Which of these reads right?", exact=True)).to_be_visible()
        assert hard_to_use(page) == []
        page.get_by_role("button", name="Western, Windows-1252").click()
        expect(page.locator("[data-what]").get_by_text("no delimiter splits")).to_be_visible()
        page.get_by_role("button", name="Semicolon").click()
        expect(page.get_by_text("1 record is no row: kept as a dead letter")).to_be_visible()
        expect(page.locator(".bad-lines")).to_contain_text("José;2;3")
        expect(page.locator(".first-rows tbody tr")).to_have_count(1)
        filed(page, "uploads.names")
        expect(page.locator("[data-dead]")).to_contain_text("1 record")
    assert rows_of(analyst, "select name, size from uploads.names") == [{"name": "Zoë", "size": 1}]
    letters = rows_of(analyst, "select origin from catchment.dead_letters where table_name = 'uploads.names'")
    assert letters == [{"origin": "file names.csv line 3"}]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", b"", "is empty"),
        ("a.csv.gz", b"\x1f\x8b\x08 and so on", "is compressed (gzip)"),
        ("a.xlsx", b"PK\x03\x04 and no more", "no workbook"),
        ("a.csv", b"a,b\n\0\0,1\n", "no table that can be read"),
        ("a.json", b"[1]", "is JSON"),
        ("a.parquet", b"PAR1 and no more", "a.parquet"),
    ],
)
def test_what_cannot_be_read_is_said(analyst: Visitor, name: str, content: bytes, said: str) -> None:
    with analyst.page("/upload", quiet=False) as page:
        drop(page, name, content)
        expect(page.locator("[data-what]")).to_contain_text(said)
        page.locator(".trouble, .file-line").get_by_role("button", name="Choose another file").first.click()
        expect(page.get_by_role("button", name="Choose a file")).to_be_focused()


def _asked(page: Page) -> None:
    drop(page, "names.csv", "name;size\nZoë;1\n".encode("cp1252"))
    expect(page.get_by_text("Which of these reads right?", exact=True)).to_be_visible()


def _looked_at(page: Page) -> None:
    drop(page, "odd.csv", b"Id,A very long name of a column that goes on and on and on,<b>x</b>\n1,2,3\n4\n")
    page.get_by_role("button", name="Comma").click()
    expect(page.locator(".bad-lines")).to_be_visible()
    page.get_by_label("Replace rows by a key").check()
    expect(page.get_by_role("checkbox", name="id", exact=True)).to_be_visible()


@pytest.mark.parametrize("state", [_asked, _looked_at], ids=["asked", "looked at"])
def test_each_state_is_sound(analyst: Visitor, state: Callable[[Page], None]) -> None:
    with analyst.page("/upload") as page:
        for size in (DESKTOP, PHONE):
            page.set_viewport_size(size)
            page.reload()
            state(page)
            for theme in THEMES:
                page.emulate_media(color_scheme=theme)
                assert hard_to_use(page) == [], (size, theme)
            sizes = rest(page)
            assert sizes["wide"] <= sizes["window"], size


def test_an_answer_that_breaks_off_is_said_and_asked_for_again(analyst: Visitor) -> None:
    with analyst.page("/upload") as page:
        page.route("**/fit", lambda route: route.fulfill(content_type="application/json", body='{"html": "'))
        drop(page, "cut.csv", b"a,b\n1,2\n")
        expect(page.get_by_text("answer broke off")).to_be_visible()
        page.unroute("**/fit")
        page.get_by_label("Table", exact=True).fill("uploads.cut")
        expect(page.get_by_role("button", name="Upload 1 row")).to_be_enabled()


def test_it_is_for_analysts(viewer: Visitor) -> None:
    with viewer.page("/") as page:
        assert page.get_by_role("navigation", name="Main", exact=True).get_by_text("Upload").count() == 0


def test_a_killed_server_leaves_no_file_behind(analyst: Visitor) -> None:
    runtime = analyst.company.folder / ".catchment"

    def spooled() -> list[Path]:
        return list((runtime / "uploads").glob("*/*/file"))

    with analyst.page("/upload", quiet=False) as page:
        drop(page, "kept.csv", b"a,b\n1,2\n")
        expect(page.locator("[data-about]")).to_contain_text("1 row")
        assert spooled()
        serving = presence.service(runtime, "serve")
        assert serving is not None
        assert serving.pid is not None
        os.kill(serving.pid, signal.SIGKILL)
        until(lambda: not spooled(), "the file to be removed by the next process")
        until(lambda: (now := presence.service(runtime, "serve")) and now.state == "ready", "the pages to be back")
        page.get_by_label("Table", exact=True).fill("uploads.kept")
        expect(page.get_by_text("that file is no longer here")).to_be_visible()
