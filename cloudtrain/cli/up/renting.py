"""`up` on a rented machine: places tried one after the other, the job watched; or the machine alone, left idle."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from cloudtrain.cli.output import bold, say
from cloudtrain.cli.up import planning, staying
from cloudtrain.cli.up.watching import Interrupted
from cloudtrain.errors import Cancelled, CloudtrainError, NoCapacity, NotFinished, NothingViable, TeardownIncomplete
from cloudtrain.settings import now
from cloudtrain.units import SECONDS_PER_HOUR, gib, hours, money, rfc3339

if TYPE_CHECKING:
    from cloudtrain.plan import Plan
    from cloudtrain.quote.row import Quote, QuoteRow
    from cloudtrain.runs.live_price import Checked
    from cloudtrain.runs.prepare import Prepared
    from cloudtrain.runs.record import Run
    from cloudtrain.settings import Settings
    from cloudtrain.state.protocol import Store


def rent(
    store: Store, prepared: Prepared, quote: Quote, settings: Settings, earlier: Run | None, given: dict[str, Any]
) -> None:
    """Try places until one has a machine. Raises NoCapacity with the last answer when none has."""
    from cloudtrain.runs import candidates, runnable
    from cloudtrain.state.protocol import AlreadyThere

    lines = candidates.rentable(quote, given["experimental"])
    if not given["machine_only"]:
        lines = candidates.for_job(runnable.that_work(lines, quote.request, given["experimental"]))
    if not lines:
        raise NothingViable(
            "no machine that can be rented here would finish this run",
            f"`cloudtrain quote {quote.request.spec.name} --method {quote.request.method}` shows why",
        )
    ordered = candidates.in_order(lines, candidates.full_places(store), now())
    first = planning.plan_for(store, prepared, quote, ordered[0], earlier, given)
    try:
        with store.hold(f"runs/{first.run}/client.lock"):
            run = attempt_each(store, prepared, quote, settings, earlier, {**given, "lines": ordered, "first": first})
            if run is not None and not given["machine_only"]:
                staying.stay_or_leave(run, given)
    except AlreadyThere as held:
        raise NotFinished(
            f"another client is on run `{first.run}`: {held.message}", "`cloudtrain ps` shows what it does"
        ) from None


def attempt_each(
    store: Store, prepared: Prepared, quote: Quote, settings: Settings, earlier: Run | None, given: dict[str, Any]
) -> Run | None:
    """One plan after the other, all with the first one's run and deadline; asked once, and again for a dearer one.

    Returns the run that has a machine; None for a dry run.
    """
    from cloudtrain.runs import candidates, launch
    from cloudtrain.runs.record import Run

    first: Plan = given["first"]
    agreed = None
    full: NoCapacity | None = None
    for line in given["lines"]:
        plan = replace(
            planning.plan_for(store, prepared, quote, line, earlier, {**given, "name": None}),
            run=first.run,
            deadline=first.deadline,
            idle=given["machine_only"],
            max_restarts=given["max_restarts"],
        )
        plan, price = checked(plan, line, given)
        plan = plan if plan.idle else reachable_to_its_end(store, plan, line)
        show(plan, line, price, given)
        if given["dry_run"]:
            return None
        worst = worst_usd(plan, line, price)
        if agreed is None or worst > agreed:
            planning.agree(plan, line, settings, given, worst)
            agreed = worst
        if given.get("simulation"):
            plan = given["simulation"].played(plan)
        if not plan.idle:
            remember_places(store, plan.run, given["lines"])
        try:
            run = launch.start(
                store,
                replace(plan, agreed_usd=Decimal(agreed) if Decimal(agreed).is_finite() else None),
                lambda text: say(f"  {text}"),
            )
        except NoCapacity as error:
            full = error
            candidates.remember_full(store, line.offer.key, now())
            say(f"no capacity for {line.offer.name} in {place(line)}: {error.message}")
            if Run(store, plan.run).wanted == "down":
                raise Cancelled(f"run `{plan.run}` was ended by `cloudtrain down`") from None
            continue
        except KeyboardInterrupt:
            raise interrupted(store, plan.run) from None
        with staying.teardown_guard(run.id):
            created(run, plan)
        return run
    raise NoCapacity(f"no place had a machine; the last answer: {full.message if full else ''}", "try again later")


def reachable_to_its_end(store: Store, plan: Plan, line: QuoteRow) -> Plan:
    """The plan with a deadline by which the machine's addresses still live; told when that is earlier. UsageError."""
    from cloudtrain.signing import expiry

    explicit = plan.deadline_basis.startswith("--max")  # then it may end unfinished: that was asked for, and is told
    likely = None if line.assessment.hours is None or explicit else line.assessment.hours.likely * SECONDS_PER_HOUR
    deadline, why = expiry.within(store.url, plan.deadline, likely, now())
    if warning := expiry.limit(store.url, now()).warning:
        say(f"warning: {warning}")
    if not why:
        return plan
    say(f"the deadline is brought forward: {why}")
    return replace(plan, deadline=deadline, deadline_basis=why)


