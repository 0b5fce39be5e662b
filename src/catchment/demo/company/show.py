"""`catchment demo company`: half a year of a company's life over HTTP into tables, five questions, and then its day.

Everything goes the way of anybody's events: `catchment up` as processes of their own, Segment's API over HTTP, SQL.
"""

from __future__ import annotations

import os
import shlex
import sys
import time
import webbrowser
from collections import defaultdict
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from heapq import merge
from itertools import chain
from operator import attrgetter
from pathlib import Path

from catchment.config import Project
from catchment.demo.company.issues import KEY, TABLE, Issues
from catchment.demo.company.live import following, queue
from catchment.demo.company.project import Made, days_since, made, question_file
from catchment.demo.company.questions import questions
from catchment.demo.company.sending import CONNECTIONS, Connection, Crossing, Live, Sent
from catchment.demo.company.story import DAYS, Story
from catchment.demo.processes import Up
from catchment.demo.project import Borrowed
from catchment.demo.screen import Screen
from catchment.errors import Abort, Retry
from catchment.warehouses import Warehouse
from catchment.warehouses.rows import rows_of

FOLDER = "company-demo"
SEED = 1
DAYS_ENV = "CATCHMENT_DEMO_DAYS"
"""A shorter history, for tests."""

_LOOK_S = 0.05
_TICK_S = 0.5
_PATIENCE_S = 120.0
"""Without anything more answered or loaded."""


def run(folder: Path, *, once: bool, borrowed: Borrowed) -> bool:
    """The whole demo; whether every count is right and everything stopped in order.

    Raises `UsageError` when the folder is somebody else's, `Abort` when something does not work.
    """
    began_s = time.monotonic()
    screen = Screen()
    now = datetime.now(UTC)
    days = int(os.environ.get(DAYS_ENV) or DAYS)
    it = made(folder, now.date() - timedelta(days=days), borrowed)
    project = it.project
    days = days_since(it.first_day, now.date())
    story, issues = Story(SEED, now, days), Issues(SEED, now, days)
    _introduce(screen, folder, it, now.date())
    up = Up(project.root, project.runtime)
    with closing(up), closing(Crossing(chain(issues.history(), story.history(), queue(story)))) as crossing:
        address = _start(screen, up)
        keys = {name: source.keys[0] for name, source in project.collect.sources.items()}
        crossing.open(address, keys)
        _cross(screen, up, crossing, project, borrowed)
        with borrowed.warehouse(project) as warehouse:
            is_right = _check(screen, warehouse, crossing.sent)
            _ask(screen, warehouse, borrowed)
        screen.lines("")
        screen.good(f"from nothing to five answers in {time.monotonic() - began_s:.1f} s")
        if not once and is_right:
            _suggest(screen, folder, address, keys)
            _open_pages(screen, up, project, borrowed)
            with closing(Connection(address, keys)) as connection:
                traffic = merge(following(story), issues.following(), key=attrgetter("at"))
                _go_on(screen, up, Live(traffic, connection))
        screen.title("Stopping in order")
        is_in_order = up.stop()
    return is_right and is_in_order


def _introduce(screen: Screen, folder: Path, it: Made, today: date) -> None:
    screen.title("Half a year of a bank in an app, from its SDKs to answers")
    if it.is_new:
        screen.say(
            f"Ferry, its customers and its shops are made up. Its app and its website send all that happened since"
            f" {it.first_day:%-d %B} to one endpoint. The project is in {folder}."
        )
    else:
        screen.say(
            f"{folder} is there from before: all that happened since {it.first_day:%-d %B %Y} is sent again, which"
            f" must add nothing but what is new since then."
        )
    screen.lines("")


def _start(screen: Screen, up: Up) -> str:
    """Start everything; the collector's address."""
    screen.command("catchment up")
    began_s = time.monotonic()
    up.wait_ready()
    address = up.wait_ready("collect").address
    assert address is not None, "it is ready"
    screen.result(f"ready in {time.monotonic() - began_s:.1f} s; events go to {address}")
    return address


def _cross(screen: Screen, up: Up, crossing: Crossing, project: Project, borrowed: Borrowed) -> None:
    """Until all of the history is loaded. Raises `Abort`."""
    began_s = moved_s = time.monotonic()
    acknowledged = 0
    is_said = False
    while True:
        up.check()
        if crossing.acknowledged != acknowledged:
            acknowledged, moved_s = crossing.acknowledged, time.monotonic()
        if crossing.is_done():
            if not is_said:
                is_said = True
                screen.result(
                    f"{crossing.sent.batches} times POST on {CONNECTIONS} connections: all on the disk after"
                    f" {time.monotonic() - began_s:.1f} s"
                )
            if _is_loaded(project, borrowed):
                break
            screen.status("all is sent and on the disk; the rest is being loaded")
        else:
            screen.status(f"{acknowledged:,} events sent and on the disk")
        if time.monotonic() - moved_s > _PATIENCE_S:
            raise Abort(f"nothing moved for {_PATIENCE_S:.0f} s", f"catchment status -p {project.root}")
        time.sleep(_LOOK_S)
    took_s = time.monotonic() - began_s
    screen.good(
        f"{crossing.sent.calls:,} events made up, sent and loaded in {took_s:.1f} s:"
        f" {crossing.sent.calls / took_s:,.0f} events/s"
    )


