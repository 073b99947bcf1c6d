"""The one row that `up --row ID` names: the quote is cut down to it, or says why it cannot be started."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudtrain.errors import NothingViable, UsageError, nearest, visible
from cloudtrain.providers import names
from cloudtrain.units import hours

if TYPE_CHECKING:
    from cloudtrain.quote.row import Quote, QuoteRow
    from cloudtrain.runs.client.options import UpOptions


def infra(options: UpOptions) -> tuple[str, ...]:
    """Where is looked for a row: the places asked for; of a named one its provider. Raises UsageError for both."""
    if not options.row:
        return options.infra
    others = {
        "--infra": options.infra,
        "--hardware": options.hardware,
        "--spot or --on-demand": options.spot is not None,
    }
    if said := next((option for option, is_said in others.items() if is_said), None):
        raise UsageError(f"--row names one row, and {said} asks for several", "leave one of them out")
    provider = options.row.strip().partition("/")[0].lower()
    if provider not in names("pricing"):
        raise UsageError(
            f"no row `{visible(options.row)}`: ids begin with a provider",
            f"`cloudtrain quote` shows ids such as runpod/mi300x/eu-ro-1; providers: {', '.join(names('pricing'))}",
        )
    return (provider,)


def only(quote: Quote, options: UpOptions) -> Quote:
    """The quote with nothing but the row that is named, chosen if it can be started; as it is without one.

    A row over the cap stays, unchosen. Raises UsageError with the nearest id, NothingViable with the row's reasons.
    """
    if not options.row:
        return quote
    wanted, ids = options.row.strip().lower(), quote.ids()
    if wanted not in ids:
        close = nearest(wanted, ids)
        raise UsageError(
            f"no row `{visible(options.row)}` in the quote of this spec",
            f"did you mean `{close}`?" if close else f"`cloudtrain quote {quote.request.spec.name} --all` has all rows",
        )
    row = quote.lines[ids.index(wanted)]
    reasons = [] if options.machine_only else against(row, options.experimental)
    if reasons and not (row.too_dear and row.assessment.launch == "yes"):
        raise NothingViable(
            f"row `{wanted}` cannot be started: {'; '.join(reasons)}",
            f"`cloudtrain quote {quote.request.spec.name} --why {wanted}` has it all; without --row another is taken",
        )
    return quote._replace(lines=(row,), chosen=None if reasons or not row.viable else 0)


def against(row: QuoteRow, experimental: bool) -> list[str]:
    """Why `up` does not start the row; empty when it does."""
    assessment, found = row.assessment, []
    if not row.viable:
        found += row.reasons() or [f"it takes {hours(None)}" if assessment.hours is None else "it is not viable"]
    if assessment.launch == "by hand":
        found.append(f"only a person can start it: {row.offer.limits.by_hand}")
    elif assessment.launch != "yes" and (row.viable or not found):
        found += assessment.reasons or ("`up` cannot start a job there yet",)
    elif assessment.launch == "yes" and row.viable and assessment.loads != "yes" and not experimental:
        found.append("it is experimental for this model: --experimental allows it")
    return list(dict.fromkeys(found))
