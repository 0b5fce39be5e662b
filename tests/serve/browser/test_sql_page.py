"""The SQL editor."""

from __future__ import annotations

import time
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.serve.browser.company import EVIL, EXACT
from tests.serve.browser.watching import PATIENCE_MS, Visitor

expect.set_options(timeout=PATIENCE_MS)
SLOW = "select count(*) from range(100000000000) as a(i) where sqrt(i) < 0"


def write(page: Page, sql: str) -> None:
    """In place of what the editor holds."""
    area = page.get_by_label("SQL", exact=True)
    area.fill(sql)


def run(page: Page, sql: str) -> None:
    write(page, sql)
    page.keyboard.press("Control+Enter")


def said(page: Page, text: str) -> None:
    expect(page.locator(".outcome")).to_contain_text(text)


def test_it_runs_all_or_what_is_selected(analyst: Visitor) -> None:
    with analyst.page("/sql") as page:
        run(page, f"select {EXACT} as big, 1.10::decimal(9,2) as d, null as n, '{EVIL}' as \"<b>x</b>\"")
        said(page, "1 row ·")
        grid = page.locator(".result-grid")
        for text in (f"{EXACT:,}", "1.10", "null", EVIL, "<b>x</b>"):
            expect(grid).to_contain_text(text)
        write(page, "select 1 as first\n;\nselect 2 as second")
        page.get_by_label("SQL", exact=True).evaluate("area => area.setSelectionRange(20, area.value.length)")
        page.keyboard.press("Control+Enter")
        expect(grid).to_contain_text("second")
        expect(grid).not_to_contain_text("first")


def test_an_error_stands_at_its_place(analyst: Visitor) -> None:
    with analyst.page("/sql") as page:
        run(page, "select id,\n  chanel\nfrom shop.orders")
        expect(page.locator(".lens")).to_contain_text("chanel")
        expect(page.locator(".gutter .wrong")).to_have_text("2")
        assert page.get_by_label("SQL", exact=True).evaluate("area => area.selectionStart") == 13
        run(page, "drop table shop.orders")
        expect(page.locator(".outcome.bad")).to_be_visible()


def test_it_completes_by_the_alias(analyst: Visitor) -> None:
    with analyst.page("/sql") as page:
        write(page, "")
        page.get_by_label("SQL", exact=True).press_sequentially("select * from shop.orders as o where o.chan")
        expect(page.locator(".complete li").first).to_contain_text("channel")
        page.keyboard.press("Tab")
        expect(page.get_by_label("SQL", exact=True)).to_have_value("select * from shop.orders as o where o.channel")
        expect(page.locator(".complete")).to_be_hidden()


def test_tabs_outlast_the_page(analyst: Visitor) -> None:
    with analyst.page("/sql") as page:
        page.get_by_role("button", name="New tab").click()
        with page.expect_response(lambda answer: "'kept'" in (answer.request.post_data or "")):
            write(page, "select 'kept'")
        count = page.locator(".sql-tabs .tab").count()
        page.reload()
        expect(page.locator(".sql-tabs .tab")).to_have_count(count)
        page.locator(".sql-tabs .tab button:not(.close)").last.click()
        expect(page.get_by_label("SQL", exact=True)).to_have_value("select 'kept'")
        with page.expect_response("**/sql/drop"):
            page.locator(".sql-tabs .tab .close").last.click()
        expect(page.locator(".sql-tabs .tab")).to_have_count(count - 1)


def test_a_change_is_kept_of_a_tab_that_is_left_at_once(analyst: Visitor) -> None:
    with analyst.page("/sql") as page:
        tab = page.locator(".sql-tabs .tab button:not(.close)")
        for _ in range(2):
            with page.expect_response("**/sql/keep"):
                page.get_by_role("button", name="New tab").click()
        for at, word in ((-2, "first"), (-1, "second")):
            tab.nth(at).click()
            write(page, f"select '{word}'")
        page.goto(f"{analyst.company.address}/dashboards")
        analyst.go(page, "/sql")
        for at, word in ((-2, "first"), (-1, "second")):
            tab.nth(at).click()
            expect(page.get_by_label("SQL", exact=True)).to_have_value(f"select '{word}'")
        for _ in range(2):
            with page.expect_response("**/sql/drop"):
                page.locator(".sql-tabs .tab .close").last.click()


