"""`catchment completion`: the script that teaches a shell the commands."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from catchment.cli import COMPLETE_VARIABLE, cli


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a shell's completion script.

    bash: add `eval "$(catchment completion bash)"` to ~/.bashrc; zsh: the same with zsh to ~/.zshrc;
    fish: `catchment completion fish > ~/.config/fish/completions/catchment.fish`.
    """
    kind = get_completion_class(shell)
    assert kind is not None
    complete = kind(cli, {}, "catchment", COMPLETE_VARIABLE)
    click.echo(complete.source_template % complete.source_vars())
