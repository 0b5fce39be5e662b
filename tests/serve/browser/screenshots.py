"""Pictures of every page in light, dark and on a phone: `make screenshots`.

They are of the tests' company; or of any project that runs, by a link that signs in: `--link URL`, such as
`make demo` prints.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO
from urllib.parse import urlsplit

import click
from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright

from tests.sdk.installed import browser as installed
from tests.serve.browser.company import running
from tests.serve.browser.test_upload_page import drop
from tests.serve.browser.watching import DESKTOP, FLAGS, PATIENCE_MS, PHONE, settled, until

expect.set_options(timeout=PATIENCE_MS)
_ORDERS = b"Order ID,Placed at,Customer,Amount,Paid,Coupon\n" + b"".join(
    b"%d,2026-11-%02dT10:0%d:00Z,Customer %d,%d.%d5,%s,%s\n"
    % (1000 + n, 1 + n % 28, n % 9, n * 7 % 90, n * 3 + 4, n % 9, (b"true", b"false")[n % 2], (b"", b"AUTUMN")[n % 2])
    for n in range(1_200)
)
LOOKS = (("light", "light", DESKTOP, 1), ("dark", "dark", DESKTOP, 1), ("phone", "light", PHONE, 2))
PAGES = ("/", "/dashboards", "/sql", "/catalogue", "/upload", "/account", "/people", "/zzz")
SQL = """\
-- Orders by week and channel
select date_trunc('week', o.placed)::date as week, o.channel, count(*) as orders, round(sum(o.amount), 2) as paid
from shop.orders as o
group by all
order by week, channel"""
_ALIAS = re.compile(r"(?:from\s+\S+|\))\s+as\s+(\w+)\s*$", re.MULTILINE)


@click.command()
@click.option("--link", help="Signs in to the project to take; the tests' company where none is given.")
@click.option("--sql", type=click.File(), help="What the SQL editor runs.")
@click.option("--tables", help="Pages of the catalogue to take, with commas between them; some where none is named.")
@click.argument("folder", type=click.Path(path_type=Path), default=Path("build/screenshots"))
def main(link: str | None, sql: TextIO | None, tables: str | None, folder: Path) -> None:
    """Take every page into FOLDER."""
    folder.mkdir(parents=True, exist_ok=True)
    text = SQL if sql is None else sql.read().strip()
    with _link(link) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=installed(), args=FLAGS)
        for file in _taken(browser, url, folder, text, tables.split(",") if tables else []):
            click.echo(file)
        browser.close()


@contextlib.contextmanager
def _link(given: str | None) -> Iterator[str]:
    if given:
        yield given
        return
    with tempfile.TemporaryDirectory() as folder, running(Path(folder) / "shop") as company:
        yield company.link("ada@example.com", "admin", "Ada Byron")


def _taken(browser: Browser, link: str, folder: Path, sql: str, tables: list[str]) -> Iterator[Path]:
    address = "{0.scheme}://{0.netloc}".format(urlsplit(link))
    signed_in = folder / ".signed-in.json"
    for look, theme, size, scale in LOOKS:
        context = browser.new_context(
            viewport=size,
            color_scheme=theme,  # type: ignore[arg-type]
            device_scale_factor=scale,
            reduced_motion="reduce",
            storage_state=signed_in if signed_in.exists() else None,
        )
        context.set_default_timeout(4 * PATIENCE_MS)
        page = context.new_page()
        if not signed_in.exists():
            page.goto(link)
            page.screenshot(path=folder / "welcome.png")
            page.get_by_role("button", name="Continue").click()
            page.wait_for_url(f"{address}/")
            context.storage_state(path=signed_in)
        boards = _links(page, f"{address}/dashboards")
        shown = [f"/catalogue/{table}" for table in tables] or _links(page, f"{address}/catalogue")[:2]
        edits = [board.replace("/d/", "/edit/", 1) for board in boards[:2]]
        for path in (*PAGES, *boards, *shown, *edits):
            page.set_viewport_size(size)
            page.goto(address + path)
            _ready(page, path, sql)
            yield _picture(page, folder / f"{path.strip('/').replace('/', '-') or 'home'}-{look}.png", size)
        page.set_viewport_size(size)
        page.goto(f"{address}/upload")
        drop(page, "Orders of November.csv", _ORDERS)
        page.locator(".first-rows tbody tr").nth(9).wait_for()
        settled(page)
        yield _picture(page, folder / f"upload-looked-at-{look}.png", size)
        stranger = browser.new_page(viewport=size, color_scheme=theme, device_scale_factor=scale)  # type: ignore[arg-type]
        stranger.goto(f"{address}/sign-in")
        yield _picture(stranger, folder / f"sign-in-{look}.png", size)
        stranger.close()
        context.close()
    signed_in.unlink()


def _links(page: Page, address: str) -> list[str]:
    """Where the rows of a list lead."""
    page.goto(address)
    return list(page.locator("tbody td a").evaluate_all("links => links.map((link) => link.getAttribute('href'))"))


def _ready(page: Page, path: str, sql: str) -> None:
    """Wait for all that the page shows; the SQL editor has run a query, and offers names."""
    if path.startswith("/edit/"):
        until(
            page,
            "((bodies) => bodies.length && bodies.every((body) => body.childElementCount))"
            "([...document.querySelectorAll('.preview .tile .body')])",
        )
    settled(page)
    if path == "/sql":
        area = page.get_by_label("SQL", exact=True)
        area.fill(sql)
        page.keyboard.press("Control+Enter")
        expect(page.locator(".outcome")).to_contain_text("row")
        page.locator("#chart-kind").select_option("bar")
        settled(page)
        area.press("Control+End")
        area.press_sequentially(f", {_ALIAS.findall(sql)[-1]}.")
        expect(page.locator(".complete li").first).to_be_visible()


def _picture(page: Page, file: Path, size: ViewportSize) -> Path:
    """The whole page, in a window as high: what is fixed to its foot stands there. An editor fills any window."""
    height: int = 0 if page.locator(".full").count() else page.evaluate("document.documentElement.scrollHeight")
    if height > size["height"]:
        page.set_viewport_size({"width": size["width"], "height": height})
        settled(page)
    page.screenshot(path=file)
    return file


if __name__ == "__main__":
    main()
