"""A headless Chromium whose every page is watched: what it says, asks for, refuses and moves."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from playwright.sync_api import Browser, ConsoleMessage, Page, Request, ViewportSize, sync_playwright

from catchment.state.users import Role
from tests.sdk.installed import browser as installed
from tests.serve.browser.company import Company

PATIENCE_MS = 30_000
DESKTOP, PHONE = ViewportSize(width=1440, height=900), ViewportSize(width=390, height=844)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]
_WATCH = """
window.__shift = 0; window.__moved = []; window.__csp = [];
document.addEventListener("securitypolicyviolation", (event) => {
  __csp.push(`${event.violatedDirective} ${event.blockedURI}`);
});
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) {
    __shift += entry.value;
    __moved.push(...entry.sources.map((each) => each.node?.className || each.node?.nodeName));
  }
}).observe({ type: "layout-shift", buffered: true });
"""


@contextlib.contextmanager
def chromium(without: Callable[[str], NoReturn]) -> Iterator[Browser]:
    """The one that is installed."""
    del without
    program = installed()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


class Visitor:
    """Somebody signed in. `page` opens pages, and `troubles` tells what has gone wrong in them since."""

    def __init__(self, browser: Browser, company: Company, email: str, role: Role, name: str) -> None:
        self.browser, self.company = browser, company
        self.context = browser.new_context(
            viewport=DESKTOP,
            accept_downloads=True,
            reduced_motion="reduce",
            permissions=["clipboard-read", "clipboard-write"],
        )
        self.context.set_default_timeout(PATIENCE_MS)
        self.context.add_init_script(_WATCH)
        self.troubles: list[str] = []
        self.context.on("console", self._said)
        self.context.on("weberror", lambda error: self.troubles.append(f"page error: {error.error}"))
        self.context.on("request", self._asked)
        page = self.context.new_page()
        page.goto(company.link(email, role, name))
        page.get_by_role("button", name="Continue").click()
        page.wait_for_url(f"{company.address}/")
        page.close()
        self.troubles.clear()

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.troubles.append(f"{message.type}: {message.text} {message.location.get('url', '')}")

    def _asked(self, request: Request) -> None:
        if not request.url.startswith((self.company.address, "data:", "blob:", "about:")):
            self.troubles.append(f"asked for {request.url}")

    @contextlib.contextmanager
    def page(self, path: str, *, quiet: bool = True) -> Iterator[Page]:
        """A page, settled. Whatever goes wrong in it while it is open fails the test."""
        page = self.context.new_page()
        self.troubles.clear()
        try:
            self.go(page, path)
            yield page
            if quiet:
                found = self.found(page)
                assert not found, found
        finally:
            page.close()

    def go(self, page: Page, path: str) -> None:
        """Open an address, and wait until all is there."""
        page.goto(self.company.address + path)
        settled(page)

    def found(self, page: Page) -> list[str]:
        """All that went wrong in a page."""
        wrong = [*self.troubles, *(f"CSP: {each}" for each in page.evaluate("window.__csp"))]
        if page.evaluate("window.__ran !== undefined"):
            wrong.append("a text of the data ran as a script")
        if page.locator('img[src="x"], .tile script, .tile iframe').count():
            wrong.append("a text of the data became an element")
        return wrong


def until(page: Page, holds: str) -> None:
    """Wait for an expression. Playwright's own way to wait is one that the pages' policy forbids: it calls `eval`."""
    give_up_s = time.monotonic() + PATIENCE_MS / 1000
    while not page.evaluate(holds):
        assert time.monotonic() < give_up_s, f"waited in vain for {holds}"
        page.wait_for_timeout(20)


def settled(page: Page) -> None:
    """Wait until no tile waits, and what is drawn is drawn."""
    page.wait_for_load_state("load")
    until(
        page,
        "!document.querySelector('[aria-busy]') && !document.querySelector('#stream script.payload') &&"
        " [...document.querySelectorAll('.tile .plot[role=img]')].every((plot) => plot.querySelector('canvas'))",
    )


def rest(page: Page) -> dict[str, Any]:
    """The sizes that tell whether a page is wider than its window."""
    sizes: dict[str, Any] = page.evaluate(
        "({wide: document.documentElement.scrollWidth, window: innerWidth, shift: __shift, moved: __moved})"
    )
    return sizes
