"""`cloudtrain up`: check, plan, ask, run, bring home, tear down."""

from __future__ import annotations

import sys
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cloudtrain.cli.options import Dollars, Duration
from cloudtrain.cli.output import bold, say
from cloudtrain.errors import Cancelled, CloudtrainError, JobFailed, NotFinished, UsageError
from cloudtrain.units import SECONDS_PER_HOUR, gib, hours, money, rfc3339

if TYPE_CHECKING:
    from cloudtrain.quote.line import Line, Quote
    from cloudtrain.runs.plan import Plan
    from cloudtrain.runs.prepare import Prepared
    from cloudtrain.runs.record import Run
    from cloudtrain.runs.store import Store
    from cloudtrain.settings import Settings

SPEC_FILE = "cloudtrain.yaml"
LEAST_GUARDS = 2


@click.command("up")
@click.argument("words", nargs=-1, metavar="[SPEC] [KEY=VALUE]...")
@click.option("-f", "--file", "spec_file", type=click.Path(path_type=Path), help=f"The spec.  [default: {SPEC_FILE}]")
@click.option("--infra", multiple=True, help="Only here: provider[/region[/zone]]; may be repeated.")
@click.option(
    "--max-hours", "--ttl", "max_hours", type=Duration(), help="End the run after this long, whoever watches."
)
@click.option("--max-cost", type=Dollars(), help="End the run before it costs more.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("-d", "--detach", is_flag=True, help="Start it and return; `cloudtrain logs -f` follows.")
@click.option("--dry-run", "--dryrun", is_flag=True, help="Check and show the plan; start nothing.")
@click.option("--new", is_flag=True, help="Start another run of the same spec instead of going on with it.")
@click.option("-n", "--name", help="Name of a new run.  [default: model, method and six digits]")
@click.option("--to", "home", type=click.Path(path_type=Path), help="Where the result goes.  [default: ./RUN]")
@click.option("--experimental", is_flag=True, help="An experimental row may be chosen.")
@click.option("--accept-risk", is_flag=True, help="Start even where fewer than two guards work without this client.")
def command(words: tuple[str, ...], **given: Any) -> None:
    """Fine-tune as the spec says, on the cheapest offer that works.

    The same spec in the same state goes on where it was: a living run is attached to, an ended one resumed, a finished
    one is said to be finished. KEY=VALUE changes one field, for example lora.rank=8.
    """
    from cloudtrain import settings as settings_module
    from cloudtrain.runs import launch, prepare
    from cloudtrain.runs.store import open_store

    settings = settings_module.load()
    path, overrides = spec_and_overrides(words, given["spec_file"])
    overrides += [f"budget.max_hours={given['max_hours'] / SECONDS_PER_HOUR!r}"] if given["max_hours"] else []
    overrides += [f"budget.max_cost={given['max_cost']}"] if given["max_cost"] is not None else []
    prepared = prepare.prepare(path, overrides)
    store = open_store(settings.state)
    found = launch.locate(store, prepared.identity, given["new"])
    if found.action == "finished" and found.run is not None:
        say(f"run `{found.run.id}` of this spec is finished; `--new` starts another")
        return conclude(found.run, given)
    if found.action == "attach" and found.run is not None:
        say(f"run `{found.run.id}` of this spec is running: attached")
        return follow(found.run, given)
    quote, line = quote_for(prepared, settings, given)
    plan = plan_for(store, prepared, quote, line, found.run, given)
    show_plan(plan, prepared, line, found.run, given)
    if given["dry_run"]:
        return None
    agree(plan, line, settings, given)
    return launch_and_follow(store, plan, given)


def spec_and_overrides(words: tuple[str, ...], spec_file: Path | None) -> tuple[Path, list[str]]:
    """The words of the command line as a spec path and `key=value` overrides. Raises UsageError."""
    files = [word for word in words if "=" not in word]
    if len(files) + (spec_file is not None) > 1:
        raise UsageError(f"more than one spec is named: {', '.join(files)}", "overrides are written key=value")
    path = spec_file or Path(files[0] if files else SPEC_FILE)
    if not files and spec_file is None and not path.exists():
        raise UsageError(f"there is no `{SPEC_FILE}` here", "`cloudtrain init MODEL DATA` writes one")
    return path, [word for word in words if "=" in word]


def quote_for(prepared: Prepared, settings: Settings, given: dict[str, Any]) -> tuple[Quote, Line]:
    """The quote for the spec with tokens counted by its own tokenizer, and the chosen line.

    A first quote with estimated tokens decides whether the environment is worth making at all.
    """
    from cloudtrain.runs import environment, prepare
    from cloudtrain.settings import cache_folder

    rough = prepare.chosen_line(quote_once(prepared, prepare.estimated_tokens(prepared), settings, given))
    flavour = rough.case.recipe.flavour if rough.case.recipe else "cpu"
    python = environment.ensure(flavour, say)
    say("counting tokens with the model's tokenizer")
    counted = prepare.token_check(prepared, python, cache_folder() / "checks" / prepared.identity[:16])
    show_data(prepared, counted)
    quote = quote_once(prepared, prepare.estimated_tokens(prepared, counted), settings, given)
    return quote, prepare.chosen_line(quote)


def quote_once(prepared: Prepared, tokens: tuple[int, str], settings: Settings, given: dict[str, Any]) -> Quote:
    """One quote for the spec."""
    from cloudtrain.cli.quote import make_quote, places
    from cloudtrain.runs import prepare

    budget = prepared.spec.budget
    request = prepare.request_for(
        prepared,
        tokens,
        places(given["infra"] or settings.infra),
        budget.max_hours or float(settings.max_hours),
        budget.max_cost,
        given["experimental"],
    )
    return make_quote(request, settings)


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
    store: Store, prepared: Prepared, quote: Quote, line: Line, earlier: Run | None, given: dict[str, Any]
) -> Plan:
    """The plan: of the run that is gone on with, or of a new one."""
    from cloudtrain.cli.quote.document import line_document
    from cloudtrain.runs import launch, prepare
    from cloudtrain.settings import now

    run = (
        earlier.id
        if earlier
        else new_name(store, prepared, given["name"]) or launch.new_id(store, prepared.stem, prepared.identity)
    )
    folder = store.folder(f"runs/{run}")
    chosen = prepare.Chosen(quote, line, line_document(line, lambda _: ""))
    return prepare.make_plan(prepared, chosen, run, folder, now())


