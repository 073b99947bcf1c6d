"""UpOptions: what `up` takes in addition to the spec. One frozen record, from the command line or from a program."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

SPEC_FILE = "cloudtrain.yaml"


@dataclass(frozen=True, slots=True)
class UpOptions:
    """What is to be run, where it may run, what it may cost, and how the client behaves.

    `infra` is `provider[/region[/zone]]`, `hardware` `KEY[:COUNT]`, `row` the id of the one row that is taken,
    `overrides` are `key=value` fields of the spec.
    """

    spec: Path = Path(SPEC_FILE)
    overrides: tuple[str, ...] = ()
    infra: tuple[str, ...] = ()  # empty: what the settings say
    hardware: tuple[str, ...] = ()
    row: str | None = None
    backend: str | None = None  # the trainer: a folder of templates/; None: the best of those that can
    spot: bool | None = None  # True: no on-demand offers; False: none on spot
    max_hours: float | None = None  # the run is ended after so many hours
    max_cost: Decimal | None = None  # US dollars: the run is ended before it costs more
    stop_above_cap: bool = False  # it is ended as soon as its own rate says that `max_cost` may not do
    month_usd: Decimal | None = None  # US dollars: a limit of all runs of this month; it only tightens the state's
    max_restarts: int = 3  # rented machines that may follow one that was reclaimed
    segments: bool = False  # a run longer than the credentials of the state goes on on further machines
    experimental: bool = False  # an experimental row may be chosen
    accept_risk: bool = False  # start where fewer than two guards work without this client
    hub_token_from: str | None = None  # variable or file with the hub's token that rented machines get for this run
    accept_stale: bool = False  # start at a price older than 90 days that cannot be checked
    teaches: bool = True  # later quotes learn from it
    machine_only: bool = False  # rent the machine, and run no job on it
    new: bool = False  # another run of the same spec, whatever there is of it
    name: str | None = None  # of a new run
    home: Path | None = None  # where the result is brought; None: a folder here, called like the run
    yes: bool = False  # ask nothing: start it, and leave it running after Ctrl-C
    dry_run: bool = False  # show the plan; start nothing
    detach: bool = False  # return once it is started

    def spec_overrides(self) -> list[str]:
        """All `key=value` overrides of the spec, its limits included."""
        hours = [] if self.max_hours is None else [f"budget.max_hours={self.max_hours!r}"]
        cost = [] if self.max_cost is None else [f"budget.max_cost={self.max_cost}"]
        stop = ["budget.stop_above_cap=true"] if self.stop_above_cap else []
        return [*self.overrides, *hours, *cost, *stop]

    def destination(self, run: str) -> Path:
        """Where the result of the run is brought."""
        return self.home or Path(run)
