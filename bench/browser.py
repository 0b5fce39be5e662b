"""A headless Chromium that tells when the last tile of a page has its marks, and what came over the wire.

The same few lines watch everybody's page, and look whenever something has changed in it or was drawn on a canvas:
a number has its digits, a chart has been drawn on a canvas or has a trace in SVG, a table has its rows, or a canvas
that they are drawn on. What a tile showed before does not count.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from playwright.sync_api import Browser, BrowserContext, CDPSession, Page, ViewportSize, sync_playwright

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]
WINDOW = ViewportSize(width=1440, height=2400)
"""All tiles lie within it, for there are pages that draw only what is seen."""
DRAWN_WITHIN_MS = 60_000
SETTLED_MS = 500
"""What is still on its way then is counted too; so long a new page lies idle before."""

_WATCH = """
const strokes = new WeakMap();
let look = () => {}, isDue = false;
const later = () => {
  if (isDue) return;
  isDue = true;
  setTimeout(() => { isDue = false; look(); });
};
new MutationObserver(later).observe(document, { subtree: true, childList: true, characterData: true });
for (const name of ["fill", "stroke", "fillRect", "fillText", "drawImage"]) {
  const draws = CanvasRenderingContext2D.prototype[name];
  CanvasRenderingContext2D.prototype[name] = function (...given) {
    strokes.set(this.canvas, (strokes.get(this.canvas) ?? 0) + 1);
    later();
    return draws.apply(this, given);
  };
}
let old = new WeakSet();
const every = (tile, what) => [...tile.querySelectorAll(what)].filter((at) => !old.has(at));
const any = (tile, what, holds = () => true) => every(tile, what).some(holds);
const onCanvas = (tile) => any(tile, "canvas", (at) => (strokes.get(at) ?? 0) >= 5);
const isDrawn = {
  number: (tile, part) => any(tile, part, (at) => /[0-9]/.test(at.textContent)),
  chart: (tile) => onCanvas(tile) || any(tile, "svg .trace path, svg .hm image, svg .role-mark path"),
  table: (tile) => onCanvas(tile) || every(tile, "tbody tr").length >= 25,
};
window.__drawn = (kinds, tiles, number, within) => new Promise((resolve, reject) => {
  const missing = () => {
    const found = [...document.querySelectorAll(tiles)];
    return kinds.map((_, at) => at).filter((at) => !found[at] || !isDrawn[kinds[at]](found[at], number));
  };
  const late = setTimeout(() => reject(new Error(`not drawn in time: tiles ${missing()} of ${kinds.length}`)), within);
  look = () => {
    if (missing().length) return;
    look = () => {};
    clearTimeout(late);
    resolve(performance.now());
  };
  look();
});
window.__forget = (tiles) => {
  for (const tile of document.querySelectorAll(tiles)) for (const each of tile.querySelectorAll("*")) old.add(each);
};
"""


@dataclass(frozen=True, slots=True)
class Tiles:
    """Where a page has its tiles: selectors of all in order, and of what holds a number within one."""

    every: str
    number: str
    kinds: tuple[str, ...]
    """Of each: number, chart or table."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A page, once: milliseconds from the navigation on, and bytes as they came."""

    ms: float
    bytes: int


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """The one that is installed. Raises `RuntimeError` for none."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        raise RuntimeError("this bench needs Chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def visitor(browser: Browser, address: str = "", cookie: tuple[str, str] | None = None) -> Iterator[BrowserContext]:
    """Somebody who has never been here: nothing is cached. The cookie is for `address`."""
    context = browser.new_context(viewport=WINDOW)
    try:
        context.set_default_timeout(DRAWN_WITHIN_MS)
        context.add_init_script(f"{{{_WATCH}}}")
        if cookie is not None:
            context.add_cookies([{"name": cookie[0], "value": cookie[1], "url": address}])
        yield context
    finally:
        context.close()


def open_page(
    context: BrowserContext, address: str, tiles: Tiles, then: Callable[[Page], None] | None = None
) -> Drawn:
    """Open an address in a new page, wait until all is drawn, and do what comes `then`."""
    page = context.new_page()
    try:
        page.wait_for_timeout(SETTLED_MS)  # the browser has begun a process for it
        wire = _Wire(context.new_cdp_session(page))
        page.goto(address, wait_until="commit")
        ms = _until_drawn(page, tiles)
        page.wait_for_timeout(SETTLED_MS)
        received = wire.bytes
        if then is not None:
            then(page)
        return Drawn(ms, received)
    finally:
        page.close()


def choose_again(page: Page, address: str, tiles: Tiles) -> float:
    """Milliseconds from another choice on our page until all tiles are drawn anew. It goes the way of every choice:
    the event that clicks on marks send."""
    page.evaluate("__forget", tiles.every)
    began_ms: float = page.evaluate(
        "(address) => { const now = performance.now();"
        " dispatchEvent(new CustomEvent('wanted', { detail: address })); return now; }",
        address,
    )
    return _until_drawn(page, tiles) - began_ms


def _until_drawn(page: Page, tiles: Tiles) -> float:
    ms: float = page.evaluate(
        "(given) => __drawn(...given)", [list(tiles.kinds), tiles.every, tiles.number, DRAWN_WITHIN_MS]
    )
    return ms


class _Wire:
    """Bytes that a page receives: answers as they came, packed, with their headers, and messages of websockets."""

    def __init__(self, session: CDPSession) -> None:
        self.bytes = 0
        session.on("Network.loadingFinished", self._loaded)
        session.on("Network.webSocketFrameReceived", self._said)
        session.send("Network.enable")

    def _loaded(self, event: dict[str, Any]) -> None:
        self.bytes += int(event["encodedDataLength"])

    def _said(self, event: dict[str, Any]) -> None:
        frame = event["response"]
        text: str = frame["payloadData"]
        # Text as it is, anything else in base64.
        self.bytes += len(text.encode()) if frame["opcode"] == 1 else len(text) * 3 // 4
