"""A dashboard of nine uncached queries over 5M rows until all is drawn, beside NiceGUI, Dash and Streamlit."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

from bench import environments, orders, pages
from bench.browser import Drawn, Tiles, choose_again, chromium, open_page, visitor
from bench.collect import free_port, started
from bench.measure import ROOT, Check, progress, result, scratch
from bench.up import up

ROUNDS = 9
PEERS = ("nicegui", "dash", "streamlit")
STARTED_WITHIN_S = 60
KB = 1e3
_APPS = ROOT / "bench" / "peers"
_KINDS = tuple(tile.kind if tile.kind in {"number", "table"} else "chart" for tile in orders.TILES)
OURS = Tiles(".tile", ".body .big", _KINDS)
_THEIRS = {
    "nicegui": Tiles(".tile", ".value", _KINDS),
    "dash": Tiles(".tile", ".value", _KINDS),
    "streamlit": Tiles("[class*=st-key-tile-]", "[data-testid=stMetricValue]", _KINDS),
}


def run() -> dict[str, Any]:
    """Each page in a browser that has never been there, once a round, with a choice that nobody has made before."""
    taken: dict[str, list[Drawn]] = {}
    filters_ms: list[float] = []
    with scratch(pages.NEEDED_BYTES) as folder, contextlib.ExitStack() as closing:
        project, _, warehouse = pages.make(folder / "project")
        tiles, database = orders.write_for_peers(warehouse, folder)
        addresses = {name: closing.enter_context(peer(name, tiles, database)) for name in PEERS}
        closing.enter_context(up(project))
        ours = pages.served(project).address or ""
        cookie = pages.signed_in(project, ours, "vic@example.com")
        browser = closing.enter_context(chromium())

        def look(name: str, amount: float, then: Callable[[Page], None] | None = None) -> Drawn:
            if name == "ours":
                address, parts = f"{ours}/d/{orders.BOARD}{orders.chosen(amount)}", OURS
            else:
                address, parts = f"{addresses[name]}?over={amount:.4f}", _THEIRS[name]
            with visitor(browser, ours, cookie if name == "ours" else None) as context:
                return open_page(context, address, parts, then)

        for at in range(-1, ROUNDS):  # the first is for all to warm up
            amount = 2 + at / 10
            for name in ("ours", *PEERS):

                def choose(page: Page, amount: float = amount) -> None:
                    there = f"{ours}/d/{orders.BOARD}{orders.chosen(amount + 0.05)}"
                    filters_ms.append(choose_again(page, there, OURS))

                drawn = look(name, amount, choose if name == "ours" else None)
                progress(f"round {at + 1} of {ROUNDS}: {name} {drawn.ms:.0f} ms, {drawn.bytes / KB:.0f} kB")
                if at >= 0:
                    taken.setdefault(name, []).append(drawn)
    ms = {name: statistics.median(each.ms for each in all_) for name, all_ in taken.items()}
    kb = {name: statistics.median(each.bytes for each in all_) / KB for name, all_ in taken.items()}
    return result(
        [
            Check("times_nicegui", ms["nicegui"] / ms["ours"], must=2.2, goal=2.5, at_least=True),
            Check("times_dash", ms["dash"] / ms["ours"], must=4.5, goal=5, at_least=True),
            Check("times_streamlit", ms["streamlit"] / ms["ours"], must=6, goal=6, at_least=True),
            Check("kb", kb["ours"], must=220, goal=200),
            Check("drawn_ms", ms["ours"], must=None, goal=450),
            Check("filter_ms", statistics.median(filters_ms[1:]), must=None, goal=200),
        ],
        "NiceGUI, Dash and Streamlit drawing the same queries over the same rows, each in an empty browser",
        rounds=ROUNDS,
        drawn_ms={name: round(value) for name, value in ms.items()},
        fastest_ms={name: round(min(each.ms for each in all_)) for name, all_ in taken.items()},
        kb={name: round(value) for name, value in kb.items()},
    )


@contextlib.contextmanager
def peer(name: str, tiles: Path, database: Path) -> Iterator[str]:
    """A peer's server; its address."""
    port = free_port()
    app, python = _APPS / f"{name}_app.py", environments.python(name)
    serving: dict[str, list[str | Path]] = {
        "nicegui": [app, tiles, database, str(port)],
        "dash": [
            "-m", "gunicorn", "--workers", "2", "--threads", "5", "--timeout", "120",
            "--bind", f"127.0.0.1:{port}", "--chdir", _APPS,
            "--env", f"TILES={tiles}", "--env", f"DATABASE={database}", "dash_app:server",
        ],
        "streamlit": [
            "-m", "streamlit", "run", "--server.headless", "true", "--server.address", "127.0.0.1",
            "--server.port", str(port), "--server.fileWatcherType", "none", "--browser.gatherUsageStats", "false",
            app, "--", tiles, database,
        ],
    }  # fmt: skip
    with started([str(word) for word in (python, *serving[name])], port, STARTED_WITHIN_S):
        yield f"http://127.0.0.1:{port}/"