def remember_places(store: Store, run: str, lines: list[QuoteRow]) -> None:
    """Where another machine is looked for when this one is taken away, by whoever looks after the run then."""
    from cloudtrain.quote.document import candidate
    from cloudtrain.runs import reconcile

    reconcile.keep_candidates(store, run, [candidate(line) for line in lines[: reconcile.MOST_PLACES]])


def interrupted(store: Store, run: str) -> CloudtrainError:
    """What an interrupt leaves: nothing, if that was proven before it reached us."""
    from cloudtrain.runs.record import Run

    record = Run(store, run)
    if record.gone is not None or record.begun is None:
        return Interrupted(f"stopped `{run}`; nothing of it is left", "`cloudtrain up` begins again")
    return TeardownIncomplete(f"stopped `{run}`; something of it may be left", f"cloudtrain down {run}")


def checked(plan: Plan, offered: QuoteRow, given: dict[str, Any]) -> tuple[Plan, Checked]:
    """The plan at the price of now, its deadline brought forward where a money cap asks for it."""
    from cloudtrain.runs import live_price, prepare

    price = live_price.check(plan.line, now(), given["accept_stale"])
    deadline = plan.deadline
    hourly = prepare.hourly_usd(offered, price.usd_per_hour)
    if plan.max_cost is not None and hourly:
        deadline = min(deadline, now() + float(plan.max_cost / hourly) * SECONDS_PER_HOUR)
    return replace(plan, line=plan.line.at_price(price.usd_per_hour), deadline=deadline), price


def worst_usd(plan: Plan, line: QuoteRow, price: Checked) -> Decimal:
    """What the machine costs, disk and address included, if it stands until its deadline."""
    from cloudtrain.runs import prepare

    hourly = prepare.hourly_usd(line, price.usd_per_hour)
    if hourly is None:
        return Decimal("Infinity")
    return hourly * max(0, int(plan.deadline - now())) / SECONDS_PER_HOUR


def job_words(plan: Plan, line: QuoteRow) -> str:
    """What is trained."""
    return f"{plan.job['method']} of {plan.job['model']}, {line.assessment.stack}"


def show(plan: Plan, line: QuoteRow, price: Checked, given: dict[str, Any]) -> None:
    """What would be made, what it costs, what ends it, what stays."""
    from cloudtrain.cli.quote.table import machine
    from cloudtrain.providers import Stack, load

    stack = load("stacks", plan.provider, Stack)
    made = stack.preview(plan)
    left_s = plan.deadline - now()
    to_finish = (
        "unknown" if line.usd is None else f"{money(line.usd.likely)} ({money(line.usd.low)} .. {money(line.usd.high)})"
    )
    rows = [
        (
            "what",
            "a machine only: no job runs on it, and it idles until it is ended" if plan.idle else job_words(plan, line),
        ),
        ("where", f"{line.offer.name} ({plan.provider}), {machine(line)}, {line.offer.market}, {place(line)}"),
        (
            "memory",
            f"{gib(line.assessment.required_bytes)} of {gib(line.assessment.memory_bytes)}: {line.assessment.fits}",
        ),
        ("makes", "; ".join(made)),
        ("price", price.words),
        (
            "cost",
            f"{money(worst_usd(plan, line, price))} if nobody ends it before; the job itself would cost {to_finish}"
            if plan.idle
            else f"{to_finish}; at the most {money(worst_usd(plan, line, price))}, all machines together",
        ),
        ("ends at", f"{rfc3339(plan.deadline)} (in {hours(left_s)}) at the latest: {plan.deadline_basis}"),
        ("guards", ", ".join(plan.guards)),
        ("kept", "; ".join(stack.cloud.kept) if stack.cloud and stack.cloud.kept else "nothing at the provider"),
    ]
    if not plan.idle:
        rows += staying.plan_rows(plan, given)
    say(bold(f"plan: {plan.run}"))
    for name, text in rows:
        say(f"  {name:8} {text}")


def place(line: QuoteRow) -> str:
    """Region and zone of an offer."""
    return "/".join(part for part in (line.offer.region, line.offer.zone) if part) or "anywhere"


def created(run: Run, plan: Plan) -> None:
    """What stands now, and how to end it."""
    if run.machine is not None:
        click.echo(f"machine created: {run.machine.id} ({plan.provider}, {run.machine.place})")
    if not plan.idle:
        return
    click.echo(f"run `{run.id}` idles until {rfc3339(plan.deadline)} at the latest; `cloudtrain down {run.id}` ends it")