def test_what_does_not_reach_the_server_is_said(analyst: Visitor) -> None:
    gone = "The server cannot be reached. Is it running?"
    with analyst.page("/sql", quiet=False) as page:
        page.route("**/sql/**", lambda route: route.abort("connectionrefused"))
        page.route("**/api/query", lambda route: route.abort("connectionrefused"))
        write(page, "select 1 as one")
        said(page, f"is not kept: {gone}")
        for button in ("Run", "Share", "History", "CSV"):
            page.evaluate("document.querySelector('.outcome').textContent = ''")
            page.get_by_role("button", name=button).click()
            said(page, gone)
        page.unroute("**/sql/**")
        page.route("**/sql/run", lambda route: route.fulfill(content_type="application/x-ndjson", body='{"columns"'))
        page.get_by_role("button", name="Run").click()
        said(page, "The server's answer broke off. Try again.")
        page.unroute("**/sql/run")
        page.route("**/sql/run", lambda route: route.fulfill(status=401, json={"error": "Sign in first"}))
        page.get_by_role("button", name="Run").click()
        said(page, "Sign in first")


def test_history_saved_queries_and_links(analyst: Visitor) -> None:
    with analyst.page("/sql") as page:
        run(page, "select 'in the history' as x")
        said(page, "1 row")
        page.get_by_role("button", name="History").click()
        page.locator("dialog[open]").get_by_text("in the history").first.click()
        expect(page.get_by_label("SQL", exact=True)).to_have_value("select 'in the history' as x")
        page.once("dialog", lambda dialog: dialog.accept(f"Mine {EVIL}"))
        page.get_by_role("button", name="Save", exact=True).click()
        expect(page.locator(".saved")).to_contain_text(f"Mine {EVIL}")
        page.get_by_role("button", name="Share").click()
        expect(page.get_by_text("Link copied")).to_be_visible()
        link = page.evaluate("navigator.clipboard.readText()")
        page.goto(link)
        expect(page.get_by_label("SQL", exact=True)).to_have_value("select 'in the history' as x")


def test_a_query_ends_when_it_is_cancelled(analyst: Visitor) -> None:
    with analyst.page("/sql") as page:
        run(page, SLOW)
        said(page, "Running")
        began_s = time.monotonic()
        page.get_by_role("button", name="Cancel").click()
        said(page, "Cancelled")
        assert time.monotonic() - began_s < 10
        run(page, "select 'free again' as x")
        said(page, "1 row")


def test_a_hundred_thousand_rows_scroll(analyst: Visitor) -> None:
    with analyst.page("/sql") as page:
        run(page, "select i as n, i * 2 as twice, 'row ' || i as name from range(100000) as r(i) order by i")
        said(page, "100,000 rows")
        grid = page.locator(".result-grid")
        expect(grid).to_contain_text("row 0")
        assert page.locator(".result-grid tr").count() < 100, "only what is in sight is in the page"
        grid.evaluate("box => { box.scrollTop = box.scrollHeight; }")
        expect(grid).to_contain_text("row 99999")
        grid.evaluate("box => { box.scrollTop = box.scrollHeight / 2; }")
        expect(grid).to_contain_text("row 50000")


def test_downloads(analyst: Visitor, tmp_path: Path) -> None:
    with analyst.page("/sql") as page:
        write(page, "select i from range(150000) as r(i)")
        with page.expect_download() as got:
            page.get_by_role("button", name="CSV").click()
        got.value.save_as(tmp_path / "rows.csv")
        assert len((tmp_path / "rows.csv").read_text().splitlines()) == 150_001


def test_names_of_tables_are_put_in(analyst: Visitor) -> None:
    with analyst.page("/sql") as page:
        write(page, "select * from ")
        page.get_by_label("Filter tables").fill("visi")
        expect(page.locator(".side").get_by_text("shop.orders")).to_be_hidden()
        page.get_by_role("button", name="shop.visits", exact=True).click()
        expect(page.get_by_label("SQL", exact=True)).to_have_value("select * from shop.visits")
        page.get_by_role("button", name="Columns of shop.visits").click()
        expect(page.locator(".side .column").get_by_text("page")).to_be_visible()
