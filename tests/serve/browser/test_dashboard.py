"""What people do on a dashboard, and what it then shows."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.serve.browser.company import EVIL, EXACT, visits
from tests.serve.browser.watching import PATIENCE_MS, Visitor, settled, until

expect.set_options(timeout=PATIENCE_MS)


def chosen(page: Page) -> dict[str, list[str]]:
    """The choices that the address holds."""
    return parse_qs(urlsplit(page.url).query, keep_blank_values=True)


def tile(page: Page, name: str) -> Locator:
    return page.locator(f"#tile-{name}")


def menu(page: Page, name: str) -> Locator:
    """A filter's menu, opened and filled."""
    found = page.locator(f'details[data-name="{name}"]')
    if found.get_attribute("open") is None:
        found.locator("summary").click()
    expect(found.locator("[data-options]")).to_have_count(0)
    return found


def act(page: Page, name: str, what: str) -> None:
    """Press a tile's button."""
    tile(page, name).hover()
    tile(page, name).locator(f'[data-do="{what}"]').click()


_FRONT = "---\ntitle: Endless\nowner: Ana\n---\n"
_SOON = '```sql number soon "Soon"\nselect 42 as n\n```\n\n'
_NEVER = """\
```sql number never "Never"
select sum(sin(a.i + b.i)) as n from range(1_000_000) a(i), range(1_000_000) b(i)
```
"""
_READ_UNTIL = """async ([path, sought]) => {
  const leaving = new AbortController();
  const reader = (await fetch(path, { signal: leaving.signal })).body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  while (!text.includes(sought)) {
    const { value, done } = await reader.read();
    if (done) break;
    text += value;
  }
  leaving.abort();
  return text;
}"""


@pytest.mark.parametrize(
    ("text", "sought"),
    [(_NEVER, 'id="tile-never"'), (_SOON + _NEVER, '"id":"soon"')],
    ids=["the page comes before any tile is answered", "tiles do not wait for each other"],
)
def test_tiles_come_one_by_one_within_the_page(analyst: Visitor, text: str, sought: str) -> None:
    board = analyst.company.board("endless")
    board.write_text(_FRONT + text)
    try:
        with analyst.page("/account") as page:
            came = page.evaluate(_READ_UNTIL, ["/d/endless", sought])
    finally:
        board.unlink()
    assert sought in came
    assert '"id":"never"' not in came


def test_choices_are_in_the_address_and_back_undoes_them(analyst: Visitor) -> None:
    with analyst.page("/d/every") as page:
        everything = tile(page, "orders").locator(".big").inner_text()
        menu(page, "region").get_by_text("South").click()
        settled(page)
        assert chosen(page) == {"region": ["South"]}
        assert tile(page, "orders").locator(".big").inner_text() != everything
        expect(page.locator('details[data-name="region"] summary b')).to_have_text("South")
        menu(page, "period").get_by_text("Last 7 days").click()
        settled(page)
        assert chosen(page) == {"region": ["South"], "period": ["last 7 days"]}
        page.go_back()
        settled(page)
        assert chosen(page) == {"region": ["South"]}
        page.go_back()
        settled(page)
        assert chosen(page) == {}
        expect(tile(page, "orders").locator(".big")).to_have_text(everything)
        expect(page.locator('details[data-name="region"] summary b')).to_have_text("All")


def test_many_are_chosen_from_one_open_menu(analyst: Visitor) -> None:
    with analyst.page("/d/every") as page:
        cities = menu(page, "city")
        cities.get_by_role("checkbox", name="Oslo").click()
        settled(page)
        cities = menu(page, "city")
        expect(cities).to_have_attribute("open", "")
        expect(cities.get_by_role("checkbox", name="Oslo")).to_be_checked()
        cities.get_by_role("checkbox", name=EVIL).click()
        settled(page)
        assert sorted(chosen(page)["city"]) == sorted(["Oslo", EVIL])
        menu(page, "city").get_by_role("checkbox", name="Oslo").click()
        settled(page)
        assert chosen(page)["city"] == [EVIL]
        page.keyboard.press("Escape")
        expect(page.locator("details[open]")).to_have_count(0)


