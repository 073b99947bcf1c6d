"""What a user sees and is asked while a run is started and followed: the events of a session as text."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloudtrain.cli.live import View
from cloudtrain.cli.output import ask, bold, message_width, print_message, print_text
from cloudtrain.cli.tables import listed
from cloudtrain.errors import UsageError
from cloudtrain.quote.machine.disk import GB
from cloudtrain.runs import events
from cloudtrain.units import gib, hours, money, rfc3339

if TYPE_CHECKING:
    from cloudtrain.plan import Plan
    from cloudtrain.quote.assessment import Assessment
    from cloudtrain.quote.machine.disk import Disk


class Screen:
    """Shows events on stderr, results on stdout; asks on the terminal. `simulated`: nothing outlives the command."""

    def __init__(self, simulated: bool = False) -> None:
        self.simulated = simulated
        self.view: View | None = None
        self.shown: dict[type, Callable[[Any], None]] = {
            events.Message: lambda event: print_message(f"  {event.text}" if event.detail else event.text),
            events.RunFound: run_found,
            events.TokensEstimated: lambda event: print_message(f"tokens: {event.tokens:,}, estimated ({event.basis})"),
            events.DataCounted: data_counted,
            events.PlanReady: self.plan_ready,
            events.PlaceFull: lambda event: print_message(
                f"no capacity for {event.offer} in {event.place}: {event.answer}"
            ),
            events.Started: lambda event: print_message(f"started `{event.run.id}`"),
            events.MachineCreated: machine_created,
            events.Detached: detached,
            events.Requoted: self.requoted,
            events.Stopping: lambda event: print_message(
                f"stopping `{event.run.id}`: it writes a checkpoint first if it has made a step"
            ),
            events.Finished: self.finished,
        }

    def __call__(self, event: events.Event) -> None:
        """Show an event."""
        if isinstance(event, events.Following):
            self.view = View(event.run)
        elif isinstance(event, events.MachinePhase | events.LogBytes | events.FollowingEnded) and self.view:
            self.view.show_event(event)
        elif shown := self.shown.get(type(event)):
            shown(event)

    def answer(self, question: events.Question) -> bool:
        """Ask at the terminal. Without one nothing may be started, and nothing is stopped."""
        if isinstance(question, events.StartQuestion):
            if not sys.stdin.isatty():
                raise UsageError("there is no terminal to ask on", "-y starts it without asking")
            return ask("start it?", question.default)
        if not sys.stdin.isatty():
            return False
        try:
            return ask(f"\nstop `{question.run.id}`? (no: it keeps running)", default=False)
        except KeyboardInterrupt:
            print_message()
            return True

    def plan_ready(self, event: events.PlanReady) -> None:
        """What is about to happen, what it costs, what ends it, what stays."""
        if event.price is not None:
            return show_plan(f"plan: {event.plan.run}", [*rented_rows(event), *self.job_rows(event)])
        if event.row.assessment.hours is None or event.row.usd is None:
            return None
        show_plan(f"{'resume' if event.resumes else 'plan'}: {event.plan.run}", local_rows(event))
        if event.likely_unfinished:
            print_message(
                "warning: it will probably reach that end unfinished; it writes a checkpoint then, and `up` resumes"
            )
        return None

    def job_rows(self, event: events.PlanReady) -> list[tuple[str, str]]:
        """What a job adds to the plan of a rented machine."""
        if event.plan.idle:
            return []
        restarts = f"at most {event.plan.max_restarts}, from the last checkpoint, when the machine is preempted"
        detaching = "Ctrl-C or a closed lid does not stop it; `cloudtrain poll` checks on it from any machine"
        if self.simulated:
            detaching = "Ctrl-C ends a simulation and everything in it; a real run continues without its client"
        return [
            ("result", f"{event.home}, when it is finished; checkpoints and log stay in the state"),
            ("restarts", restarts),
            ("detach", detaching),
        ]

    def requoted(self, event: events.Requoted) -> None:
        """The rest by the run's own rate, and what will not do."""
        for text in (event.remaining.describe(), *event.remaining.warnings()):
            self.view.show_line(text) if self.view else print_message(text)

    def finished(self, event: events.Finished) -> None:
        """The account of a finished run, on stdout."""
        from cloudtrain.report.cost_report import report

        account = report(event.run)
        loss = "" if account.loss is None else f", final loss {account.loss:.3f}"
        print_text(f"finished `{event.run.id}`: {account.steps or 0:,} steps, {account.tokens or 0:,} tokens{loss}")
        print_text(f"result: {event.home}")
        more = "" if self.simulated else f"; `cloudtrain report {event.run.id}` has it all"
        print_text(f"cost: {money(account.metered_usd)} for {hours(account.metered_s)}{more}")


