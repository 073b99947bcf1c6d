"""`cloudtrain probe`: how fast this machine multiplies, for later quotes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cloudtrain.cli.options import output_option
from cloudtrain.cli.output import print_json, print_message, print_rows
from cloudtrain.cli.tables import Column, figure

if TYPE_CHECKING:
    from cloudtrain.records import ProbeRecord

COLUMNS = (Column("processor"), figure("cores"), figure("bf16"), figure("float32"), figure("load"))
SECONDS = 8.0  # of products; the steps of small models take about twice as long


@click.command("probe", short_help="Measure this machine for its quotes; 30 s.")
@output_option("table", "json")
def command(output: str) -> None:
    """Measure matrix products on this machine's processor in bf16 and in float32, as the trainer does when it starts.

    And steps of small models by the trainer itself, which show what a step costs beside its products. Later quotes of
    this machine go by what was measured, and by the faster of the two types where its memory fits.
    The environment of the trainer is made when there is none. `load` is the share of the processors that others had:
    on an idle machine the figure is truer.
    """
    from cloudtrain import settings
    from cloudtrain.quote import catalog, probed
    from cloudtrain.runs.results import probes
    from cloudtrain.state.store import open_store

    loaded = settings.load()
    store = open_store(loaded.state)
    found = probes.take(catalog.context(loaded), SECONDS, print_message)
    probes.keep(store, found)
    if output == "json":
        print_json(document(found))
        return
    print_rows("table", COLUMNS, [row(found)])
    print_message(f"quotes of this machine take {'float32' if document(found)['faster'] == 'fp32' else 'bf16'} now")
    if found.load is not None and found.load > probed.BUSY:
        print_message("others were busy here: repeat when the machine is idle")


def document(found: ProbeRecord) -> dict[str, Any]:
    """A probe for JSON."""
    from cloudtrain.offer import Products
    from cloudtrain.quote import probed
    from cloudtrain.units import rfc3339

    products = Products(found.bf16_flops_per_s, found.fp32_flops_per_s, found.time, found.load)
    return {
        "hardware": found.hardware,
        "cores": found.cores,
        "bf16_flops_per_s": found.bf16_flops_per_s,
        "fp32_flops_per_s": found.fp32_flops_per_s,
        "faster": "fp32" if probed.float32_is_faster(products) else "bf16",
        "load": found.load,
        "measured_at": rfc3339(found.time),
        "torch": found.torch,
    }


def row(found: ProbeRecord) -> list[str]:
    """A probe as a table row."""
    from cloudtrain.quote.probed import tera

    load = "-" if found.load is None else f"{found.load:.0%}"
    return [found.hardware, str(found.cores), tera(found.bf16_flops_per_s), tera(found.fp32_flops_per_s), load]
