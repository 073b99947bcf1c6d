"""`cloudtrain report`: what runs cost, quoted against metered."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from cloudtrain.cli.options import Duration, output_option
from cloudtrain.cli.output import bold, print_json, print_rows
from cloudtrain.report.cost_report import CostReport, paired, report
from cloudtrain.runs.listing import find, readable_runs, refuse_damaged, tell_each
from cloudtrain.units import gib, hours, money, rfc3339

if TYPE_CHECKING:
    from cloudtrain.state.protocol import Store

HEADERS = ("run", "state", "offer", "started", "quoted $", "metered $", "quoted", "took", "tokens/s quoted", "measured",
           "memory estimated", "measured")  # fmt: skip


@click.command("report", short_help="The account of RUN in full, or a line for each run.")
@click.argument("run_name", metavar="[RUN]", required=False)
@click.option("--since", type=Duration(), help="Only runs begun in the last 7d, 12h ...")
@click.option("--billed", is_flag=True, help="First ask the providers what they have billed, where that is due.")
@output_option()
def command(run_name: str | None, since: float | None, billed: bool, output: str) -> None:
    """The account of RUN in full, or of all runs in a line each and a total."""
    from cloudtrain import settings
    from cloudtrain.state.store import open_store

    store = open_store(settings.load().state)
    if billed:
        tell_billed(store)
    if run_name is not None:
        account = report(find(store, run_name))
        return print_json(account.document()) if output == "json" else show(account, output)
    begun_after = settings.now() - since if since else 0.0
    found, damaged = readable_runs(store)
    accounts, more = tell_each((run for run in found if run.intent.created >= begun_after), report)
    if output == "json":
        print_json([account.document() for account in accounts])
    else:
        print_rows(output, HEADERS, [row(account) for account in accounts])
    if output == "table":
        show_total(accounts)
    refuse_damaged([*damaged, *more])
    return None


def tell_billed(store: Store) -> None:
    """Ask for the bills; what every provider says goes to stderr."""
    from cloudtrain import settings
    from cloudtrain.runs.results import bills

    for sentence in bills.refresh(store, settings.now()):
        click.echo(sentence, err=True)


def show_total(accounts: list[CostReport]) -> None:
    """The sum over all rows; runs without a price make it a lower bound."""
    known = [account.metered_usd for account in accounts if account.metered_usd is not None]
    unknown = len(accounts) - len(known)
    at_least = f"at least (no price for {unknown} of them) " if unknown else ""
    click.echo(f"\n{len(accounts)} runs, {at_least}{money(sum(known, Decimal(0)))}")


def show(account: CostReport, output: str) -> None:
    """One run in full."""
    if output == "table":
        click.echo(bold(f"{account.run}: {account.state}, {account.offer} ({account.provider})"))
        price = account.price
        click.echo(
            f"price frozen at launch: {money(_decimal(price.get('usd_per_hour')))} per hour, {price.get('origin', '?')}"
            f"{' of ' + price['as_of'] if price.get('as_of') else ''}: {price.get('source', '')}\n"
        )
    print_rows(output, ("", "quoted", "metered"), [*cost_rows(account), *figures(account)], "-rr")


def cost_rows(account: CostReport) -> list[list[str]]:
    """Each cost line, then the sum."""
    rows = []
    for name, quoted, metered in paired(account.quoted, account.metered):
        rows.append([name, *(f"{p.quantity:,.4f} {p.unit} = {money(p.usd)}" if p else "-" for p in (quoted, metered))])
    quoted_usd = account.quoted_usd
    span = "-" if quoted_usd is None else " .. ".join(money(_decimal(quoted_usd[k])) for k in ("low", "likely", "high"))
    rows.append(["dollars in all", span, money(account.metered_usd)])
    if account.billed_status:
        rows.append(["billed", account.billed_status, f"{money(account.billed_usd)} {account.billed_message}".rstrip()])
    return rows


def figures(account: CostReport) -> list[list[str]]:
    """Time, speed and memory, quoted against measured."""
    quoted_hours, speed = account.quoted_hours, account.quoted_tokens_per_second
    return [
        ["time", _span(quoted_hours, lambda h: hours(h * 3600)), hours(account.metered_s)],
        ["tokens/s", _span(speed, lambda s: f"{s:,.0f}"), _or_dash(account.measured_tokens_per_second, ",.0f")],
        ["peak memory", _bytes(account.estimated_bytes), _bytes(account.measured_bytes)],
        ["steps", "-", _or_dash(account.steps, ",")],
        ["tokens", "-", _or_dash(account.tokens, ",")],
        ["loss", "-", _or_dash(account.loss, ".4f")],
        ["attempts", "-", str(account.attempts)],
    ]


def row(account: CostReport) -> list[str]:
    """One run in a line."""
    quoted_usd, speed = account.quoted_usd, account.quoted_tokens_per_second
    return [
        account.run,
        account.state,
        account.offer,
        rfc3339(account.started_at) or "-",
        money(_decimal(quoted_usd["likely"])) if quoted_usd else "-",
        money(account.metered_usd),
        hours(account.quoted_hours["likely"] * 3600) if account.quoted_hours else "-",
        hours(account.metered_s),
        f"{speed['likely']:,.0f}" if speed else "-",
        _or_dash(account.measured_tokens_per_second, ",.0f"),
        _bytes(account.estimated_bytes),
        _bytes(account.measured_bytes),
    ]


def _decimal(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


def _bytes(size: int | None) -> str:
    return "-" if size is None else gib(size)


def _or_dash(value: Any, form: str) -> str:
    return "-" if value is None else format(value, form)


def _span(three: dict[str, float] | None, shown: Any) -> str:
    return "-" if three is None else " .. ".join(shown(three[k]) for k in ("low", "likely", "high"))
