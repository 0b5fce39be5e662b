"""Pictures of every page in light, dark and on a phone: `make screenshots`.

They are of the tests' company; or of any project that runs, by a link that signs in: `--link URL`, such as
`make demo` prints.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import click
from playwright.sync_api import Browser, sync_playwright

from tests.sdk.installed import browser as installed
from tests.serve.browser.company import running
from tests.serve.browser.watching import DESKTOP, FLAGS, PATIENCE_MS, PHONE, settled

LOOKS = (("light", "light", DESKTOP, 1), ("dark", "dark", DESKTOP, 1), ("phone", "light", PHONE, 2))


@click.command()
@click.option("--link", help="Signs in to the project to take; the tests' company where none is given.")
@click.argument("folder", type=click.Path(path_type=Path), default=Path("build/screenshots"))
def main(link: str | None, folder: Path) -> None:
    """Take every page into FOLDER."""
    folder.mkdir(parents=True, exist_ok=True)
    with _link(link) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=installed(), args=FLAGS)
        for file in _taken(browser, url, folder):
            click.echo(file)
        browser.close()


@contextlib.contextmanager
def _link(given: str | None) -> Iterator[str]:
    if given:
        yield given
        return
    with tempfile.TemporaryDirectory() as folder, running(Path(folder) / "shop") as company:
        yield company.link("ada@example.com", "admin", "Ada Byron")


def _taken(browser: Browser, link: str, folder: Path) -> Iterator[Path]:
    address = "{0.scheme}://{0.netloc}".format(urlsplit(link))
    for look, theme, size, scale in LOOKS:
        context = browser.new_context(
            viewport=size,
            color_scheme=theme,  # type: ignore[arg-type]
            device_scale_factor=scale,
            reduced_motion="reduce",
            storage_state=None if look == "light" else folder / ".signed-in.json",
        )
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        if look == "light":
            page.goto(link)
            page.screenshot(path=folder / "welcome.png")
            page.get_by_role("button", name="Continue").click()
            page.wait_for_url(f"{address}/")
            context.storage_state(path=folder / ".signed-in.json")
        page.goto(f"{address}/dashboards")
        boards = page.locator("tbody td a").evaluate_all("links => links.map((link) => link.getAttribute('href'))")
        page.goto(f"{address}/catalogue")
        tables = page.locator("tbody td a").evaluate_all("links => links.map((link) => link.getAttribute('href'))")
        edits = [board.replace("/d/", "/edit/", 1) for board in boards[:2]]
        for path in ("/", "/dashboards", *boards, "/sql", "/catalogue", *tables[:2], *edits, "/zzz"):
            page.goto(address + path)
            settled(page)
            name = path.strip("/").replace("/", "-") or "home"
            file = folder / f"{name}-{look}.png"
            page.screenshot(path=file, full_page=True)
            yield file
        context.close()


if __name__ == "__main__":
    main()