def new_name(store: Store, prepared: Prepared, name: str | None) -> str | None:
    """The name asked for, checked. Raises UsageError when it is taken or not a plain word."""
    if name is None:
        return None
    if not name.replace("-", "").replace(".", "").replace("_", "").isalnum() or name.startswith("."):
        raise UsageError(f"`{name}` is not a run name", "use letters, digits, dots, dashes and underscores")
    if name in store.children("runs"):
        raise UsageError(f"a run `{name}` of another spec or data is there already", "choose another name")
    return name


def show_plan(plan: Plan, prepared: Prepared, line: Line, earlier: Run | None, given: dict[str, Any]) -> None:
    """What is about to happen, what it costs, what ends it, what stays."""
    from cloudtrain.cli.quote.table import machine

    case, usd, spec = line.case, line.usd, prepared.spec
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


def agree(plan: Plan, line: Line, settings: Settings, given: dict[str, Any]) -> None:
    """Ask, unless told not to. Above the limit of the settings the default answer is no."""
    from cloudtrain.seams import Stack, load

    alone = [guard for guard in load("stacks", plan.provider, Stack).guards if guard.alone]
    if len(alone) < LEAST_GUARDS and not given["accept_risk"]:
        raise UsageError(
            f"only {len(alone)} guard would end this run without this client", "--accept-risk starts it all the same"
        )
    if given["yes"]:
        return
    worst = line.usd.high if line.usd else Decimal(0)
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to be asked", "-y starts it without asking")
    if not click.confirm("start it?", default=worst <= settings.ask_above_usd, err=True):
        raise Cancelled("nothing was started")


def launch_and_follow(store: Store, plan: Plan, given: dict[str, Any]) -> None:
    """Start the plan and, unless detached, stay with it to its end."""
    from cloudtrain.runs import follow as reading
    from cloudtrain.runs import launch
    from cloudtrain.runs.record import Run
    from cloudtrain.runs.store import AlreadyThere

    try:
        with store.hold(f"runs/{plan.run}/client.lock"):
            offset = reading.log_size(Run(store, plan.run))
            run = launch.start(store, plan)
            say(f"started `{run.id}`")
            if given["detach"]:
                say(
                    f"it goes on without you; `cloudtrain logs -f {run.id}` follows, `cloudtrain down {run.id}` ends it"
                )
                return
            watch_and_conclude(run, offset, given)
    except AlreadyThere as held:
        raise NotFinished(
            f"another client is on run `{plan.run}`: {held.message}", f"`cloudtrain logs -f {plan.run}` follows it"
        ) from None


