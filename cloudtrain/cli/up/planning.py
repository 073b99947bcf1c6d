"""The plan that `up` shows before it asks: what happens, what it costs, what ends it, what stays."""

from __future__ import annotations

import sys
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloudtrain.cli.output import ask, bold, say
from cloudtrain.errors import Cancelled, UsageError
from cloudtrain.settings import now
from cloudtrain.units import SECONDS_PER_HOUR, gib, hours, money, rfc3339

if TYPE_CHECKING:
    from cloudtrain.plan import Plan
    from cloudtrain.quote.row import Quote, QuoteRow
    from cloudtrain.runs.prepare import Prepared
    from cloudtrain.runs.record import Run
    from cloudtrain.settings import Settings
    from cloudtrain.state.protocol import Store

LEAST_GUARDS = 2


def show_data(prepared: Prepared, counted: dict[str, Any]) -> None:
    """What the checks found, before any plan."""
    say(
        f"data: {counted['rows']:,} rows, {counted['tokens']:,} tokens "
        f"(median {counted['tokens_p50']:,}, longest {counted['tokens_max']:,}), "
        f"{counted['steps']:,} steps; {counted['truncated_percent']:.1f} % cut at {prepared.spec.sequence_length}"
    )
    for problem in prepared.data.problems:
        say(f"warning: {problem}")


def plan_for(
    store: Store, prepared: Prepared, quote: Quote, line: QuoteRow, earlier: Run | None, given: dict[str, Any]
) -> Plan:
    """The plan: of the run that is gone on with, or of a new one."""
    from cloudtrain.quote.document import frozen
    from cloudtrain.runs import launch, prepare

    run = (
        earlier.id
        if earlier
        else new_name(store, prepared, given["name"], given["new"])
        or launch.new_id(store, prepared.stem, prepared.identity)
    )
    folder = job_folder(store, line.offer.provider, run)
    chosen = prepare.Chosen(quote, line, frozen(line))
    return prepare.make_plan(prepared, chosen, run, folder, now())


def job_folder(store: Store, provider: str, run: str) -> Path:
    """Where the job's files are: in the state for a run on this machine; a rented machine has a disk of its own.

    Raises UsageError for a run on this machine whose state is in a bucket.
    """
    from cloudtrain.providers import Stack, load

    key = f"runs/{run}"
    return store.folder(key) if load("stacks", provider, Stack).direct else Path(key)


def new_name(store: Store, prepared: Prepared, name: str | None, another: bool) -> str | None:
    """The name asked for, checked. Raises UsageError when it is taken or not a plain word.

    A run of the same spec that another client has begun just now is the one that is meant, unless `another` is asked
    for: its lease tells.
    """
    from cloudtrain.runs.record import Run

    if name is None:
        return None
    if not name.replace("-", "").replace(".", "").replace("_", "").isalnum() or name.startswith("."):
        raise UsageError(f"`{name}` is not a run name", "use letters, digits, dots, dashes and underscores")
    there = Run(store, name).begun
    if there is not None and (another or there.identity != prepared.identity):
        whose = "" if another else " of another spec or data"
        raise UsageError(f"a run `{name}`{whose} is there already", "choose another name")
    return name


def show_plan(plan: Plan, prepared: Prepared, line: QuoteRow, earlier: Run | None, given: dict[str, Any]) -> None:
    """What is about to happen, what it costs, what ends it, what stays."""
    from cloudtrain.cli.quote.table import machine

    case, usd, spec = line.assessment, line.usd, prepared.spec
    if case.hours is None or usd is None:
        return
    unpaid = f" ({line.offer.price.source})" if line.offer.usd_per_hour == 0 else ""
    say(bold(f"{'resume' if earlier else 'plan'}: {plan.run}"))
    rows = [
        ("what", f"{spec.method} of {prepared.model.name}, {case.stack}"),
        ("where", f"{line.offer.name} ({line.offer.provider}), {machine(line)}, {line.offer.market}"),
        ("memory", f"{gib(case.required_bytes)} of {gib(case.memory_bytes)}: {case.fits}"),
        (
            "time",
            f"{hours(case.hours.likely * 3600)} ({hours(case.hours.low * 3600)} .. {hours(case.hours.high * 3600)})",
        ),
        ("cost", f"{money(usd.likely)} ({money(usd.low)} .. {money(usd.high)}){unpaid}"),
        ("ends at", f"{rfc3339(plan.deadline)} at the latest: {plan.deadline_basis}"),
        ("guards", ", ".join(plan.guards)),
        ("kept", f"checkpoints, log and result below {Path(plan.job['output']).parent}"),
        ("result", f"{destination(plan.run, given)} as well, when it is finished"),
    ]
    for name, text in rows:
        say(f"  {name:8} {text}")
    if too_short(plan, line):
        say("warning: it will probably reach that end unfinished; it writes a checkpoint then, and `up` resumes")


def too_short(plan: Plan, line: QuoteRow) -> bool:
    """Whether the likely time is longer than the plan lets the machine stand."""
    return line.assessment.hours is not None and now() + line.assessment.hours.likely * SECONDS_PER_HOUR > plan.deadline


def agree(plan: Plan, line: QuoteRow, settings: Settings, given: dict[str, Any], worst: Decimal | None = None) -> None:
    """Ask, unless told not to. Above the limit of the settings, or with too little time, the default answer is no.

    `worst` is what it may cost, in US dollars; without one it is the high end of the quote.
    """
    from cloudtrain.providers import Stack, load

    guards = load("stacks", plan.provider, Stack).guards(line.offer.name, line.offer.market)
    alone = [guard for guard in guards if guard.alone]
    if len(alone) < LEAST_GUARDS and not given["accept_risk"]:
        raise UsageError(
            f"only {len(alone)} guard would end this run without this client", "--accept-risk starts it all the same"
        )
    if given["yes"]:
        return
    if worst is None:
        worst = line.usd.high if line.usd else Decimal("Infinity")
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to be asked", "-y starts it without asking")
    default = worst <= settings.ask_above_usd and not too_short(plan, line)
    if not ask("start it?", default):
        raise Cancelled("nothing was started")


def destination(run: str, given: dict[str, Any]) -> Path:
    """Where the result of a run is brought."""
    return given.get("home") or Path(run)
