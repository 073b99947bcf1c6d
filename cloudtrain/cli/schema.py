"""`cloudtrain schema`: the JSON Schema of a command's `-o json`."""

from __future__ import annotations

from pathlib import Path

import click

from cloudtrain.errors import UsageError, nearest

FOLDER = Path(__file__).parent.parent / "schemas"


@click.command("schema", short_help="Print the JSON Schema of an output.")
@click.argument("name", required=False)
def command(name: str | None) -> None:
    """Print the JSON Schema of NAME (quote, estimate, ps ...), or the names there are."""
    known = names()
    if name is None:
        click.echo("\n".join(known))
        return
    if name not in known:
        close = nearest(name, known)
        raise UsageError(f"no schema `{name}`", f"did you mean `{close}`?" if close else f"known: {', '.join(known)}")
    click.echo((FOLDER / f"{name}.json").read_text(encoding="utf-8").rstrip())


def names() -> list[str]:
    """The documents that have a schema."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))