def _is_loaded(project: Project, borrowed: Borrowed) -> bool:
    try:
        return borrowed.is_loaded(project)
    except Retry:
        return False  # it is coming up or going down


def _check(screen: Screen, warehouse: Warehouse, sent: Sent) -> bool:
    """Compare the ids in every table with those that were sent; whether all are there, once."""
    screen.title("Nothing lost, nothing doubled?")
    loaded = _ids(warehouse, list(sent.ids))
    lost = doubled = others = 0
    for table, ids in sorted(sent.ids.items()):
        wanted, found = set(ids), set(loaded[table])
        lost += len(wanted - found)
        doubled += len(loaded[table]) - len(found)
        others += len(found - wanted)
        is_same = wanted <= found and len(found) == len(loaded[table])
        screen.verdict(is_same, f"{table:<26}{len(ids):>7,} sent {len(wanted & found):>7,} loaded")
    issues = _versions(warehouse)
    newest = sum(found >= version for key, version in sent.newest.items() for found in issues.get(key, [])[:1])
    twice = sum(len(versions) - 1 for versions in issues.values())
    lost += len(sent.newest) - newest
    doubled += twice
    others += len(issues.keys() - sent.newest)
    is_same = newest == len(sent.newest) and not twice
    screen.verdict(is_same, f"{TABLE:<26}{len(sent.newest):>7,} sent {newest:>7,} loaded, each in its last version")
    more = f"; {others:,} rows more were sent by others, or live" if others else ""
    screen.verdict(not lost and not doubled, f"{lost:,} lost, {doubled:,} doubled{more}")
    return not lost and not doubled


def _ids(warehouse: Warehouse, tables: list[str]) -> dict[str, list[str]]:
    """The ids of every row of these tables."""
    # One text for each table: a hundred thousand values take nanoarrow much longer.
    sql = " UNION ALL ".join(f"SELECT '{table}', string_agg(id, ' ') FROM {table}" for table in tables)
    return {table: (ids or "").split() for table, ids in rows_of(warehouse, sql)}


def _versions(warehouse: Warehouse) -> dict[int, list[str]]:
    """The versions of every issue; it should have one."""
    sql = f"SELECT string_agg({KEY} || ' ' || _version, '\n') FROM {TABLE}"
    ((said,),) = rows_of(warehouse, sql)
    versions: dict[int, list[str]] = defaultdict(list)
    for key, version in (line.split(" ") for line in (said or "").splitlines()):
        versions[int(key)].append(version)
    return versions


def _ask(screen: Screen, warehouse: Warehouse, borrowed: Borrowed) -> None:
    for question in questions():
        screen.title(question.title)
        screen.say(question.explanation)
        screen.command(f"catchment query --file {question_file(question.name)}")
        screen.lines("\n".join(borrowed.drawn(warehouse, question.sql, screen.width)))


def _suggest(screen: Screen, folder: Path, address: str, keys: dict[str, str]) -> None:
    host = address.partition("://")[2]
    screen.title("It goes on: some events each second. Send your own, too:")
    screen.say(f"Buttons that send events: {address}/")
    screen.say("From a terminal; the key is that of the app:")
    properties = '{"event": "NPS Answered", "userId": "me", "properties": {"score": 9}}'
    screen.command(f"curl {address}/v1/track -u {keys['app']}: -d {shlex.quote(properties)}")
    screen.say("From a page, by Segment's SDK (npm install @segment/analytics-next); the key is that of the website:")
    screen.block(
        f"""\
import {{ AnalyticsBrowser }} from "@segment/analytics-next";
const analytics = AnalyticsBrowser.load(
  {{ writeKey: "{keys["website"]}", cdnURL: "{address}" }},
  {{ integrations: {{ "Segment.io": {{ apiHost: "{host}/v1", protocol: "http" }} }} }},
);
analytics.track("Signed Up", {{ plan: "plus" }});"""
    )
    screen.say("And ask, in another terminal:")
    for command in (
        f"cd {shlex.quote(str(folder))}",
        f"catchment query --file {question_file('nps_by_month')}",
        "catchment query 'SELECT event_text, count(*) FROM app.tracks GROUP BY 1 ORDER BY 2 DESC'",
        "catchment tail app.card_payment",
        "catchment status",
    ):
        screen.command(command)
    screen.say("Ctrl-C here stops everything in order.")


def _open_pages(screen: Screen, up: Up, project: Project, borrowed: Borrowed) -> None:
    """The pages' address, and the pages themselves where there is a desktop to open them on."""
    if not up.serves():
        screen.say("Dashboards are shown where the pages are installed: pip install 'catchment[serve]'")
        return
    pages = up.wait_ready("serve").address
    assert pages is not None, "it is ready"
    screen.title("Its dashboards, live")
    screen.say(f"{pages} shows them; this link signs you in, once, within a quarter of an hour:")
    link = borrowed.sign_in(project, pages)
    assert link is not None, "the pages are served"
    screen.command(link)
    if sys.stdout.isatty() and (sys.platform == "darwin" or os.environ.get("DISPLAY")):
        webbrowser.open(link)


def _go_on(screen: Screen, up: Up, live: Live) -> None:
    try:
        while up.runs():
            live.send_due()
            screen.status(f"{live.sent:,} events sent since")
            time.sleep(_TICK_S)
    except KeyboardInterrupt:
        return
    up.check()
