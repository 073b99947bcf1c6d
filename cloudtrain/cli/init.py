"""`cloudtrain init`: write a commented spec."""

from __future__ import annotations

from pathlib import Path

import click

from cloudtrain.cli.output import print_message
from cloudtrain.errors import UsageError


@click.command("init", short_help="Write a commented spec for MODEL and a data file.")
@click.argument("model", default="qwen3-0.6b")
@click.argument("data", default="data.jsonl")
@click.option("-f", "--file", "target", type=click.Path(path_type=Path), default="cloudtrain.yaml", show_default=True)
@click.option("--force", is_flag=True, help="Write over a file that is there.")
def command(model: str, data: str, target: Path, force: bool) -> None:
    """Write a commented spec for MODEL and the DATA file, with every key and its default.

    Its JSON Schema, which its first line names, is written next to it: editors that know YAML complete and check keys.
    """
    from cloudtrain.spec import json_schema
    from cloudtrain.spec.starter import starter
    from cloudtrain.trainer import count

    count.find(model, print_message)  # refuses a name that `up` would refuse
    try:
        with open(target, "w" if force else "x", encoding="utf-8") as file:
            file.write(starter(model, data))
        target.with_name(json_schema.FILE).write_text(json_schema.text(), encoding="utf-8")
    except FileExistsError:
        raise UsageError(f"`{target}` is there already", "--force writes over it") from None
    except OSError as error:
        raise UsageError(f"`{target}` cannot be written: {error.strerror}") from None
    print_message(f"wrote {target} and {json_schema.FILE}; `cloudtrain up --dry-run` checks the spec")
