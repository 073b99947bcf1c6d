"""`cloudtrain models`: the models known by name, with exact parameter counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cloudtrain.cli import words
from cloudtrain.cli.options import output_option
from cloudtrain.cli.output import print_json, print_message, print_rows
from cloudtrain.cli.tables import Column, figure
from cloudtrain.units import billions

if TYPE_CHECKING:
    from cloudtrain.models.spec import ModelSpec

COLUMNS = (Column("name", fold=False), Column("family", drop=1), figure("parameters"), figure("active", drop=4),
           figure("LoRA r16 attention", drop=2), figure("LoRA r16 all-linear", drop=3),
           Column("Hugging Face id", fold=False))  # fmt: skip


@click.command("models", short_help="The models of the registry.")
@click.argument("models", nargs=-1, metavar="[MODEL]...", shell_complete=words.models)
@output_option()
def command(models: tuple[str, ...], output: str) -> None:
    """The models of the registry, or the MODELs named (registry names, Hugging Face ids, folders)."""
    from cloudtrain.models import registry
    from cloudtrain.trainer import count

    specs = [count.find(text, print_message) for text in models] if models else registry.all_models()
    if output == "json":
        print_json([document(spec) for spec in specs])
    else:
        print_rows(output, COLUMNS, [row(spec, output) for spec in specs])


def document(spec: ModelSpec) -> dict[str, Any]:
    """A model for JSON; see `cloudtrain schema models`."""
    return {
        "name": spec.name,
        "hub_id": spec.hub_id,
        "family": spec.family,
        "params_total": spec.params_total,
        "params_active": spec.params_active,
        "params_trainable": {
            "lora_r16_attention": spec.params_lora(16, "attention"),
            "lora_r16_all_linear": spec.params_lora(16, "all-linear"),
            "full": spec.params_total,
        },
    }


def row(spec: ModelSpec, output: str) -> list[Any]:
    """A model for a person, or exact numbers for CSV."""
    counts = (
        spec.params_total,
        spec.params_active,
        spec.params_lora(16, "attention"),
        spec.params_lora(16, "all-linear"),
    )
    shown = counts if output == "csv" else [billions(count) for count in counts]
    return [spec.name, spec.family, *shown, spec.hub_id]