def test_what_a_parent_makes_impossible_is_dropped_and_said(analyst: Visitor) -> None:
    with analyst.page("/d/every?region=North&city=Oslo") as page:
        menu(page, "region").get_by_text("South").click()
        settled(page)
        expect(page.locator("#said")).to_be_visible()
        expect(page.locator("#said")).to_contain_text("Oslo")
        expect(page.locator('details[data-name="city"] summary b')).to_have_text("All")


def test_days_a_grain_a_range_and_words_of_ones_own(analyst: Visitor) -> None:
    with analyst.page("/d/every") as page:
        menu(page, "period").get_by_text("Week", exact=True).click()
        settled(page)
        assert any(values == ["week"] for values in chosen(page).values())
        days = menu(page, "period")
        days.get_by_label("First day").fill("2026-01-05")
        days.get_by_label("Last day").fill("2026-01-09")
        days.get_by_role("button", name="Show these days").click()
        settled(page)
        assert chosen(page)["period"] == ["2026-01-05..2026-01-09"]
        expect(tile(page, "days").locator(".message")).to_contain_text("No rows")
        analyst.go(page, "/d/every")
        amount = menu(page, "amount")
        amount.get_by_label("From").fill("20")
        amount.get_by_role("button", name="Apply").click()
        settled(page)
        assert chosen(page)["amount"] == ["20.."]
        words = menu(page, "words")
        words.get_by_role("textbox").fill("50%_\\")
        words.get_by_role("button", name="Search").click()
        settled(page)
        assert chosen(page)["words"] == ["50%_\\"]
        assert 0 < int(tile(page, "orders").locator(".big").inner_text()) < 40


def test_t_turns_a_chart_into_its_rows_and_back(analyst: Visitor) -> None:
    with analyst.page("/d/every") as page:
        tile(page, "channels").locator(".plot").focus()
        page.keyboard.press("t")
        expect(tile(page, "channels").locator("tbody tr").first).to_be_visible()
        expect(tile(page, "channels").locator('[data-do="table"]')).to_have_attribute("aria-pressed", "true")
        tile(page, "channels").locator(".scroll").focus()
        page.keyboard.press("t")
        expect(tile(page, "channels").locator("canvas")).to_be_visible()


def test_details_say_what_ran(analyst: Visitor) -> None:
    with analyst.page("/d/every?region=South") as page:
        act(page, "channels", "details")
        dialog = page.locator("dialog[open]")
        expect(dialog.locator("pre")).to_contain_text("from shop.orders")
        expect(dialog).to_contain_text("South")
        expect(dialog).to_contain_text(re.compile(r"\d+ ms"))
        expect(dialog).to_contain_text("Europe/London")
        page.keyboard.press("Escape")
        expect(page.locator("dialog[open]")).to_have_count(0)


def test_full_screen_and_back(analyst: Visitor) -> None:
    with analyst.page("/d/every") as page:
        plot = tile(page, "days").locator(".plot")
        before = plot.bounding_box()
        act(page, "days", "full")
        expect(page.locator("dialog[open] canvas")).to_be_visible()
        until(page, "document.querySelector('dialog[open] canvas').clientWidth > 800")
        page.keyboard.press("Escape")
        expect(page.locator("dialog[open]")).to_have_count(0)
        until(page, "document.querySelector('#tile-days canvas').clientWidth < 800")
        assert plot.bounding_box() == before


def test_downloads_are_whole(analyst: Visitor, tmp_path: Path) -> None:
    import duckdb

    with analyst.page("/d/every?period=all") as page:
        tile(page, "rows").hover()
        with page.expect_download() as got:
            tile(page, "rows").locator("[data-download]").click()
        got.value.save_as(tmp_path / "rows.csv")
        text = (tmp_path / "rows.csv").read_text()
        assert text.count("o-") == 420
        assert str(EXACT) in text
        assert "1.234567891" in text
        act(page, "channels", "details")
        with page.expect_download() as got:
            page.locator("dialog[open]").get_by_role("link", name="Parquet").click()
        got.value.save_as(tmp_path / "rows.parquet")
        found = duckdb.execute("select sum(orders) from read_parquet($1)", [str(tmp_path / "rows.parquet")]).fetchone()
        assert found == (420,)
        with page.expect_download() as got:
            page.locator("dialog[open]").get_by_role("button", name="PNG").click()
        got.value.save_as(tmp_path / "chart.png")
        assert (tmp_path / "chart.png").read_bytes()[:4] == b"\x89PNG"


