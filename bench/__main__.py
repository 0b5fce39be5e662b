"""`python -m bench [NAME…]`: run the benches named, or all, and print one JSON line each.

Exit code 0: every must holds; 3: one does not; 2: no such bench.
"""

from __future__ import annotations

import importlib
import json
import sys
import traceback
from types import ModuleType

NAMES = (
    "load-duckdb", "load-postgres", "load-mixed", "queue", "freshness", "trickle", "backlog", "memory", "collect",
    "visible", "s3", "ledger", "fill", "rabbitmq", "kafka", "sqs", "broker-load", "loaders", "dashboard", "viewers",
    "dashboard-live",
)  # fmt: skip
"""Each a module beside this one, `-` written `_`, with a docstring and `run() -> dict`."""


def main(names: list[str]) -> int:
    """Run them in order; a bench that breaks is printed as one that is not ok, and the next goes on."""
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        print(f"no such bench: {', '.join(unknown)}\n  Try: {', '.join(NAMES)}", file=sys.stderr)
        return 2
    well = True
    for name in names or NAMES:
        module = load(name)
        print(f"== {name}: {module.__doc__}", file=sys.stderr, flush=True)
        try:
            found = module.run()
        except Exception as error:  # whatever it is, it is told, and the other benches still count
            traceback.print_exc()
            found = {"ratio": None, "must": None, "goal": None, "ok": False, "error": str(error), "against": None}
        print(json.dumps({"bench": name, **found}), flush=True)
        well = well and found["ok"]
    return 0 if well else 3


def load(name: str) -> ModuleType:
    """The module of a bench."""
    return importlib.import_module(f"bench.{name.replace('-', '_')}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
