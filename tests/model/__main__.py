"""`python -m tests.model [RUNS]`: the table of protections. `python -m tests.model why NAME`: a failing trace."""

from __future__ import annotations

import difflib
import sys

from tests.model.explore import first_failure, shortest_trace
from tests.model.protections import HARMLESS, NEEDED_STILL, PROTECTIONS

EVERY = frozenset(PROTECTIONS)


def main(arguments: list[str]) -> int:
    """The exit code: 0 done, 2 for a name that is none."""
    if arguments[:1] == ["why"]:
        return _why(" ".join(arguments[1:]))
    runs = int(arguments[0]) if arguments else 1_000
    _tell("the design", EVERY, runs)
    for name in PROTECTIONS:
        _tell(f"without {name}", EVERY - {name}, runs)
    for world, gone in HARMLESS + NEEDED_STILL:
        _tell(f"{world}, without {' + '.join(sorted(gone))}", (EVERY | {world}) - gone, runs)
    return 0


def _tell(label: str, on: frozenset[str], runs: int) -> None:
    found = first_failure(on, range(runs))
    words = f"fails, seed {found[0]}: {found[1]}" if found else f"holds in {runs} runs"
    print(f"{label:<64} {words}", flush=True)


def _why(name: str) -> int:
    if name not in PROTECTIONS:
        near = difflib.get_close_matches(name, PROTECTIONS, n=1)
        print(f"no protection is called {name!r}", *(f"Try: {x}" for x in near), sep="\n  ", file=sys.stderr)
        return 2
    print(f"without {name} ({PROTECTIONS[name]}):")
    trace = shortest_trace(EVERY - {name})
    print(*(trace or ["no short run fails"]), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
