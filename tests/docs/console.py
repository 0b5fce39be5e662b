"""Runs the commands that a page of the docs shows.

A block of ```console that follows the line `<!-- run -->` is run, all blocks of a page in order and in one shell:

    $ a command          may go on in lines that begin with `> `
    $ another            # exit code 3
    some of its output

`<!-- run: background -->` is for one command that goes on running until a block that is `<!-- run: after Ctrl-C -->`,
or the end of the page, and then must stop in order.
Of the output shown each line must come in the command's own, in this order and but for white space; `…` stands for
anything.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_BLOCK = re.compile(
    r"^<!-- run(?:: (?P<how>background|after Ctrl-C))? -->\n```console\n(?P<text>.*?)^```$", re.M | re.S
)
_EXIT_CODE = re.compile(r"\s+# exit code (\d+)$")
_END = "\x1e"
PATIENCE_S = 300.0
"""For a page, on a machine that does a lot else."""


@dataclass(slots=True)
class Command:
    """One command with what the page says of it."""

    line: str
    text: str
    """As the shell gets it."""
    code: int = 0
    shown: list[str] = field(default_factory=list)
    background: bool = False
    stops: bool = False
    """What runs in the background is to stop before it."""


def commands(page: str) -> Iterator[Command]:
    """The commands of a page's blocks that are to be run."""
    for block in _BLOCK.finditer(page):
        found: list[Command] = []
        for line in block["text"].splitlines():
            if line.startswith("$ "):
                code = _EXIT_CODE.search(line)
                text = _EXIT_CODE.sub("", line)[2:]
                found.append(Command(line, text, int(code[1]) if code else 0, background=block["how"] == "background"))
                found[-1].stops = block["how"] == "after Ctrl-C" and len(found) == 1
            elif line == ">" or line.startswith("> "):
                found[-1].text += "\n" + line[2:]
            else:
                found[-1].shown.append(line)
        yield from found


def run(page: Path, folder: Path, env: Mapping[str, str]) -> list[str]:
    """Run a page's commands in a folder; what did not go as the page says, a sentence each."""
    todo = list(commands(page.read_text(encoding="utf-8")))
    script = folder / ".script"
    script.write_text(_STOP + "".join(_shell(each, at) for at, each in enumerate(todo)) + _END_OF_PAGE)
    shell = subprocess.Popen(
        ["bash", str(script)],
        cwd=folder,
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        output, _ = shell.communicate(timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        os.killpg(shell.pid, signal.SIGTERM)
        return [f"{page.name} took more than {PATIENCE_S:.0f} s; it said:\n{shell.communicate()[0].decode()}"]
    ended = output.decode().split(_END)
    answers = list(zip(ended[::2], ended[1::2], strict=False))
    if len(answers) != len(todo) + 1:
        return [f"{page.name}: {len(answers)} of {len(todo) + 1} commands ended; output:\n{output.decode()}"]
    problems = [
        problem for each, (said, code) in zip(todo, answers, strict=False) for problem in _check(each, said, code)
    ]
    if answers[-1][1] != "0":
        problems.append(f"what ran in the background did not stop in order: {answers[-1]}")
    return problems


_STOP = """
stop() {
  for pid in $(jobs -p); do kill -TERM $pid; wait $pid || failed=1; done
}
"""
_END_OF_PAGE = f"stop; printf '{_END}%s{_END}' \"${{failed:-0}}\"\n"


def _shell(command: Command, at: int) -> str:
    if not command.background:
        stop = "stop\n" if command.stops else ""
        return f"{stop}{command.text}\nprintf '{_END}%s{_END}' $?\n"
    said = f"$TMPDIR/background-{at}"
    words = "\\|".join(line.strip().rstrip("…").replace(".", "\\.") for line in command.shown)
    return (
        f"{command.text} > {said} 2>&1 &\n"
        f"for _ in $(seq 300); do grep -q '{words}' {said} && break; sleep 0.1; done\n"
        f"cat {said}; printf '{_END}%s{_END}' 0\n"
    )


def _check(command: Command, said: str, code: str) -> Iterator[str]:
    if int(code) != command.code:
        yield f"{command.line}\n  ended with exit code {code}:\n{said}"
        return
    lines = [" ".join(line.split()) for line in said.splitlines()]
    at = 0
    for shown in command.shown:
        wanted = " ".join(shown.split())
        pattern = re.compile(".*".join(map(re.escape, wanted.split("…"))))
        found = next((place for place in range(at, len(lines)) if pattern.fullmatch(lines[place])), None)
        if found is None and wanted not in {"", "…"}:
            yield f"{command.line}\n  does not say {wanted!r}, but:\n{said}"
            return
        at = at if found is None else found
