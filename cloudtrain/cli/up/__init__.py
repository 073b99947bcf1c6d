"""`cloudtrain up`: check, plan, ask, run, bring home, tear down."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cloudtrain.cli.options import Dollars, Duration
from cloudtrain.cli.output import say
from cloudtrain.errors import UsageError
from cloudtrain.units import SECONDS_PER_HOUR

if TYPE_CHECKING:
    from cloudtrain.quote.row import Quote, QuoteRow
    from cloudtrain.runs.prepare import Prepared
    from cloudtrain.settings import Settings

SPEC_FILE = "cloudtrain.yaml"


@click.command("up")
@click.argument("words", nargs=-1, metavar="[SPEC] [KEY=VALUE]...")
@click.option("-f", "--file", "spec_file", type=click.Path(path_type=Path), help=f"The spec.  [default: {SPEC_FILE}]")
@click.option("--infra", multiple=True, help="Only here: provider[/region[/zone]]; may be repeated.")
@click.option("--hardware", multiple=True, help="Only this: KEY or KEY:COUNT; may be repeated.")
@click.option("--spot/--on-demand", default=None, help="Only spot, or nothing on spot.")
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
@click.option("--machine-only", is_flag=True, help="Rent the machine that the quote would choose, and leave it idle.")
@click.option(
    "--max-restarts",
    type=click.IntRange(0, 100),
    default=3,
    show_default=True,
    help="How often a rented machine that was taken away is followed by another one.",
)
@click.option("--accept-stale", is_flag=True, help="Start at a quoted price older than 90 days that cannot be checked.")
@click.option(
    "--simulate",
    type=click.Choice(["aws", "gcp", "runpod"]),
    help="Simulate it on a fake cloud on this machine; without a spec, with the demo's.",
)
def command(words: tuple[str, ...], **given: Any) -> None:
    """Fine-tune as the spec says, on the cheapest offer that works.

    The same spec in the same state goes on where it was: a living run is attached to, an ended one resumed, a finished
    one is said to be finished. KEY=VALUE changes one field, for example lora.rank=8.
    """
    if given["simulate"]:
        from cloudtrain.cli.up import simulating

        return simulating.simulate(words, given)
    return go(words, given)


def go(words: tuple[str, ...], given: dict[str, Any]) -> None:
    """The whole life, as far as the options in `given` say; a `simulation` in it plays the machine's part."""
    from cloudtrain import settings as settings_module
    from cloudtrain.cli.up import planning, renting, watching
    from cloudtrain.providers import Stack, load
    from cloudtrain.runs import launch, measurements, prepare, remote
    from cloudtrain.state.store import open_store

    settings = settings_module.load()
    path, overrides = spec_and_overrides(words, given["spec_file"])
    overrides += [f"budget.max_hours={given['max_hours'] / SECONDS_PER_HOUR!r}"] if given["max_hours"] else []
    overrides += [f"budget.max_cost={given['max_cost']}"] if given["max_cost"] is not None else []
    prepared = prepare.prepare(path, overrides)
    store = open_store(settings.state)
    measurements.refresh(store)
    found = launch.locate(store, prepared.identity, given["new"])
    if found.action == "finished" and found.run is not None:
        say(f"run `{found.run.id}` of this spec is finished; `--new` starts another")
        return watching.conclude(found.run, given)
    if found.action == "attach" and found.run is not None:
        say(f"run `{found.run.id}` of this spec is running: attached")
        return watching.follow(found.run, given)
    if given["machine_only"]:
        quote = quote_once(prepared, prepare.estimated_tokens(prepared), settings, given)
        return renting.rent(store, prepared, quote, settings, found.run, given)
    rough = quote_once(prepared, prepare.estimated_tokens(prepared), settings, given)
    first = prepare.chosen_line(rough)
    prepare.within_limits(prepared, flavour_of(first))
    if not load("stacks", first.offer.provider, Stack).direct:
        remote.reachable(store.url)
        quote = better_quote(prepared, rough, settings, given)
        return renting.rent(store, prepared, quote, settings, found.run, given)
    store.folder("runs")  # a bucket cannot hold a run on this machine: told before anything is made for one
    quote, line = quote_for(prepared, first, settings, given)
    plan = planning.plan_for(store, prepared, quote, line, found.run, given)
    planning.show_plan(plan, prepared, line, found.run, given)
    if given["dry_run"]:
        return None
    planning.agree(plan, line, settings, given)
    return watching.launch_and_follow(store, plan, given)


