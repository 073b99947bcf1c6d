"""`cloudtrain init`: write a commented spec."""

from __future__ import annotations

from pathlib import Path

import click

from cloudtrain.cli import words
from cloudtrain.cli.output import print_message
from cloudtrain.errors import UsageError


@click.command("init", short_help="Write a commented spec for MODEL and a data file.")
@click.argument("model", default="qwen3-0.6b", shell_complete=words.models)
@click.argument("data", default="data.jsonl")
@click.option("-f", "--file", "target", type=click.Path(path_type=Path), default="cloudtrain.yaml", show_default=True)
@click.option("--force", is_flag=True, help="Write over a file that is there.")
def command(model: str, data: str, target: Path, force: bool) -> None:
    """Write a commented spec for MODEL and the DATA file, with every key and its default.

    Says what the first rows of DATA are where it is there already, or what is wrong with them. The spec's JSON Schema,
    which its first line names, is written next to it: editors that know YAML complete and check keys.
    """
    from cloudtrain.spec import json_schema
    from cloudtrain.spec.starter import starter
    from cloudtrain.trainer import count

    count.find(model, print_message)  # refuses a name that `up` would refuse
    kind, doubt = looked_at(target.absolute().parent / data)
    try:
        with open(target, "w" if force else "x", encoding="utf-8") as file:
            file.write(starter(model, data, kind or "messages"))
        target.with_name(json_schema.FILE).write_text(json_schema.text(), encoding="utf-8")
    except FileExistsError:
        raise UsageError(f"`{target}` is there already", "--force writes over it") from None
    except OSError as error:
        raise UsageError(f"`{target}` cannot be written: {error.strerror}") from None
    if kind:
        print_message(f"{data}: {kind} rows")
    if doubt:
        print_message(f"warning: {doubt}")
    elif not kind:
        print_message(f"`{data}` is not there yet; the spec is for rows of messages")
    print_message(f"wrote {target} and {json_schema.FILE}; `cloudtrain up --dry-run` checks the spec")


def looked_at(path: Path) -> tuple[str, str]:
    """The format of the data's first rows, and what is wrong with them; both empty for a file that may come later."""
    from cloudtrain.spec import dataset
    from cloudtrain.trainer import parquet

    try:
        return dataset.glance(path, parquet.records), ""
    except UsageError as refused:
        later = not path.exists() and "--repo-type dataset" not in refused.hint
        return "", "" if later else f"{refused.message}; {refused.hint}"
