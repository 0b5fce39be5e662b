"""Makes the calls of standard input with Segment's SDK for Python. Arguments: endpoint, write key, options."""

from __future__ import annotations

import json
import sys
import time
from datetime import datetime
from typing import Any

from segment.analytics.client import Client


def dates_unwrapped(value: dict[str, Any]) -> Any:
    return datetime.fromisoformat(value["$date"]) if "$date" in value else value


def main() -> None:
    endpoint, write_key = sys.argv[1:3]
    options = json.loads(sys.argv[3])
    failures: list[str] = []
    client = Client(
        write_key, host=endpoint, gzip=options["gzip"], on_error=lambda error, _: failures.append(str(error))
    )
    for call in json.load(sys.stdin, object_hook=dates_unwrapped):
        make(client, call)
        time.sleep(options["pause_s"])
    client.shutdown()
    if failures:
        sys.exit(f"not delivered: {failures}")


def make(client: Client, call: dict[str, Any]) -> None:
    common = {"user_id": call["userId"], "timestamp": call["timestamp"]}
    match call["type"]:
        case "track":
            client.track(event=call["name"], properties=call["values"], anonymous_id=call["anonymousId"], **common)
        case "page":
            client.page(name=call["name"], properties=call["values"], anonymous_id=call["anonymousId"], **common)
        case "screen":
            client.screen(name=call["name"], properties=call["values"], anonymous_id=call["anonymousId"], **common)
        case "identify":
            client.identify(traits=call["values"], anonymous_id=call["anonymousId"], **common)
        case "group":
            client.group(group_id=call["groupId"], traits=call["values"], anonymous_id=call["anonymousId"], **common)
        case "alias":
            client.alias(previous_id=call["previousId"], **common)


main()
