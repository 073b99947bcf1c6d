"""`cloudtrain config`: settings of all runs."""

from __future__ import annotations

import click

from cloudtrain import settings
from cloudtrain.cli import words
from cloudtrain.cli.options import output_option
from cloudtrain.cli.output import print_json, print_message, print_rows
from cloudtrain.cli.tables import Column
from cloudtrain.errors import UsageError

COLUMNS = (Column("key", fold=False), Column("value"), Column("origin", drop=2), Column("environment", drop=1),
           Column("meaning"))  # fmt: skip


@click.group("config", short_help="Show, read and change settings.")
def command() -> None:
    """Show, read and set what outlives a run: state folder, electricity, limits."""


@command.command("show")
@output_option()
def show(output: str) -> None:
    """Every setting, its value and where it comes from (flag > environment > file > default)."""
    now = settings.load()
    rows = [[s.key, now.text(s.key), now.origin(s.key), s.environment, s.help] for s in settings.KEYS]
    if output == "json":
        print_json([dict(zip([column.heading for column in COLUMNS], row, strict=True)) for row in rows])
        return
    print_rows(output, COLUMNS, rows)
    if output == "table":
        print_message(f"file: {settings.config_path() or 'none: there is no home folder, set CLOUDTRAIN_CONFIG'}")


@command.command("get")
@click.argument("key", shell_complete=words.settings_keys)
def get(key: str) -> None:
    """Print the value of KEY."""
    click.echo(settings.load().text(key))


@command.command("set")
@click.argument("key", shell_complete=words.settings_keys)
@click.argument("value")
def set_(key: str, value: str) -> None:
    """Write KEY = VALUE to the settings file."""
    path = settings.config_path()
    if path is None:
        raise UsageError("there is no home folder for the settings file", "set CLOUDTRAIN_CONFIG to a file")
    settings.set_value(path, key, value)
    print_message(f"{key} = {value} in {path}" if value else f"{key} is back to its default in {path}")
