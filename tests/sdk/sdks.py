"""The SDKs, and how each is made to send every call to an endpoint."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.sdk.browser import show
from tests.sdk.calls import ANONYMOUS_ID, Call, CallType, as_javascript_sends, as_python_sends, calls, encode
from tests.sdk.installed import browser, node, node_modules, python_packages

DRIVERS = Path(__file__).parent / "drivers"
PATIENCE_S = 90.0


class NotDelivered(Exception):
    """The SDK gave events up, and says so."""


@dataclass(frozen=True, slots=True)
class SDK:
    """An SDK with settings that change what it sends.

    `lacks` are the kinds of calls that it has no method for; `retries` is whether it sends again what failed, with
    `sent_anew` telling whether a retry says a `sentAt` of its own; `dates` is whether a caller may say when, and
    `says_both_times` whether the SDK's own clock is then there as well; `key` is the form of a write key.
    """

    name: str
    package: str
    driver: str
    options: dict[str, Any] = field(default_factory=dict)
    lacks: frozenset[CallType] = frozenset()
    retries: bool = True
    sent_anew: bool = True
    dates: bool = True
    says_both_times: bool = False
    key: str = "{}"

    @property
    def in_browser(self) -> bool:
        return self.driver.endswith(".html")


_JITSU: dict[str, Any] = {
    "package": "@jitsu/js",
    "lacks": frozenset({"screen", "alias"}),
    "retries": False,
    "dates": False,
    "key": "{}:secret",
}
_RUDDERSTACK: dict[str, Any] = {
    "package": "@rudderstack/rudder-sdk-node",
    "driver": "rudderstack_node.cjs",
    "sent_anew": False,
    "says_both_times": True,
}
SDKS = {
    each.name: each
    for each in (
        SDK("segment-python", "segment-analytics-python", "segment_python.py", {"gzip": False}),
        SDK("segment-python-gzip", "segment-analytics-python", "segment_python.py", {"gzip": True}),
        SDK("segment-node", "@segment/analytics-node", "segment_node.cjs"),
        SDK("segment-browser", "@segment/analytics-next", "segment_browser.html", {"batching": False}),
        SDK("segment-browser-batching", "@segment/analytics-next", "segment_browser.html", {"batching": True}),
        SDK("rudderstack-node", options={"gzip": True}, **_RUDDERSTACK),
        SDK("rudderstack-node-plain", options={"gzip": False}, **_RUDDERSTACK),
        SDK("jitsu-node", driver="jitsu_node.cjs", **_JITSU),
        SDK("jitsu-browser", driver="jitsu_browser.html", **_JITSU),
    )
}


@dataclass(frozen=True, slots=True)
class Expected:
    """An event that must arrive, with its values as the SDK writes them. Without a timestamp it says its own time.

    SDKs add properties of their own to pages and screens, in browsers and Jitsu's also the name.
    """

    mark: str
    type: CallType
    name: str | None
    user_id: str | None
    anonymous_id: str | None
    group_id: str | None
    previous_id: str | None
    values: dict[str, Any]
    timestamp: datetime | None


def prepare(sdk: SDK) -> None:
    """Have all that the SDK needs, as sending does first. What cannot be had here skips the test."""
    if sdk.driver.endswith(".py"):
        python_packages()
        return
    if sdk.in_browser:
        browser()
    node_modules()


def send_all(sdk: SDK, endpoint: str, key: str, *, rounds: int = 1, pause_s: float = 0.0) -> list[Expected]:
    """Make every call, wait until the SDK has delivered all, and tell what must arrive, each exactly once.

    `pause_s` is between two calls. An SDK that cannot be had here skips the test. Raises `NotDelivered` when the SDK
    has given events up.
    """
    made = list(calls(rounds))
    task = {"endpoint": endpoint, "writeKey": sdk.key.format(key), "options": {**sdk.options, "pause_s": pause_s}}
    patience_s = PATIENCE_S + pause_s * len(made)
    prepare(sdk)
    if sdk.in_browser:
        failures = show(sdk.driver, {**task, "calls": [encode(each) for each in made]}, patience_s)
        if failures:
            raise NotDelivered(f"{sdk.name}: {failures}")
    else:
        _run_program(sdk, task, made, patience_s)
    return [_expected(sdk, each) for each in made if each.type not in sdk.lacks]


def leave_page(sdk: SDK, endpoint: str, key: str, arrived: Callable[[], bool]) -> list[Expected]:
    """Make every call of a known user on a page that is left, and come back to it until all has arrived.

    A page that sends batches is left at once, another when each event has been tried.
    """
    made = [each for each in calls() if each.user_id]
    options = {**sdk.options, "pause_s": 0.0, "leaves": True}
    task = {"endpoint": endpoint, "writeKey": key, "options": options, "calls": [encode(each) for each in made]}
    failures = show(sdk.driver, task, PATIENCE_S, stays=lambda: not arrived())
    assert not failures
    return [_expected(sdk, each) for each in made]


def _run_program(sdk: SDK, task: dict[str, Any], made: list[Call], patience_s: float) -> None:
    program, variables = (
        (sys.executable, {"PYTHONPATH": str(python_packages())})
        if sdk.driver.endswith(".py")
        else (node(), {"NODE_PATH": str(node_modules())})
    )
    done = subprocess.run(
        [program, str(DRIVERS / sdk.driver), task["endpoint"], task["writeKey"], json.dumps(task["options"])],
        input=json.dumps([encode(each) for each in made]),
        env=os.environ | variables, capture_output=True, text=True, check=False, timeout=patience_s,
    )  # fmt: skip
    if "not delivered:" in done.stderr:
        raise NotDelivered(f"{sdk.name}: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr


def _expected(sdk: SDK, call: Call) -> Expected:
    writes: Callable[[Any], Any] = as_python_sends if sdk.driver.endswith(".py") else as_javascript_sends
    return Expected(
        mark=call.mark,
        type=call.type,
        name=call.name,
        user_id=call.user_id,
        # SDKs for servers know an anonymous id only where a call has one.
        anonymous_id=None if call.type == "alias" and not sdk.in_browser else ANONYMOUS_ID,
        group_id=call.group_id,
        previous_id=call.previous_id,
        values=writes(call.values),
        timestamp=call.timestamp if sdk.dates else None,
    )
