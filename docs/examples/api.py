"""From a quote to the result, in Python: what would it cost, run it on this machine, read the account.

    cloudtrain init HuggingFaceTB/SmolLM2-135M-Instruct data.jsonl   # writes the spec, cloudtrain.yaml
    python docs/examples/api.py

The same with `infra=("runpod",)` rents a machine; it is gone when `up` returns or raises.
"""

from __future__ import annotations

import sys
from pathlib import Path

from cloudtrain import api


def show(event: api.events.Event) -> None:
    """Of everything that a session reports: the plan, what the log says, and sentences."""
    if isinstance(event, api.events.PlanReady):
        print(f"plan: {event.plan.run} on {event.row.offer.name}, ends by itself: {event.plan.deadline_basis}")
    elif isinstance(event, api.events.LogBytes):
        sys.stdout.write(event.data.decode(errors="replace"))
    elif isinstance(event, api.events.Message):
        print(event.text)


def main() -> None:
    """Quote, run, account."""
    quote = api.quote(api.QuoteOptions("smollm2-135m", tokens=100_000, infra=("local", "gcp")))
    for row in [row for row in quote.lines if row.viable][:3]:
        print(f"{row.offer.provider} {row.offer.name}: ${row.usd_likely:.4f}")

    options = api.UpOptions(spec=Path("cloudtrain.yaml"), infra=("local",), yes=True, home=Path("result"))
    try:
        run = api.up(options, on_event=show)
    except api.CloudtrainError as error:
        sys.exit(f"{error.message} ({error.hint})")
    assert run is not None  # only a dry run has none

    account = api.report(run.id)
    print(f"{account.run} is {account.state}: {account.steps} steps for ${account.metered_usd}")
    for ended in api.down(run.id):  # nothing is left to end: it is proven once more
        print(f"{ended.run.id}: {ended.proof and ended.proof.answer}")


if __name__ == "__main__":
    main()
