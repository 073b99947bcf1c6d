"""`cloudtrain quote`: what a fine-tune costs to finish, everywhere, and which of it really works."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cloudtrain.cli.options import METHODS, TARGETS, Count, Dollars, Duration, output_option
from cloudtrain.cli.output import bold, dim, print_json, print_rows, say, terminal_width
from cloudtrain.errors import NothingViable, OverBudget, UsageError
from cloudtrain.quote.request import DEFAULT_TOKENS, MARKETS, Place, Request, parse_place
from cloudtrain.units import SECONDS_PER_HOUR, money

if TYPE_CHECKING:
    from cloudtrain.models.spec import ModelSpec
    from cloudtrain.quote.row import Quote
    from cloudtrain.settings import Settings

STALE_DAYS = 30


@click.command("quote", short_help="What it costs to finish fine-tuning MODEL, and where it works.")
@click.argument("model")
@click.option("--method", type=click.Choice(METHODS), default="qlora", show_default=True, help="How to fine-tune.")
@click.option("--seq", "sequence_length", type=Count(), default=2048, show_default=True, help="Tokens in a sequence.")
@click.option("--batch", type=Count(), default=1, show_default=True, help="Sequences per micro-step, all devices.")
@click.option("--rank", type=Count(), default=16, show_default=True, help="Rank of LoRA adapters.")
@click.option("--targets", type=click.Choice(TARGETS), help="What LoRA adapts.  [default: our recipe's choice]")
@click.option("--tokens", type=Count(), help="Positions processed in all, for example 10M.  [default: 1M]")
@click.option("--data", type=click.Path(path_type=Path), help="Count the tokens of this data file instead.")
@click.option("--epochs", type=click.FloatRange(0, min_open=True), default=1.0, help="Passes over --data.")
@click.option("--max-hours", type=Duration(), help="Ceiling on the expected time.  [default: a week]")
@click.option("--max-cost", type=Dollars(), help="Ceiling on the expected dollars.")
@click.option("--infra", multiple=True, help="Only here: provider[/region[/zone]]; may be repeated.")
@click.option("--hardware", multiple=True, help="Only this: KEY or KEY:COUNT; may be repeated.")
@click.option("--spot/--on-demand", "--use-spot", default=None, help="Only spot, or nothing on spot.")
@click.option("--include-nvidia", is_flag=True, help="Show NVIDIA offers too, for comparison; never chosen.")
@click.option("--experimental", is_flag=True, help="Let an experimental row be chosen.")
@click.option("--why", metavar="OFFER", help="Explain one row in full: its number, or name/region/market.")
@click.option("--compare", metavar="A,B", help="Explain two rows side by side.")
@click.option("--verify", is_flag=True, help="Explain and prove the fit of --why's row, or of the first viable one.")
@click.option("--all", "unfold", is_flag=True, help="Every row by itself.")
@output_option()
def command(**given: Any) -> None:
    """What it costs to finish fine-tuning MODEL, on this machine and everywhere else that is not an NVIDIA GPU.

    MODEL is a name of the registry (`cloudtrain models`), a Hugging Face id, or a folder with a config.json. Works
    offline, without any account.
    """
    from cloudtrain import settings as settings_module

    settings = settings_module.load()
    quoted = make_quote(build_request(given, settings), settings)
    show(quoted, given, settings_module.now())
    if not any(line.viable for line in quoted.lines):
        raise NothingViable(
            f"no offer can finish {quoted.request.spec.name} with {quoted.request.method}",
            "the last column says what would work",
        )
    cap = quoted.request.max_cost
    if cap is not None and all(line.usd_likely > cap for line in quoted.lines if line.viable):
        cheapest = min(line.usd_likely for line in quoted.lines if line.viable)
        raise OverBudget(f"the cheapest way to finish costs {money(cheapest)}, over --max-cost {money(cap)}")


def build_request(given: dict[str, Any], settings: Settings) -> Request:
    """The options as a Request. Raises UsageError."""
    from cloudtrain.models import registry

    spec = registry.find(given["model"])
    tokens, basis = count_tokens(given, spec)
    ceiling = given["max_hours"] / SECONDS_PER_HOUR if given["max_hours"] else float(settings.max_hours)
    return Request(
        spec=spec,
        method=given["method"],
        sequence_length=given["sequence_length"],
        batch=given["batch"],
        rank=given["rank"],
        targets=given["targets"],
        tokens=tokens,
        tokens_basis=basis,
        max_hours=ceiling,
        max_cost=given["max_cost"],
        places=places(given["infra"] or settings.infra),
        hardware=tuple(parse_hardware(text) for text in given["hardware"]),
        markets=markets(given["spot"]),
        include_nvidia=given["include_nvidia"],
        experimental=given["experimental"],
    )


def markets(spot: bool | None) -> frozenset[str]:
    """`--spot` takes on-demand offers away, `--on-demand` those on spot."""
    if spot is None:
        return MARKETS
    return MARKETS - {"on_demand" if spot else "spot"}


def places(texts: tuple[str, ...]) -> tuple[Place, ...]:
    """`--infra` texts as places."""
    return tuple(parse_place(text) for text in texts)


def parse_hardware(text: str) -> tuple[str, int | None]:
    """`KEY` or `KEY:COUNT` as (key of the accelerator table, count or None)."""
    from cloudtrain.estimate import hardware

    name, _, count = text.partition(":")
    if count and not count.isdigit():
        raise UsageError(f"`{text}` is not KEY:COUNT", "write for example mi300x:2")
    return hardware.find(name).key, int(count) if count else None


def count_tokens(given: dict[str, Any], spec: ModelSpec) -> tuple[int, str]:
    """How many tokens, and how that is known."""
    if given["tokens"] and given["data"]:
        raise UsageError("--tokens and --data both say how many tokens", "give one of them")
    if given["tokens"]:
        return given["tokens"], "--tokens"
    if not given["data"]:
        return DEFAULT_TOKENS, "default"
    from cloudtrain.spec import dataset
    from cloudtrain.trainer import tokens as counting

    report = dataset.check(given["data"])
    exact = counting.at_hand(spec, given["data"], given["sequence_length"], given["epochs"])
    if exact is not None:
        return max(1, exact), f"{report.rows:,} rows x {given['epochs']:g} epochs, counted with the model's tokenizer"
    counted = max(1, round(report.estimated_tokens * given["epochs"]))
    return counted, f"{report.rows:,} rows x {given['epochs']:g} epochs at 4 characters a token"


def make_quote(request: Request, settings: Settings) -> Quote:
    """Quote with the shipped or replaced catalogue and what this state has measured."""
    from cloudtrain.quote import engine
    from cloudtrain.quote.catalog import context
    from cloudtrain.quote.measured import Measurements

    measured = Measurements.of_state(settings.state)
    return engine.quote(request, context(settings), measured)


def show(quoted: Quote, given: dict[str, Any], now: float) -> None:
    """Print the quote as asked."""
    from cloudtrain.cli.quote import table, why
    from cloudtrain.cli.quote.document import quote_document
    from cloudtrain.quote.remedies import advisor

    remedy = advisor(quoted)
    output = given["output"]
    if names := to_explain(quoted, given):
        lines = [why.find_line(quoted, name) for name in names]
        proofs = [why.prove(quoted, line, say) if given["verify"] else None for _, line in lines]
        pairs = zip(lines, proofs, strict=True)
        found = [why.explain(quoted, index, line, remedy, proof) for (index, line), proof in pairs]
        rows = why.compare(*found) if len(found) == 2 else [list(row) for row in found[0]]
        if output == "json":
            print_json([dict(zip(["heading", *names], row, strict=True)) for row in rows])
        else:
            print_rows(output, ["", *names] if len(found) == 2 else ["", ""], rows)
    elif output == "json":
        print_json(quote_document(quoted, remedy))
    elif output == "csv":
        rows = table.viable_rows(table.viable_groups(quoted, True), quoted.chosen)
        print_rows("csv", [name or "note" for name in table.VIABLE_HEADERS], rows)
    else:
        show_tables(quoted, output, given["unfold"], remedy)
        show_foot(quoted, now)


def to_explain(quoted: Quote, given: dict[str, Any]) -> list[str]:
    """The one or two rows that --why, --compare or --verify asks about; none for the whole table. Raises UsageError."""
    if given["why"]:
        return [given["why"]]
    if given["compare"]:
        names: list[str] = given["compare"].split(",")
        if len(names) != 2:
            raise UsageError("--compare takes two offers", "write --compare A,B")
        return names
    if not given["verify"]:
        return []
    first = next((index for index, line in enumerate(quoted.lines) if line.viable), None)
    if first is None:
        return []  # the table says why nothing works
    say(
        f"proving the first viable row, #{first} {quoted.lines[first].offer.name}; --why NUMBER --verify proves another"
    )
    return [str(first)]


def show_tables(quoted: Quote, output: str, unfold: bool, remedy: Any) -> None:
    """The header and both tables."""
    from cloudtrain.cli.quote import table

    for line in table.header(quoted):
        click.echo(bold(line))
    click.echo()
    width = terminal_width() if output == "table" else None
    rows = table.viable_rows(table.viable_groups(quoted, unfold), quoted.chosen)
    if rows:
        headers, kept, right = table.narrowed(rows, width)
        print_rows(output, headers, kept, right)
    others = table.other_rows(table.other_groups(quoted, unfold), remedy, width)
    if others:
        click.echo(f"\n{dim('cannot finish it' if rows else 'nothing can finish it')}\n")
        print_rows(output, table.OTHER_HEADERS, others)


def show_foot(quoted: Quote, now: float) -> None:
    """What to know before money is spent."""
    from datetime import UTC, date, datetime

    for provider, reason in quoted.failures:
        say(f"no prices from {provider}: {reason}")
    today = datetime.fromtimestamp(now, UTC).date()
    dates = [line.offer.price.as_of for line in quoted.lines if line.viable and line.offer.price.as_of]
    click.echo()
    if dates:
        oldest = min(dates)
        age = (today - date.fromisoformat(oldest)).days
        warn = f", over {STALE_DAYS}: look before you pay" if age > STALE_DAYS else ""
        click.echo(f"prices above are of {oldest} to {max(dates)}; the oldest is {age} days old{warn}")
    if quoted.chosen is None:
        click.echo("`up` would choose: none of these yet (launch says why)")
    else:
        line = quoted.lines[quoted.chosen]
        click.echo(f"`up` would choose: #{quoted.chosen} {line.offer.name} ({line.offer.provider})")
    click.echo("--why NUMBER explains a row, --all unfolds the folded ones")
