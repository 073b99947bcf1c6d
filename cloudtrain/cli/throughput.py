"""`cloudtrain throughput`: tokens per second that a chip reaches, and how sure that is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import click

from cloudtrain.cli import words
from cloudtrain.cli.options import METHODS, Chips, Count, output_option
from cloudtrain.cli.output import print_json, print_message, print_rows, print_text
from cloudtrain.cli.tables import Column, figure
from cloudtrain.errors import UsageError

if TYPE_CHECKING:
    from cloudtrain.estimate.efficiency import Precision, Tier
    from cloudtrain.estimate.options import Method

COLUMNS = (figure("low"), figure("likely"), figure("high"), Column("basis"))


class Asked(NamedTuple):
    """The job whose speed is asked for, in addition to its model and machine."""

    method: Method
    sequence_length: int
    precision: Precision
    tier: Tier | None


@click.command("throughput", short_help="Tokens per second of fine-tuning MODEL, per chip.")
@click.argument("model", required=False, shell_complete=words.models)
@click.option(
    "--hardware",
    required=True,
    type=Chips(),
    shell_complete=words.hardware,
    help="Which chip, and how many: mi300x, `RX 7900 XTX`, mi210:2, or the id of a quote's row.",
)
@click.option("--count", type=Count(), help="Chips (vCPUs for a CPU).  [default: 1]")
@click.option("--method", type=click.Choice(METHODS), default="qlora", show_default=True)
@click.option("--seq", "sequence_length", type=Count(), default=2048, show_default=True)
@click.option("--precision", type=click.Choice(["bf16", "fp8"]), default="bf16", show_default=True)
@click.option("--tier", type=click.Choice(["tuned", "framework", "naive"]), help="[default: what our trainer reaches]")
@click.option(
    "--gflop-per-token", type=click.FloatRange(0, min_open=True), help="In place of MODEL, in the MFU convention."
)
@click.option("--moe", is_flag=True, help="With --gflop-per-token: a mixture of experts.")
@output_option("table", "json")
def command(
    model: str | None,
    hardware: str,
    count: int | None,
    gflop_per_token: float | None,
    moe: bool,
    output: str,
    **job: Any,
) -> None:
    """Tokens per second per chip for fine-tuning MODEL, low to high."""
    from cloudtrain.estimate import hardware as table
    from cloudtrain.estimate import naming, throughput
    from cloudtrain.estimate.flops import flops_per_token
    from cloudtrain.estimate.options import Options
    from cloudtrain.trainer import count as count_parameters

    if (model is None) == (gflop_per_token is None):
        raise UsageError("give either MODEL or --gflop-per-token", "`cloudtrain throughput qwen3-8b --hardware mi300x`")
    named, asked = naming.one(hardware), Asked(**job)
    chip = named.chips[0]
    if named.count and count not in (None, named.count):
        raise UsageError(f"--hardware {hardware} and --count {count} differ", "leave one of them out")
    flops = gflop_per_token * 1e9 if gflop_per_token is not None else 0.0
    if model is not None:
        spec = count_parameters.find(model, print_message)
        flops = flops_per_token(spec, Options(method=asked.method, sequence_length=asked.sequence_length)).convention
        moe = spec.params_experts > 0
    work = throughput.Work(flops, asked.method, moe, asked.precision, asked.tier)
    found = throughput.tokens_per_second(chip, named.count or count or 1, work, units=table.units_per_count(hardware))
    three = None if found.range is None else {k: float(f"{v:.5g}") for k, v in found.range._asdict().items()}
    if output == "json":
        print_json({"tokens_per_second_per_chip": three, "basis": found.basis})
    elif three is None:
        print_text(f"unknown: {found.basis}")
    else:
        print_rows("table", COLUMNS, [[*(f"{v:,.4g}" for v in three.values()), found.basis]])
