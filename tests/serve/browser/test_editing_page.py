"""A dashboard changed in the browser."""

from __future__ import annotations

import re

from playwright.sync_api import Locator, Page, expect

from tests.serve.browser.company import EVIL
from tests.serve.browser.watching import PATIENCE_MS, Visitor

expect.set_options(timeout=PATIENCE_MS)


def text(page: Page) -> Locator:
    return page.get_by_label("The dashboard's text")


def change(page: Page, before: str, after: str) -> None:
    """Some words, and wait until the draft is kept."""
    whole = text(page).input_value()
    assert before in whole
    with page.expect_response("**/draft"):
        text(page).fill(whole.replace(before, after))


def save(page: Page) -> None:
    page.get_by_role("button", name="Save").click()


def test_errors_stand_at_their_lines_beside_what_works(analyst: Visitor) -> None:
    with analyst.page("/edit/broken") as page:
        expect(page.locator("#tile-well .big")).to_have_text("420")
        expect(page.locator(".gutter .wrong")).to_have_text("13")
        expect(page.locator(".lens")).to_contain_text("chanel")
        expect(page.locator(".count")).to_have_text("1 error")
        page.locator("#tile-wrong").click()
        expect(page.locator("#tile-wrong")).to_have_class("tile w6 chart selected")
        change(page, "chanel", "channel")
        expect(page.locator(".count")).to_have_text("No errors")
        expect(page.locator("#tile-wrong canvas")).to_be_visible()
        change(page, '"Well"', f'"Well {EVIL}"')
        expect(page.locator("#tile-well h3")).to_contain_text(EVIL)
        page.reload()
        assert EVIL in text(page).input_value(), "the draft is kept"
        with page.expect_navigation():
            page.get_by_role("button", name="Discard").click()
        analyst.go(page, "/edit/broken")
        assert EVIL not in text(page).input_value()


def test_names_are_completed_within_a_fence(analyst: Visitor) -> None:
    with analyst.page("/edit/plain") as page:
        whole = text(page).input_value()
        at = whole.index("from shop.visits\n") + len("from shop.visits")
        text(page).evaluate("(area, at) => { area.focus(); area.setSelectionRange(at, at); }", at)
        page.keyboard.type(" where pag")
        expect(page.locator(".complete li").first).to_contain_text("page")
        page.keyboard.press("Enter")
        expect(text(page)).to_have_value(whole[:at] + " where page" + whole[at:])
        change(page, "title: Plain", "title: Plain 🎉🎉")
        line = '```sql table sums "Sums" '
        at = text(page).input_value().replace("🎉", "xx").index(line) + len(line)  # a browser counts an emoji as two
        text(page).evaluate("(area, at) => { area.focus(); area.setSelectionRange(at, at); }", at)
        page.keyboard.type("pa")
        expect(page.locator(".complete li").first).to_contain_text("page=")
        page.keyboard.press("Enter")
        expect(text(page)).to_have_value(re.compile(re.escape(f"\n{line}page=width=6\n")))
        with page.expect_navigation():
            page.get_by_role("button", name="Discard").click()


def test_saving_commits_as_the_one_who_saves(analyst: Visitor) -> None:
    company = analyst.company
    before = company.board("plain").read_text()
    with analyst.page("/edit/plain") as page:
        change(page, "title: Plain", "title: Plainer")
        save(page)
        expect(page.locator(".kept")).to_have_text("Saved")
        assert company.board("plain").read_text() == before.replace("title: Plain", "title: Plainer")
        assert company.git("log", "-1", "--format=%an <%ae>").strip() == "Ada <b>Byron</b> <ada@example.com>".replace(
            "<b>", "b"
        ).replace("</b>", "/b")
        assert company.git("show", "--stat", "--format=", "HEAD").count("|") == 1
        page.get_by_role("button", name="History").click()
        page.locator("dialog[open] [data-version]").last.click()
        expect(text(page)).to_have_value(before)
        save(page)
        expect(page.locator(".kept")).to_have_text("Saved")
        assert company.board("plain").read_text() == before
        assert company.git("status", "--porcelain", "dashboards").strip() == ""


def test_who_comes_second_sees_both_texts(analyst: Visitor) -> None:
    company = analyst.company
    before = company.board("asks").read_text()
    with analyst.page("/edit/asks", quiet=False) as page:
        change(page, "It asks first", "Mine")
        company.board("asks").write_text(before.replace("It asks first", "Theirs"))
        save(page)
        dialog = page.locator("dialog[open]")
        expect(dialog.get_by_label("The file now")).to_have_value(before.replace("It asks first", "Theirs"))
        expect(dialog.get_by_label("Yours")).to_have_value(before.replace("It asks first", "Mine"))
        dialog.get_by_role("button", name="Keep mine").click()
        expect(page.locator(".kept")).to_have_text("Saved")
        assert "title: Mine" in company.board("asks").read_text()
    company.board("asks").write_text(before)
    company.git("commit", "--quiet", "-m", "Back", "--", "dashboards/asks.md")


def test_a_file_changed_on_the_disk_shows_at_once(analyst: Visitor) -> None:
    board = analyst.company.board("plain")
    before = board.read_text()
    try:
        board.write_text(before.replace("title: Plain", "title: Changed on the disk"))
        with analyst.page("/d/plain") as page:
            expect(page.locator("h1")).to_have_text("Changed on the disk")
    finally:
        board.write_text(before)


def test_what_does_not_reach_the_server_is_said_and_tried_again(analyst: Visitor) -> None:
    gone = "The server cannot be reached. Is it running?"
    with analyst.page("/edit/plain", quiet=False) as page:
        whole = text(page).input_value()
        page.route("**/edit/**", lambda route: route.abort("connectionrefused"))
        text(page).fill(whole.replace("title: Plain", "title: Cut off"))
        expect(page.locator(".kept")).to_have_text(f"The draft is not kept: {gone}")
        expect(page.locator(".count")).to_have_text(f"No preview: {gone}")
        save(page)
        expect(page.locator(".kept")).to_have_text(f"Not saved: {gone}")
        page.get_by_role("button", name="History").click()
        expect(page.locator(".kept")).to_have_text(gone)
        page.get_by_role("button", name="Discard").click()
        expect(page.locator(".kept")).to_contain_text("The draft is still kept")
        text(page).fill(whole.replace("title: Plain", "title: Kept in the end"))
        expect(page.locator(".kept")).to_contain_text("The draft is not kept")
        page.unroute("**/edit/**")
        expect(page.locator(".kept")).to_contain_text("Draft kept at")
        with page.expect_navigation():
            page.get_by_role("button", name="Discard").click()


def test_a_draft_is_kept_of_a_page_that_is_left_at_once(analyst: Visitor) -> None:
    with analyst.page("/edit/plain") as page:
        text(page).fill(text(page).input_value().replace("title: Plain", "title: In a hurry"))
        page.goto(f"{analyst.company.address}/dashboards")
        analyst.go(page, "/edit/plain")
        assert "title: In a hurry" in text(page).input_value()
        with page.expect_navigation():
            page.get_by_role("button", name="Discard").click()
        analyst.go(page, "/edit/plain")
        assert "title: Plain" in text(page).input_value(), "what is discarded does not come back"