def test_texts_of_the_data_stay_texts(analyst: Visitor) -> None:
    with analyst.page("/d/every?period=all") as page:
        expect(page.locator("h1")).to_have_text("Every kind <b>bold</b>")
        rows = tile(page, "rows")
        expect(rows.locator("h3")).to_contain_text("The latest <u>orders</u>")
        expect(rows.locator("thead")).to_contain_text("<img src=x onerror=window.")
        expect(rows.locator("tbody")).to_contain_text(EVIL)
        expect(rows.locator("tbody")).to_contain_text(f"{EXACT:,}")
        expect(rows.locator("tbody")).to_contain_text("1.234567891")
        for _ in range(3):
            rows.get_by_role("button", name="Next").click()
            expect(rows.locator("tbody")).to_contain_text("o-")
        hrefs = rows.locator("tbody a").evaluate_all("links => links.map((link) => link.protocol)")
        assert set(hrefs) <= {"http:", "https:"}
        tile(page, "lying").locator(".plot").focus()
        page.keyboard.press("t")
        expect(tile(page, "lying").locator("tbody")).to_contain_text("<i>odd</i>")


def test_the_pointer_shows_values_and_a_click_chooses(analyst: Visitor) -> None:
    with analyst.page("/d/every") as page:
        plot = tile(page, "channels").locator(".plot")
        box = plot.bounding_box()
        assert box
        plot.hover(position={"x": box["width"] / 2, "y": box["height"] / 2})
        expect(page.locator(".tooltip")).to_be_visible()
        expect(page.locator(".tooltip")).to_contain_text("App")
        for name in ("hours", "spread", "standing", "lying"):
            tile(page, name).locator(".plot").hover()
        tile(page, "lying").locator(".plot").click(position={"x": 60, "y": 12})
        settled(page)
        assert chosen(page) == {"region": ["North"]}
        tile(page, "lying").locator(".plot").click(position={"x": 60, "y": 12})
        settled(page)
        assert chosen(page) == {}


