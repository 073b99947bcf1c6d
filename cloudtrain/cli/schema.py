"""`cloudtrain schema`: the JSON Schema of a command's `-o json`, and of the spec file."""

from __future__ import annotations

from pathlib import Path

import click

from cloudtrain.errors import UsageError, nearest

FOLDER = Path(__file__).parent.parent / "schemas"
SPEC = "spec"  # made from the records of the spec, not kept as a file


@click.command("schema", short_help="Print the JSON Schema of an output or of the spec.")
@click.argument("name", required=False)
def command(name: str | None) -> None:
    """Print the JSON Schema of what NAME (quote, estimate, ps ...) prints as JSON, or the names there are.

    `spec` is the schema of cloudtrain.yaml, for editors: `cloudtrain init` writes it next to the spec.
    """
    known = names()
    if name is None:
        click.echo("\n".join(known))
        return
    if name not in known:
        close = nearest(name, known)
        raise UsageError(f"no schema `{name}`", f"did you mean `{close}`?" if close else f"known: {', '.join(known)}")
    if name == SPEC:
        from cloudtrain.spec import json_schema

        click.echo(json_schema.text(), nl=False)
        return
    click.echo((FOLDER / f"{name}.json").read_text(encoding="utf-8").rstrip())


def names() -> list[str]:
    """The documents that have a schema."""
    return sorted([SPEC, *(path.stem for path in FOLDER.glob("*.json"))])