def show_plan(title: str, rows: list[tuple[str, str]]) -> None:
    """The rows of a plan, each text folded in a column of its own."""
    print_message(bold(title))
    for line in listed(rows, message_width()):
        print_message(line)


def local_rows(event: events.PlanReady) -> list[tuple[str, str]]:
    """The plan of a run on this machine."""
    from cloudtrain.cli.quote.table import machine

    plan, row, assessment, usd = event.plan, event.row, event.row.assessment, event.row.usd
    assert assessment.hours is not None
    assert usd is not None
    low, likely, high = (
        hours(each * 3600) for each in (assessment.hours.low, assessment.hours.likely, assessment.hours.high)
    )
    return [
        ("what", f"{plan.job['method']} of {event.model}, {assessment.software}"),
        ("where", f"{row.offer.name} ({row.offer.provider}), {machine(row)}, {row.offer.market}"),
        ("memory", f"{gib(assessment.required_bytes)} of {gib(assessment.memory_bytes)}: {assessment.fits}"),
        *batch_rows(event),
        *([("disk", written_here(assessment.disk))] if assessment.disk else []),
        ("time", f"{likely} ({low} .. {high})"),
        ("cost", f"{money(usd.likely)} ({money(usd.low)} .. {money(usd.high)}), electricity"),
        ("power", row.offer.price.source),
        ("ends at", f"{rfc3339(plan.deadline)} at the latest: {plan.deadline_basis}"),
        *job_notes(event),
        ("guards", ", ".join(plan.guards)),
        ("kept", f"checkpoints, log and result below {Path(plan.job['output']).parent}"),
        ("result", f"{event.home} as well, when it is finished"),
    ]


def job_notes(event: events.PlanReady) -> list[tuple[str, str]]:
    """Where the model comes from, and how the data was checked."""
    return [(name, text) for name, text in (("weights", event.weights), ("data", event.data)) if text]


def rented_rows(event: events.PlanReady) -> list[tuple[str, str]]:
    """The plan of a rented machine."""
    from cloudtrain.cli.quote.table import machine
    from cloudtrain.runs.candidates import region_and_zone
    from cloudtrain.settings import now

    plan, row, assessment, usd = event.plan, event.row, event.row.assessment, event.row.usd
    what = f"{plan.job['method']} of {plan.job['model']}, {assessment.software}"
    finish = "unknown" if usd is None else f"{money(usd.likely)} ({money(usd.low)} .. {money(usd.high)})"
    cost = f"{finish}; at the most {money(event.worst_usd)}, all machines together"
    if plan.idle:
        what = "a machine only: no job runs on it, and it idles until it is ended"
        cost = f"{money(event.worst_usd)} if it is not ended before; the job itself would cost {finish}"
    place = region_and_zone(row.key)
    left = hours(plan.ends - now())
    return [
        ("what", what),
        ("where", f"{row.offer.name} ({plan.provider}), {machine(row)}, {row.offer.market}, {place}"),
        ("memory", f"{gib(assessment.required_bytes)} of {gib(assessment.memory_bytes)}: {assessment.fits}"),
        *batch_rows(event),
        *disk_rows(assessment),
        *job_notes(event),
        ("makes", "; ".join(event.makes)),
        ("price", event.price.message if event.price else "unknown"),
        ("cost", cost),
        *ends_rows(plan, left),
        ("guards", ", ".join(plan.guards)),
        ("kept", "; ".join(event.kept) or "nothing at the provider"),
    ]