def test_new_data_shows_and_nothing_new_is_not_sent(analyst: Visitor) -> None:
    with analyst.page("/d/plain") as page:
        page.clock.install()
        analyst.go(page, "/d/plain")
        before = int(tile(page, "rows").locator(".big").inner_text())

        def after_a_while() -> int:
            with page.expect_response("**/tiles*") as answered:
                page.clock.run_for(11_000)
            settled(page)
            return answered.value.status

        expect(page.locator(".foot")).to_contain_text(re.compile(r"As of \d\d:\d\d, London"))
        page.evaluate("document.querySelector('.foot time').textContent = 'long ago'")
        assert after_a_while() == 304
        expect(page.locator(".foot time")).to_have_text(re.compile(r"^\d\d:\d\d$"))
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.evaluate("Object.defineProperty(document, 'hidden', {value: true, configurable: true})")
        page.clock.run_for(60_000)
        assert asked == [], "a hidden page asks for nothing"
        analyst.company.send("shop.visits", visits(3, f"/new-{before}"))
        page.evaluate("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
        expect(tile(page, "rows").locator(".big")).to_have_text(str(before + 3))


def test_a_broken_tile_says_why_to_those_who_can_mend_it(analyst: Visitor, viewer: Visitor) -> None:
    with analyst.page("/d/broken") as page:
        expect(tile(page, "wrong")).to_contain_text("chanel")
        expect(tile(page, "wrong")).to_contain_text("line 13")
        expect(tile(page, "well").locator(".big")).to_have_text("420")
    with viewer.page("/d/broken") as page:
        expect(tile(page, "wrong")).to_contain_text("Ask Ben Okafor")
        expect(tile(page, "wrong")).not_to_contain_text("chanel")
        expect(tile(page, "well").locator(".big")).to_have_text("420")


def test_an_empty_tile_offers_to_clear_what_is_chosen(analyst: Visitor) -> None:
    with analyst.page("/d/broken?city=Oslo") as page:
        expect(tile(page, "none")).to_contain_text("No rows")
        expect(tile(page, "none")).to_contain_text("Oslo")
        tile(page, "none").get_by_role("link", name="Clear").click()
        settled(page)
        expect(page.locator('details[data-name="city"] summary b')).to_have_text("All")
        assert urlsplit(page.url).path == "/d/broken"


def test_tiles_wait_for_what_is_required(analyst: Visitor) -> None:
    with analyst.page("/d/asks") as page:
        expect(tile(page, "cities")).to_contain_text("Choose Region")
        menu(page, "region").get_by_text("North").click()
        settled(page)
        expect(tile(page, "cities").locator("canvas")).to_be_visible()


def test_a_slow_tile_keeps_its_marks_and_can_be_cancelled(analyst: Visitor) -> None:
    with analyst.page("/d/every") as page:
        waits: list[Route] = []
        page.route("**/tiles?*", lambda route: waits.append(route))  # noqa: PLW0108
        menu(page, "region").get_by_text("South").click()
        expect(tile(page, "days").locator(".slow")).to_be_visible()
        expect(tile(page, "days").locator("canvas")).to_be_visible()
        tile(page, "days").get_by_role("button", name="Cancel").click()
        expect(page.locator(".slow")).to_have_count(0)
        for route in waits:
            route.abort()
        analyst.troubles.clear()  # the request that was cancelled


def test_search_by_keyboard(analyst: Visitor) -> None:
    with analyst.page("/dashboards") as page:
        page.keyboard.press("/")
        expect(page.locator("#finder")).to_be_visible()
        page.keyboard.type("pla")
        expect(page.locator("#finder .choice").first).to_contain_text("Plain")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        page.wait_for_url("**/d/plain")
        settled(page)
        page.locator(".find").click()
        page.keyboard.type(EVIL)
        expect(page.locator("#finder .choices")).to_contain_text(EVIL)


def test_the_theme_is_chosen_and_stays(analyst: Visitor) -> None:
    with analyst.page("/d/plain") as page:
        page.locator(".avatar").click()
        expect(page.get_by_text("ada@example.com")).to_be_visible()
        page.get_by_role("button", name="Dark").click()
        expect(page.locator("html")).to_have_attribute("data-theme", "dark")
        analyst.go(page, "/dashboards")
        assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(20, 23, 27)"
        page.locator(".avatar").click()
        page.get_by_role("button", name="As the system").click()
        analyst.go(page, "/dashboards")
        assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(250, 249, 246)"


def test_favourites_come_first(analyst: Visitor, viewer: Visitor) -> None:
    def titles(page: Page) -> list[str]:
        return page.locator("tbody tr a").all_inner_texts()

    with analyst.page("/dashboards") as page:
        assert titles(page)[-1] != "Every kind <b>bold</b>"
        page.get_by_role("button", name="Favourite Plain").click()
        expect(page.get_by_role("button", name="Favourite Plain")).to_have_attribute("aria-pressed", "true")
        analyst.go(page, "/dashboards")
        assert titles(page)[0] == "Plain"
    with viewer.page("/dashboards") as page:
        assert titles(page)[0] != "Plain"
        assert "For finance" not in titles(page)
    with analyst.page("/dashboards") as page:
        page.get_by_role("button", name="Favourite Plain").click()
        expect(page.get_by_role("button", name="Favourite Plain")).to_have_attribute("aria-pressed", "false")
        analyst.go(page, "/dashboards")
        assert titles(page)[0] != "Plain"


@pytest.mark.parametrize("size", [(390, 844)])
def test_on_a_phone_filters_fold_and_places_lie_below(analyst: Visitor, size: tuple[int, int]) -> None:
    with analyst.page("/d/every?region=South") as page:
        page.set_viewport_size({"width": size[0], "height": size[1]})
        expect(page.locator(".fold")).to_contain_text("South")
        expect(page.locator(".filters")).to_be_hidden()
        page.locator(".fold").click()
        menu(page, "region").get_by_text("North").click()
        settled(page)
        expect(page.locator(".fold")).to_contain_text("North")
        page.locator(".tabbar").get_by_text("Dashboards").click()
        page.wait_for_url("**/dashboards")
