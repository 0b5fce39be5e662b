"""Every page, in light and dark, on a desktop and a phone: nothing goes wrong, moves, or is hard to read."""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from tests.serve.browser.watching import DESKTOP, PHONE, Visitor, rest, settled

PAGES = {
    "home": "/", "list": "/dashboards", "list, nothing found": "/dashboards?q=zzz", "every kind": "/d/every",
    "broken": "/d/broken", "asks": "/d/asks", "sql": "/sql", "catalogue": "/catalogue",
    "table": "/catalogue/shop.orders", "edit": "/edit/broken", "new": "/edit/another",
    "upload": "/upload",
}  # fmt: skip
REFUSALS = {"no board": ("/d/zzz", 404), "no page": ("/zzz", 404), "a wrong choice": ("/d/every?region=Nort", 400),
            "another's board": ("/d/secret", 403)}  # fmt: skip


def hard_to_use(page: Page) -> list[str]:
    """What axe finds that is serious or worse."""
    found: dict[str, Any] = Axe().run(page).response
    return [
        f"{each['id']}: {node['html'][:160]} {node.get('failureSummary', '')[:300]}"
        for each in found["violations"] if each["impact"] in {"serious", "critical"}
        for node in each["nodes"][:3]
    ]  # fmt: skip


def check(visitor: Visitor, page: Page) -> None:
    """In both sizes and themes."""
    wrong = []
    for size in (DESKTOP, PHONE):
        page.set_viewport_size(size)
        page.emulate_media(color_scheme="light")
        page.reload()
        settled(page)
        for theme in ("light", "dark"):
            page.emulate_media(color_scheme=theme)
            wrong += [f"{size['width']} {theme}: {each}" for each in hard_to_use(page)]
        sizes = rest(page)
        if sizes["wide"] > sizes["window"]:
            wrong.append(f"{size['width']}: it is {sizes['wide']} wide")
        if round(sizes["shift"], 3):
            wrong.append(f"{size['width']}: it moved by {sizes['shift']:.4f}: {sizes['moved'][:6]}")
    wrong += visitor.found(page)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", PAGES.values(), ids=list(PAGES))
def test_it_is_sound(analyst: Visitor, path: str) -> None:
    with analyst.page(path) as page:
        check(analyst, page)


@pytest.mark.parametrize(("path", "status"), REFUSALS.values(), ids=list(REFUSALS))
def test_a_refusal_is_a_page_too(viewer: Visitor, path: str, status: int) -> None:
    page = viewer.context.new_page()
    answer = page.goto(viewer.company.address + path)
    assert answer is not None
    assert answer.status == status
    viewer.troubles.clear()  # a browser says of itself that the answer was no 200
    wrong = [f"{theme}: {each}" for theme in ("light", "dark") if not page.emulate_media(color_scheme=theme)  # type: ignore[func-returns-value]
             for each in hard_to_use(page)]  # fmt: skip
    page.set_viewport_size(PHONE)
    sizes = rest(page)
    assert sizes["wide"] <= sizes["window"]
    assert wrong + viewer.found(page) == []
    page.close()


def test_signing_in_is_sound(analyst: Visitor) -> None:
    company = analyst.company
    context = analyst.browser.new_context()
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.goto(f"{company.address}/d/plain")
    assert "/sign-in?next=" in page.url
    wrong = hard_to_use(page)
    page.goto(company.link("new@example.com", "viewer"))
    wrong += hard_to_use(page)
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size(PHONE)
    wrong += hard_to_use(page)
    sizes = page.evaluate("({wide: document.documentElement.scrollWidth, window: innerWidth})")
    assert sizes["wide"] <= sizes["window"]
    page.get_by_role("button", name="Continue").click()
    page.wait_for_url(f"{company.address}/")
    assert wrong + said == []
    page.go_back()
    assert page.goto(f"{company.address}/sign-in/link?token=used") is not None
    assert page.get_by_text("This link no longer works").is_visible()
    context.close()
