"""What the demo shows: words and tables, coloured on a terminal and plain elsewhere."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
import time

import click

_BAR = 20
_REDRAW_S = 0.1


class Screen:
    """Writes to stdout. On a terminal a line at the bottom shows how far things are."""

    def __init__(self) -> None:
        self._is_terminal = sys.stdout.isatty()
        self._color = False if os.environ.get("NO_COLOR") else None
        self._has_bar = False
        self._drawn_s = 0.0

    @property
    def width(self) -> int | None:
        """In columns; None where it does not matter."""
        return shutil.get_terminal_size().columns if self._is_terminal else None

    def title(self, text: str) -> None:
        """A heading, with room above it."""
        self._line()
        self._wrapped(text, bold=True)

    def say(self, text: str) -> None:
        """A sentence."""
        self._wrapped(text)

    def command(self, text: str) -> None:
        """A command as one types it."""
        self._line(click.style(f"$ {text}", fg="cyan"))

    def result(self, text: str) -> None:
        """What came of something."""
        self._wrapped(f"  {text}")

    def accident(self, text: str) -> None:
        """Something that we broke."""
        self._wrapped(f"✗ {text}", fg="red")

    def good(self, text: str) -> None:
        """Something that is well."""
        self._wrapped(f"✓ {text}", fg="green")

    def verdict(self, is_well: bool, text: str) -> None:
        """One line of a check."""
        self._line("  " + click.style("✓ " if is_well else "✗ ", fg="green" if is_well else "red") + text)

    def block(self, text: str) -> None:
        """Text that is shown as it is, such as SQL."""
        self._line(click.style(textwrap.indent(text, "  "), dim=True))

    def lines(self, text: str) -> None:
        """A table."""
        self._line(text)

    def progress(self, done: int, of: int) -> None:
        """How many rows are loaded; drawn over at the next call."""
        filled = min(_BAR, _BAR * done // max(of, 1))
        self.status(f"{'█' * filled}{'░' * (_BAR - filled)} {done:,} of {of:,} rows loaded")

    def status(self, text: str) -> None:
        """A line that the next one is drawn over. Nothing where no terminal is."""
        if not self._is_terminal or time.monotonic() - self._drawn_s < _REDRAW_S:
            return
        self._drawn_s = time.monotonic()
        sys.stdout.write(f"\r\x1b[K  {text}")
        sys.stdout.flush()
        self._has_bar = True

    def clear_progress(self) -> None:
        """Take the line of `progress` or `status` away."""
        if self._has_bar:
            sys.stdout.write("\r\x1b[K")
            self._has_bar = False

    def _wrapped(self, text: str, **style: object) -> None:
        width = min(self.width or 100, 100)
        wrapped = textwrap.fill(text, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
        self._line(click.style(wrapped, **style))  # type: ignore[arg-type]  # the styles are ours

    def _line(self, text: str = "") -> None:
        self.clear_progress()
        click.echo(text, color=self._color)
        sys.stdout.flush()
