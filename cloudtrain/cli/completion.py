"""`cloudtrain completion`: the shell's completion script."""

from __future__ import annotations

import click


@click.command("completion", short_help="Print the completion script of bash, zsh or fish.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script of SHELL; for example `eval "$(cloudtrain completion bash)"`."""
    from click.shell_completion import get_completion_class

    from cloudtrain.cli import root

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(root, {}, "cloudtrain", "_CLOUDTRAIN_COMPLETE").source())
