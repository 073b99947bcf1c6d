"""`cloudtrain quote`: what a fine-tune costs to finish, everywhere, and which of it really works."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from cloudtrain.cli import words
from cloudtrain.cli.options import METHODS, TARGETS, Count, Dollars, Duration, Memory, Watts, output_option
from cloudtrain.cli.output import (
    bold,
    print_json,
    print_message,
    print_rows,
    terminal_width,
)
from cloudtrain.errors import NothingViable, OverBudget
from cloudtrain.units import SECONDS_PER_HOUR, money

if TYPE_CHECKING:
    from cloudtrain.cli.quote.named import Rows
    from cloudtrain.quote.row import Quote
    from cloudtrain.settings import Settings


@click.command("quote", short_help="What it costs to finish fine-tuning MODEL, and where it works.")
@click.argument("model", shell_complete=words.models)
@click.option("--method", type=click.Choice(METHODS), default="qlora", show_default=True, help="How to fine-tune.")
@click.option("--seq", "sequence_length", type=Count(), default=2048, show_default=True, help="Tokens in a sequence.")
@click.option("--batch", type=Count(), help="Sequences per micro-step, all devices.  [default: each row's own]")
@click.option("--rank", type=Count(), default=16, show_default=True, help="Rank of LoRA adapters.")
@click.option("--targets", type=click.Choice(TARGETS), help="What LoRA adapts.  [default: our recipe's choice]")
@click.option("--tokens", type=Count(), help="Positions processed in all, for example 10M.  [default: 1M]")
@click.option("--data", type=click.Path(path_type=Path), help="Count the tokens of this data file instead.")
@click.option("--epochs", type=click.FloatRange(0, min_open=True), default=1.0, help="Passes over --data.")
@click.option("--max-hours", type=Duration(), help="Ceiling on the expected time, below that of the settings (a week).")
@click.option("--max-cost", type=Dollars(), help="Reject what is expected to cost more.")
@click.option(
    "--hour-is-worth", type=Dollars(), help="What an hour of waiting is worth to you.  [default: setting, $0]"
)
@click.option("--sort", type=click.Choice(["dollars", "hours"]), default="dollars", help="What comes first in tables.")
@click.option(
    "--infra",
    multiple=True,
    shell_complete=words.places,
    help="Only this place: provider[/region[/zone]]; may be repeated.",
)
@click.option(
    "--hardware",
    multiple=True,
    shell_complete=words.hardware,
    help="Only this hardware, rented or your own: `RX 7900 XTX`, mi210:2, gfx1100, cpu-zen:64.",
)
@click.option("--memory", "memory_bytes", type=Memory(), help="What --hardware has of it if it is your own: 128GB.")
@click.option("--watts", type=Watts(), help="What --hardware draws if it is your own.")
@click.option("--spot/--on-demand", "--use-spot", default=None, help="Only spot, or nothing on spot.")
@click.option("--include-nvidia", is_flag=True, help="Show NVIDIA offers too, for comparison; never chosen.")
@click.option("--experimental", is_flag=True, help="Let an experimental row be chosen.")
@click.option(
    "--why",
    metavar="ROW",
    shell_complete=words.rows,
    help="Explain one row in full: its id, what the table shows, or name/region/market.",
)
@click.option("--compare", metavar="A,B", shell_complete=words.rows, help="Explain two rows side by side.")
@click.option("--verify", is_flag=True, help="Explain and prove the fit of --why's row, or of the first viable one.")
@click.option(
    "--table", "rows", is_flag=True, help="The rows that were looked at, many alike as one, instead of the answer."
)
@click.option("--all", "unfold", is_flag=True, help="Every row by itself.")
@output_option()
def command(max_hours: float | None, output: str, **job: Any) -> None:
    """What it costs to finish fine-tuning MODEL, on this machine and everywhere else that is not an NVIDIA GPU.

    MODEL is a name of the registry (`cloudtrain models`), a Hugging Face id, or a folder with a config.json. Works
    offline, without any account. The answer is the cheapest row, the fastest, what is yours, what is free and what `up`
    takes, each with what is missing to start it and the next command; --table shows all rows.

    --hardware takes any spelling and a number. AMD: MI50 to MI355X, RX 6800 to RX 9070 XT, W6800 to W7900, R9700.
    Intel: Arc A770, Arc B580, Max 1550, Gaudi 3. Apple: M1 to M5 Max. Google: TPU v2 to TPU7x. Amazon: Trainium1 to
    Trainium3. Processors by vCPUs: cpu-amx, cpu-zen, cpu, cpu-arm.
    """
    from cloudtrain import settings
    from cloudtrain.quote.compatibility import refusal
    from cloudtrain.runs.quoting import QuoteOptions, quote

    why, compare, verify, rows, unfold = (job.pop(name) for name in ("why", "compare", "verify", "rows", "unfold"))
    options = QuoteOptions(max_hours=max_hours / SECONDS_PER_HOUR if max_hours else None, **job)
    known = settings.load()
    quoted = quote(options, known, print_message)
    if not quoted.lines:
        check_places(quoted, known)
    show(quoted, Shown(output, why, compare, verify, rows or unfold or options.include_nvidia, unfold), known)
    if any(line.viable for line in quoted.lines):
        return
    if (cap := quoted.request.max_cost) is not None and (dear := [line for line in quoted.lines if line.too_dear]):
        cheapest = Decimal(min(line.expected_usd for line in dear))
        raise OverBudget(f"the cheapest way to finish costs {money(cheapest)}, over --max-cost {money(cap)}")
    if refused := refusal(quoted.request):
        raise NothingViable(f"no trainer of ours would take this: {refused.reason}", refused.hint)
    if not quoted.lines:
        raise NothingViable(*nothing_found(quoted))
    raise NothingViable(
        f"no offer can finish {quoted.request.spec.name} with {quoted.request.method}",
        "--table says why, row by row",
    )


def nothing_found(quoted: Quote) -> tuple[str, str]:
    """The message and the hint of a quote that looked at no offer at all."""
    from cloudtrain.quote.chips import chips

    asked = [chips()[key] for key, _ in quoted.request.hardware]
    if any(chip.vendor == "nvidia" for chip in asked) and not quoted.request.include_nvidia:
        return "NVIDIA GPUs are left out", "--include-nvidia shows them for comparison"
    host = next((chip.key for chip in asked if chip.backend == "torch-cpu"), None)
    hint = f"a machine of your own: --hardware {host}:64 --memory 256GB" if host else "ask for less"
    return "nothing was found of that hardware, in that place and market", hint


def check_places(quoted: Quote, known: Settings) -> None:
    """Raises UsageError where a quote is empty because of a place that is none."""
    from cloudtrain.quote import catalog, places

    places.check(quoted.request, catalog.context(known))


class Shown(NamedTuple):
    """What of a quote is to be shown, and how."""

    output: str
    why: str | None
    compare: str | None
    verify: bool
    rows: bool  # the tables instead of the answer
    unfold: bool


def show(quoted: Quote, shown: Shown, known: Settings) -> None:
    """Print the quote as asked."""
    from cloudtrain.prices import folder

    for sentence in folder.look().left_out.values():
        print_message(sentence)
    output = shown.output
    if (shown.why or shown.compare or shown.verify) and show_rows(quoted, shown):
        return
    if output == "csv":
        from cloudtrain.cli.quote.document import CSV_HEADERS, csv_rows

        print_rows("csv", CSV_HEADERS, csv_rows(quoted))
    elif output != "json" and not shown.rows:
        show_answer(quoted, known)
    else:
        from cloudtrain.quote.remedy.remedies import advisor

        remedy = advisor(quoted)
        if output == "json":
            from cloudtrain.cli.quote.document import quote_document

            print_json(quote_document(quoted, remedy))
        else:
            from cloudtrain.cli.quote import tables

            with tables.paged(shown.unfold and output == "table"):
                tables.show(quoted, output, shown.unfold, remedy)
                tables.show_foot(quoted, output)


def show_rows(quoted: Quote, shown: Shown) -> bool:
    """Explain the rows that --why, --compare or --verify ask about; False where that is none. Raises UsageError."""
    from cloudtrain.cli.quote import why
    from cloudtrain.cli.quote.named import Rows
    from cloudtrain.quote.remedy.remedies import advisor

    rows = Rows(quoted)
    names = to_explain(quoted, shown, rows)
    found = []
    for index in map(rows.find, names):
        proof = why.prove(quoted, quoted.lines[index], print_message) if shown.verify else None
        found.append(why.explain(quoted, index, rows.ids[index], advisor(quoted), proof))
    if not found:
        return False
    cells = why.compare(*found) if len(found) == 2 else [list(row) for row in found[0]]
    if shown.output == "json":
        print_json([dict(zip(["heading", *names], row, strict=True)) for row in cells])
    elif len(found) == 2 and shown.output == "table" and (width := terminal_width()):
        for text in why.side_by_side(cells, width):
            click.echo(text)
    else:
        print_rows(shown.output, ["", *names] if len(found) == 2 else ["", ""], cells)
    return True


def to_explain(quoted: Quote, shown: Shown, rows: Rows) -> list[str]:
    """The one or two rows that --why, --compare or --verify asks about; none for the whole table. Raises UsageError."""
    if shown.why:
        return [shown.why]
    if shown.compare:
        return rows.two(shown.compare)
    if not shown.verify:
        return []
    first = next((index for index, line in enumerate(quoted.lines) if line.viable), None)
    if first is None:
        return []  # the table says why nothing works
    print_message(f"proving the first viable row, #{first} {rows.ids[first]}; --why ROW --verify proves another")
    return [rows.ids[first]]


def show_answer(quoted: Quote, known: Settings) -> None:
    """The rows that answer the quote, and how to start them; where there is none, what would work."""
    for provider, reason in quoted.failures:
        print_message(f"no prices from {provider}: {reason}")
    if any(line.viable for line in quoted.lines):
        from cloudtrain import settings
        from cloudtrain.cli.quote import answer as shown
        from cloudtrain.quote.answer import start
        from cloudtrain.quote.answer.picks import answer

        lines = shown.lines(quoted, answer(quoted, start.here(known, quoted, settings.now())))
    else:
        from cloudtrain.cli.quote import nothing
        from cloudtrain.quote.compatibility import refusal
        from cloudtrain.quote.remedy.remedies import advisor

        is_said = any(line.too_dear for line in quoted.lines) or refusal(quoted.request) is not None
        lines = nothing.lines(quoted, advisor(quoted), is_said) if quoted.lines else []
    for number, line in enumerate(lines):
        click.echo(bold(line) if number == 0 else line)
