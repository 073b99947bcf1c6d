"""`cloudtrain prices`: how old the price lists are, today's prices from the providers, what changed.

A subcommand is a module of this folder with a `command`, imported when it is called.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import Any

import click

from cloudtrain.errors import nearest

FIRST = "status"  # what is meant where no subcommand is named
PLUMBING = {"wording"}  # modules of this folder that are not subcommands


class Commands(click.Group):
    """The folder as a group: `cloudtrain prices NAME` is `NAME.py` of it (or `NAME_.py`, or `NAME/__init__.py`)."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(m.name.rstrip("_") for m in pkgutil.iter_modules(__path__) if m.name not in PLUMBING)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = next((m.name for m in pkgutil.iter_modules(__path__) if m.name.rstrip("_") == cmd_name), None)
        if module is None or module in PLUMBING:
            return None
        command: click.Command = import_module(f"{__name__}.{module}").command
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        is_apart = ctx.resilient_parsing or set(args[:1]) & set(ctx.help_option_names)  # a completion, or --help
        if not is_apart and (not args or args[0].startswith("-")):
            args = [FIRST, *args]
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and self.get_command(ctx, args[0]) is None:
            close = nearest(args[0], self.list_commands(ctx))
            hint = f"did you mean `{close}`?" if close else f"known: {', '.join(self.list_commands(ctx))}"
            raise click.UsageError(f"no command `prices {args[0]}`\n{hint}")
        return super().resolve_command(ctx, args)


@click.group("prices", cls=Commands, short_help="How old prices are, and today's from the providers.")
def command() -> None:
    """How old the price lists are, and today's prices from the providers. Without a COMMAND it is `status`.

    `quote` asks nobody: it takes, for each provider, the list that was refreshed last, else the shipped one. A refresh
    brings prices and their dates alone; which machines there are, and what they are, stays as shipped.
    """