def batch_rows(event: events.PlanReady) -> list[tuple[str, str]]:
    """How a step of the optimizer is split up, where it has several sequences; and what would cost less."""
    job, cheaper = event.plan.job, event.row.cheaper
    size, times = job["micro_batch"], job["grad_accum"]
    if event.plan.idle or (size == times == 1 and not cheaper):
        return []
    split = f"{size} at once, {times} times" if times > 1 else "all at once" if size > 1 else ""
    step = f"a step has {size * times} sequence{'s' if size * times > 1 else ''}{': ' if split else ''}{split}"
    return [("batch", "; ".join(filter(None, (step, cheaper))))]


def ends_rows(plan: Plan, left: str) -> list[tuple[str, str]]:
    """When the run is over at the latest, and of one in segments when its first machine is."""
    if plan.ends == plan.deadline:
        return [("ends at", f"{rfc3339(plan.deadline)} (in {left}) at the latest: {plan.deadline_basis}")]
    return [
        ("ends at", f"{rfc3339(plan.ends)} (in {left}) at the latest"),
        ("segments", f"its first machine ends at {rfc3339(plan.deadline)}: {plan.deadline_basis}"),
    ]


def disk_rows(assessment: Assessment) -> list[tuple[str, str]]:
    """What the run writes on a rented machine, and the disk that it gets for that."""
    from cloudtrain.cli.quote.why import disk_text

    return [("disk", disk_text(assessment.disk))] if assessment.disk else []


def written_here(disk: Disk) -> str:
    """What the run adds to the disks of this machine, whose packages are there by now."""
    parts = disk.parts
    weights = f", and {parts.weights / GB:,.1f} GB of weights unless they are here" if parts.weights else ""
    return f"{(parts.checkpoints + parts.output) / GB:,.1f} GB of checkpoints and result{weights}"


def run_found(event: events.RunFound) -> None:
    """There is a run of the spec."""
    if event.action == "attach":
        return print_message(f"run `{event.run.id}` of this spec is running: attached")
    return print_message(f"run `{event.run.id}` of this spec is finished; `--new` starts another")


def data_counted(event: events.DataCounted) -> None:
    """What the checks found, before any plan."""
    counted = event.counted
    print_message(
        f"data: {counted['rows']:,} rows, {counted['tokens']:,} tokens "
        f"(median {counted['tokens_p50']:,}, longest {counted['tokens_max']:,}), "
        f"{counted['steps']:,} steps; {counted['truncated_percent']:.1f} % cut at {event.sequence_length}"
    )
    for problem in event.problems:
        print_message(f"warning: {problem}")


def machine_created(event: events.MachineCreated) -> None:
    """What exists now; and of a machine without a job, how to end it."""
    run = event.run
    if run.machine is None:
        return None
    created = f"machine created: {run.machine.id} ({run.intent.provider}, {run.machine.place})"
    if event.restart:
        return print_message(created)
    print_text(created)
    if run.intent.idle:
        until = rfc3339(run.intent.deadline)
        print_text(f"run `{run.id}` idles until {until} at the latest; `cloudtrain down {run.id}` ends it")
    return None


def detached(event: events.Detached) -> None:
    """How a run is followed and ended by who does not stay with it."""
    run = event.run.id
    if event.why == "idle":
        return print_message(f"it idles until its deadline; `cloudtrain down {run}` ends it")
    if event.why == "attached":
        return print_message(f"`cloudtrain logs -f {run}` follows it")
    if event.run.stack.direct:
        return print_message(
            f"it continues without this client; `cloudtrain logs -f {run}` follows, `cloudtrain down {run}` ends it"
        )
    return print_message(
        f"it continues without this client; `cloudtrain attach {run}` follows, "
        f"`cloudtrain poll --finish {run}` downloads the result"
    )