def spec_and_overrides(words: tuple[str, ...], spec_file: Path | None) -> tuple[Path, list[str]]:
    """The words of the command line as a spec path and `key=value` overrides. Raises UsageError."""
    files = [word for word in words if "=" not in word]
    if len(files) + (spec_file is not None) > 1:
        raise UsageError(f"more than one spec is named: {', '.join(files)}", "overrides are written key=value")
    path = spec_file or Path(files[0] if files else SPEC_FILE)
    if not files and spec_file is None and not path.exists():
        raise UsageError(f"there is no `{SPEC_FILE}` here", "`cloudtrain init MODEL DATA` writes one")
    return path, [word for word in words if "=" in word]


def quote_for(prepared: Prepared, rough: QuoteRow, settings: Settings, given: dict[str, Any]) -> tuple[Quote, QuoteRow]:
    """The quote for the spec with tokens counted by its own tokenizer, and the chosen line.

    `rough`, chosen with estimated tokens, has decided that the environment is worth making.
    """
    from cloudtrain.cli.up import planning
    from cloudtrain.runs import prepare
    from cloudtrain.settings import cache_folder
    from cloudtrain.trainer import environment

    flavour = flavour_of(rough)
    environment.ensure(flavour, say)
    say("counting tokens with the model's tokenizer")
    counted = prepare.token_check(prepared, flavour, cache_folder() / "checks" / prepared.identity[:16])
    if counted is not None:
        planning.show_data(prepared, counted)
    quote = quote_once(prepared, prepare.estimated_tokens(prepared, counted), settings, given)
    return quote, prepare.chosen_line(quote)


def better_quote(prepared: Prepared, rough: Quote, settings: Settings, given: dict[str, Any]) -> Quote:
    """A quote with counted tokens where the tokenizer and its environment are at hand; else the rough one.

    For a rented machine nothing is made or fetched here: it has an environment of its own.
    """
    from cloudtrain.cli.up import planning
    from cloudtrain.runs import prepare
    from cloudtrain.settings import cache_folder

    counted = None
    if (Path(prepared.model.path or ".") / "tokenizer_config.json").is_file():
        folder = cache_folder() / "checks" / prepared.identity[:16]
        counted = prepare.token_check(prepared, flavour_of(prepare.chosen_line(rough)), folder)
    if counted is None:
        say(f"tokens: {rough.request.tokens:,}, estimated ({rough.request.tokens_basis})")
        return rough
    planning.show_data(prepared, counted)
    return quote_once(prepared, prepare.estimated_tokens(prepared, counted), settings, given)


def flavour_of(line: QuoteRow) -> str:
    """The environment that a row's recipe needs."""
    return line.assessment.recipe.flavour if line.assessment.recipe else "cpu"


def quote_once(prepared: Prepared, tokens: tuple[int, str], settings: Settings, given: dict[str, Any]) -> Quote:
    """One quote for the spec."""
    from dataclasses import replace

    from cloudtrain.cli.quote import make_quote, markets, parse_hardware, places
    from cloudtrain.runs import prepare

    budget = prepared.spec.budget
    request = prepare.request_for(
        prepared,
        tokens,
        places(given["infra"] or settings.infra),
        float(settings.max_hours),
        budget.max_cost,
        given["experimental"],
    )
    hardware = tuple(parse_hardware(text) for text in given["hardware"])
    return make_quote(replace(request, hardware=hardware, markets=markets(given["spot"])), settings)
