"""`cloudtrain estimate`: how much memory a fine-tune needs on each device, for exactly the options given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cloudtrain.cli import words
from cloudtrain.cli.options import METHODS, TARGETS, Chips, Count, output_option
from cloudtrain.cli.output import print_json, print_message, print_rows, print_text
from cloudtrain.cli.tables import Column, figure
from cloudtrain.errors import UsageError
from cloudtrain.units import billions, gib

if TYPE_CHECKING:
    from cloudtrain.estimate.memory import MemoryEstimate
    from cloudtrain.models.spec import ModelSpec
    from cloudtrain.trainer.verify import Verified

COLUMNS = (Column("part"), figure("size"))
OPTIMIZERS = ["adamw", "adamw8bit", "adafactor", "sgd", "lion", "adamw_master", "adamw_foreach"]


@click.command("estimate", short_help="Peak memory of fine-tuning MODEL, per device.")
@click.argument("model", shell_complete=words.models)
@click.option("--method", type=click.Choice(METHODS), default="qlora", show_default=True)
@click.option("--seq", "sequence_length", type=Count(), default=2048, show_default=True, help="Tokens in a sequence.")
@click.option("--batch", type=Count(), default=1, show_default=True, help="Sequences per micro-step, all devices.")
@click.option("--checkpointing/--no-checkpointing", default=True, show_default=True, help="Recompute activations.")
@click.option("--dtype", type=click.Choice(["bf16", "fp32", "amp"]), default="bf16", show_default=True)
@click.option("--optimizer", type=click.Choice(OPTIMIZERS), default="adamw", show_default=True)
@click.option("--rank", type=Count(), default=16, show_default=True, help="Rank of LoRA adapters.")
@click.option("--targets", type=click.Choice(TARGETS), default="all-linear", show_default=True)
@click.option("--loss", type=click.Choice(["hf", "chunked"]), default="hf", show_default=True)
@click.option("--grad-accum", type=Count(), default=1, show_default=True)
@click.option("--embed-fp32", is_flag=True, help="Embeddings, head and norms in 32 bit.")
@click.option(
    "--quantisation",
    type=click.Choice(["nf4", "int8", "int4"]),
    default="nf4",
    help="Of qlora's weights on TPUs.",
    show_default=True,
)
@click.option("--experts-4bit/--no-experts-4bit", default=None, help="Experts in 4 bit.  [default: only LongCat]")
@click.option("--expert-dequant", type=click.Choice(["single", "layer"]), default="single", show_default=True)
@click.option("--attention", type=click.Choice(["sdpa", "eager"]), default="sdpa", show_default=True)
@click.option("--dropout", type=click.FloatRange(0, 1, max_open=True), default=0.0, show_default=True)
@click.option("--train-layers", type=Count(), default=2, show_default=True, help="Last layers that freeze trains.")
@click.option("--layers", type=Count(), help="Override the depth.")
@click.option("--devices", type=Count(), default=1, show_default=True, help="What the framework sees.")
@click.option("--sharding", type=click.Choice(["fsdp", "zero2", "tp", "ep", "pp"]), default="fsdp", show_default=True)
@click.option("--backend", "estimator", type=click.Choice(["torch", "tpu", "mlx"]), default="torch", show_default=True)
@click.option(
    "--chip",
    type=Chips(),
    shell_complete=words.hardware,
    help="For its runtime and usable memory: v6e, `RX 7900 XTX`, mi210:2, or the id of a quote's row.",
)
@click.option("--explain", is_flag=True, help="All phases, and every assumption with its source.")
@click.option(
    "--verify", is_flag=True, help="Prove the peak too: run the step on fake tensors, or compile it for --chip."
)
@output_option()
def command(model: str, explain: bool, verify: bool, output: str, chip: str | None, **job: Any) -> None:
    """Peak memory of fine-tuning MODEL, per device, for exactly these options."""
    from cloudtrain.estimate import assumptions, memory
    from cloudtrain.estimate.options import Options
    from cloudtrain.trainer import count

    spec = count.find(model, print_message)
    options = Options(**chip_options(chip, job.pop("devices")), **job)
    estimated = memory.estimate(spec, options)
    proven = None
    if verify:
        from cloudtrain.trainer import verify as verifier

        proven = verifier.verify(spec, options, print_message)
    if output == "json":
        print_json(document(spec, estimated, proven))
        return
    if output == "table":
        print_message(f"{spec.name}: {billions(spec.params_total)} parameters, {estimated.params_trainable:,} trained")
        for sentence in assumptions.of_the_repository(spec, options):
            print_message(sentence)
    found = rows(estimated, explain, output) + ([] if proven is None else proven_rows(estimated, proven, output))
    print_rows(output, COLUMNS, found)
    if explain and output == "table":
        click.echo("\nassumptions")
        for assumption in estimated.assumptions:
            print_text(f"- {assumption}")


def chip_options(chip: str | None, devices: int) -> dict[str, Any]:
    """The options of --chip NAME[:N] and --devices. Raises UsageError when both say how many and differ."""
    if not chip:
        return {"devices": devices}
    from cloudtrain.estimate import naming

    named = naming.one(chip)
    if named.devices and devices not in (1, named.devices):
        raise UsageError(f"--chip {chip} is {named.devices} devices, --devices says {devices}", "leave one of them out")
    return {"chip": named.chips[0].key, "devices": named.devices or devices}


def document(spec: ModelSpec, estimated: MemoryEstimate, proven: Verified | None) -> dict[str, Any]:
    """An estimate for JSON; see `cloudtrain schema estimate`."""
    return {
        "model": spec.name,
        "weights_format": spec.published.format or None,
        "counted": spec.shape.counted.how if spec.shape.counted else None,
        "params_total": estimated.params_total,
        "params_trainable": estimated.params_trainable,
        "peak_bytes": estimated.peak_bytes,
        "required_bytes": estimated.required_bytes,
        "phase": estimated.phase,
        "parts": dict(zip(estimated.parts._fields, estimated.parts, strict=True)),
        "phases": estimated.phases,
        "devices": estimated.devices,
        "assumptions": list(estimated.assumptions),
        "verified": None if proven is None else verified_document(proven),
    }


def verified_document(proven: Verified) -> dict[str, Any]:
    """A proof for JSON."""
    return {
        "peak_bytes": proven.peak_bytes,
        "phase": proven.phase,
        "fits": proven.fits,
        "how": proven.how,
        "seconds": proven.seconds,
    }


def rows(estimated: MemoryEstimate, explain: bool, output: str) -> list[list[Any]]:
    """Parts, sums and, with --explain, the phases."""

    def shown(size: int) -> Any:
        return size if output == "csv" else gib(size)

    each = f" on each of {estimated.devices}" if estimated.devices > 1 else ""
    found = [[name, shown(size)] for name, size in zip(estimated.parts._fields, estimated.parts, strict=True) if size]
    found.append([f"peak (phase {estimated.phase}){each}", shown(estimated.peak_bytes)])
    found.append([f"required with runtime and margin{each}", shown(estimated.required_bytes)])
    if explain:
        found += [[f"phase {name}", shown(size)] for name, size in estimated.phases.items()]
    return found


def proven_rows(estimated: MemoryEstimate, proven: Verified, output: str) -> list[list[Any]]:
    """The proven peak, and how far from it the estimate is."""
    off = round(100 * (estimated.peak_bytes / proven.peak_bytes - 1), 1) + 0.0  # no negative zero
    size: Any = proven.peak_bytes if output == "csv" else gib(proven.peak_bytes)
    found = [[f"proven peak ({proven.how})", size], ["estimate against proof", f"{off:+.1f} %"]]
    if proven.fits is not None:
        available = f", a device has {gib(proven.available_bytes)}" if proven.available_bytes else ""
        found.append(["proven to fit", "yes" if proven.fits else f"no{available}"])
    return found
