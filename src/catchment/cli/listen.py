"""The `listen` service as a process runs it, and `catchment listen`, which looks at what it would do."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import replace
from difflib import get_close_matches
from typing import TYPE_CHECKING

import click

from catchment.cli.collect import words_of
from catchment.cli.parts import outbox_of
from catchment.cli.project import with_project
from catchment.cli.screen import stdout
from catchment.config import Project
from catchment.config.project import ListenPart
from catchment.errors import UsageError
from catchment.listen.listener import Listener
from catchment.listen.preview import preview as preview_of
from catchment.listen.service import ListenService
from catchment.listen.transform import Transformation
from catchment.queues import Queue
from catchment.service import Health, Service, Stop

if TYPE_CHECKING:
    from catchment.queues.outbox import Outbox


def listen(project: Project) -> Service:
    """The service, not yet running. Raises `UsageError` where nothing is to be listened to."""
    if not project.listen:
        raise UsageError("the project listens to nothing", "[listen.NAME] in catchment.toml")
    return ListenProcess(project)


class ListenProcess:
    """Opens the queues, and listens to everything that the project names."""

    name = "listen"

    def __init__(self, project: Project) -> None:
        self._project = project
        self._listening: ListenService | None = None
        self._outbox: Outbox | None = None

    def health(self) -> Health:
        """See `ListenService.health`; with the outbox in use it is ready, and says what waits there."""
        if self._listening is None:
            return Health(ok=True, ready=False)
        health = self._listening.health()
        return replace(health, detail=health.detail or (words_of(self._outbox) if self._outbox else ""))

    def run(self, stop: Stop) -> None:
        """See `Service`."""
        with contextlib.ExitStack() as closing:
            queue = closing.enter_context(contextlib.closing(self._project.queue.open()))
            self._outbox = outbox_of(queue)
            if self._outbox is not None:
                self._outbox.start()
            listeners = []
            for part in self._project.listen.values():
                # No outbox in front of this one: what is not acknowledged waits with its broker.
                forward: Queue | None = (
                    closing.enter_context(contextlib.closing(part.forward.open())) if part.forward else None
                )
                transformation = transformation_of(self._project, part)
                listeners.append(Listener(part.name, part.open, transformation, queue, forward, part.send))
            self._listening = ListenService(listeners)
            self._listening.run(stop)


def transformation_of(project: Project, part: ListenPart) -> Transformation:
    """What a listener does to messages. Raises `UsageError` if its function cannot be had."""
    return Transformation(part.name, part.settings, project.root, project.load.dedupe_window)


def part_of(project: Project, name: str) -> ListenPart:
    """The listener of this name. Raises `UsageError` if there is none."""
    part = project.listen.get(name)
    if part is None:
        nearest = get_close_matches(name, project.listen, n=1)
        known = f"one of {', '.join(project.listen)}" if project.listen else f"[listen.{name}] in catchment.toml"
        raise UsageError(f"there is no listener {name!r}", f"did you mean {nearest[0]}?" if nearest else known)
    return part


@click.group(name="listen")
def listen_group() -> None:
    """See what listeners would file."""


@listen_group.command()
@with_project
@click.argument("name")
@click.option(
    "--limit",
    type=click.IntRange(1, 10_000),
    metavar="N",
    default=10,
    show_default=True,
    help="At most so many messages.",
)
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(0.1, 3_600),
    metavar="SECONDS",
    default=10.0,
    show_default=True,
    help="So long messages are waited for.",
)
def preview(project: Project, name: str, limit: int, wait_s: float) -> None:
    """Show what would be filed, one JSON line a record.

    Nothing of what NAME hears is consumed, filed or forwarded. Of an exchange that is what comes from now on; of a
    topic the latest messages; of an SQS queue some that wait, which SQS then counts as received once more. A message
    that would be a dead letter is shown as one.
    """
    part = part_of(project, name)
    out = stdout()
    messages = records = skipped = dead = 0
    with contextlib.closing(part.open()) as tap:
        for outcome in preview_of(tap, transformation_of(project, part), limit, wait_s):
            messages += 1
            dead += outcome.is_dead
            skipped += not outcome.lines
            records += 0 if outcome.is_dead else len(outcome.lines)
            for line in outcome.lines:
                out.write(line.text)
            sys.stdout.buffer.flush()
    said = f"{messages:,} messages: {records:,} records, {skipped:,} left out, {dead:,} dead letters"
    click.echo(f"({said})" if messages else f"(nothing came within {wait_s:g} s)", err=True)