def follow(run: Run, given: dict[str, Any]) -> None:
    """Attach to a living run. Raises NotFinished while another client is on it."""
    from cloudtrain.runs import follow as reading
    from cloudtrain.runs.store import AlreadyThere

    if given["detach"]:
        return say(f"`cloudtrain logs -f {run.id}` follows it")
    try:
        with run.store.hold(run.key("client.lock")):
            watch_and_conclude(run, reading.tail_offset(run, 20), given)
    except AlreadyThere as held:
        raise NotFinished(
            f"another client is on run `{run.id}`: {held.message}", f"`cloudtrain logs -f {run.id}` follows it"
        ) from None


def watch_and_conclude(run: Run, offset: int, given: dict[str, Any]) -> None:
    """Follow to the end; Ctrl-C asks whether to stop the run or to leave it."""
    from cloudtrain.cli.live import watch
    from cloudtrain.runs import teardown

    try:
        ended = watch(run, offset)
    except KeyboardInterrupt:
        interrupted(run, given)
        return
    conclude(teardown.settle(ended), given)


def interrupted(run: Run, given: dict[str, Any]) -> None:
    """After Ctrl-C: leave it running or stop it, and say which. A second Ctrl-C stops."""
    from cloudtrain.runs import teardown

    stop = False
    if sys.stdin.isatty() and not given["yes"]:
        try:
            stop = click.confirm(f"\nstop `{run.id}`? (no: it goes on without you)", default=False, err=True)
        except (KeyboardInterrupt, click.Abort):
            stop = True
    if not stop:
        raise Interrupted(
            f"left `{run.id}` running", f"`cloudtrain up` attaches again, `cloudtrain down {run.id}` ends it"
        )
    say(f"stopping `{run.id}`: it writes a checkpoint first")
    teardown.down(run)
    raise Interrupted(f"stopped `{run.id}`, nothing of it runs", "`cloudtrain up` resumes it from its last checkpoint")


class Interrupted(CloudtrainError):
    """Ctrl-C, with what still runs said."""

    exit_code = 130


def conclude(run: Run, given: dict[str, Any]) -> None:
    """What came of it: bring a finished result home and say the account, or say how it ended. Raises by the outcome."""
    from cloudtrain.runs import measure, pull

    if run.state == "finished":
        measure.learn(run)
        home = pull.pull(run, destination(run.id, given))
        summary(run, home)
        return
    reason = (run.exit or {}).get("reason", run.state)
    message = (run.exit or {}).get("message") or ""
    resume = "`cloudtrain up` goes on from the last checkpoint"
    if run.state == "cancelled":
        raise Cancelled(f"run `{run.id}` was stopped on request", resume)
    if run.state == "stopped":
        why = {"deadline": "reached its deadline", "preempted": "was interrupted"}.get(reason, reason)
        raise NotFinished(f"run `{run.id}` {why} before it was finished", f"{resume}; --max-hours gives it more time")
    if run.state == "died":
        raise NotFinished(f"the supervisor of run `{run.id}` was killed", resume)
    raise JobFailed(
        f"run `{run.id}` failed ({reason.replace('_', ' ')}){': ' + message if message else ''}",
        f"`cloudtrain logs --tail 50 {run.id}` shows why; {resume}",
    )


def destination(run: str, given: dict[str, Any]) -> Path:
    """Where the result of a run is brought."""
    return given.get("home") or Path(run)


def summary(run: Run, home: Path) -> None:
    """The account of a finished run, on stdout."""
    from cloudtrain.report.cost_report import report

    account = report(run)
    loss = "" if account.loss is None else f", final loss {account.loss:.3f}"
    click.echo(f"finished `{run.id}`: {account.steps or 0:,} steps, {account.tokens or 0:,} tokens{loss}")
    click.echo(f"result: {home}")
    click.echo(
        f"cost: {money(account.metered_usd)} for {hours(account.metered_s)}; `cloudtrain report {run.id}` has it all"
    )
