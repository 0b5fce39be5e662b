"""A dashboard over 5M orders and those that come, while 10,000 events/s are collected and loaded, until drawn."""

from __future__ import annotations

import time
from typing import Any

from bench import orders, pages
from bench.browser import chromium, open_page, visitor
from bench.collect import BATCH
from bench.dashboard import OURS
from bench.latency import Probe, look_until_seen
from bench.measure import Check, percentile, progress, result, scratch, tree_cpu_s
from bench.up import Up, up
from bench.visible import BATCHED_PER_S, EVERY_S, SEEN_WITHIN_S, Clients

WARM_UP_S = 5
MEASURED_S = 60
FIRST = 1_000_000_000
"""Above all numbers of standing orders."""
_ARRIVED = f"SELECT count(*) FROM {orders.TABLE} WHERE seq >= {FIRST}"


def run() -> dict[str, Any]:
    """Opened again and again by somebody who has been there before, with a choice that nobody has made before."""
    with scratch(pages.NEEDED_BYTES) as folder:
        project, port, _ = pages.make(folder / "project")
        with up(project) as running, chromium() as browser:
            address = pages.served(project).address or ""
            cookie = pages.signed_in(project, address, "vic@example.com")
            probe = Probe(
                f"SELECT seq FROM {orders.TABLE} WHERE _received_at >= $1 AND seq >= {FIRST} AND probe", EVERY_S
            )
            with visitor(browser, address, cookie) as context:

                def look(amount: float) -> float:
                    return open_page(context, f"{address}/d/{orders.BOARD}{orders.chosen(amount)}", OURS).ms

                look(1)
                with Clients(port, FIRST, BATCHED_PER_S, BATCH, probe, pages.ORDERS) as clients:
                    time.sleep(WARM_UP_S)
                    look(1.5)
                    began_s, cpu_s, arrived = time.monotonic(), tree_cpu_s(running.pid), _arrived(running)
                    taken_ms: list[float] = []
                    while (wall_s := time.monotonic() - began_s) < MEASURED_S:
                        taken_ms.append(look(2 + len(taken_ms) / 100))
                        progress(f"{wall_s:.0f} s of {MEASURED_S}: {taken_ms[-1]:.0f} ms")
                    wall_s = time.monotonic() - began_s
                    per_s = (_arrived(running) - arrived) / wall_s
                    cores = (tree_cpu_s(running.pid) - cpu_s) / wall_s
            look_until_seen(running.rows, [probe], SEEN_WITHIN_S)
    return result(
        [
            Check("p95_s", percentile(taken_ms, 0.95) / 1e3, must=1.5, goal=1),
            # What came in the last moment is not there yet.
            Check("loaded_per_s", per_s, must=0.95 * BATCHED_PER_S, goal=None, at_least=True),
        ],
        "its own limits: seconds from the navigation until all nine tiles are drawn, nothing cached but the scripts",
        dashboards=len(taken_ms),
        p50_s=round(percentile(taken_ms, 0.5) / 1e3, 2),
        max_s=round(max(taken_ms) / 1e3, 2),
        cores=round(cores, 2),
        client_behind_s=round(clients.behind_s, 2),
    )


def _arrived(running: Up) -> int:
    [(count,)] = running.rows(_ARRIVED)
    return int(count)
