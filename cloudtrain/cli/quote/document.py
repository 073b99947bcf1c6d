"""A quote as the JSON document of the contract, and its viable rows as CSV: plain numbers under names of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cloudtrain.quote.answer.picks import picks
from cloudtrain.quote.document import finite, row_document
from cloudtrain.units import money_text

if TYPE_CHECKING:
    from cloudtrain.quote.row import Quote, QuoteRow

CSV_HEADERS = ("id", "rank", "chosen", "provider", "offer", "region", "zone", "hardware", "count", "market", "fits",
               "loads", "launch", "usd_per_hour", "price_as_of", "hours_low", "hours_likely", "hours_high", "usd_low",
               "usd_likely", "usd_high", "measured_runs")  # fmt: skip


def quote_document(quote: Quote, remedy: Callable[[QuoteRow], str]) -> dict[str, Any]:
    """Everything, line by line, in ranked order."""
    request = quote.request
    return {
        "model": request.spec.name,
        "params_total": request.spec.params_total,
        "params_active": request.spec.params_active,
        "weights_format": request.spec.published.format or None,
        "counted": request.spec.shape.counted.how if request.spec.shape.counted else None,
        "method": request.method,
        "sequence_length": request.sequence_length,
        "batch": request.batch,
        "rank": request.rank,
        "max_hours": request.max_hours,
        "work": {"tokens": request.tokens, "tokens_basis": request.tokens_basis, "flops": quote.flops},
        "lines": [
            {"id": id_, **row_document(line, "" if line.viable else remedy(line))}
            for id_, line in zip(quote.ids(), quote.lines, strict=True)
        ],
        "failures": [{"provider": provider, "reason": reason} for provider, reason in quote.failures],
        "chosen": quote.chosen,
        "answer": {role: index for role, index in picks(quote)._asdict().items() if role != "chosen"},
        "catalog": {"as_of": quote.as_of, "version": quote.catalog},
    }


def csv_rows(quote: Quote) -> list[list[Any]]:
    """The viable rows in ranked order, each by itself; money as in JSON, an unknown figure as an empty cell."""
    rows = []
    for rank, (id_, line) in enumerate(zip(quote.ids(), quote.lines, strict=True)):
        offer, assessment, hours, usd = line.offer, line.assessment, line.assessment.hours, line.usd
        if not line.viable or hours is None or usd is None:
            continue
        rows.append(
            [
                *(id_, rank, "yes" if rank == quote.chosen else "no"),
                *(offer.provider, offer.name, offer.region, offer.zone, offer.hardware, offer.count, offer.market),
                *(assessment.fits, assessment.loads, assessment.launch),
                *(money_text(offer.usd_per_hour), offer.price.as_of),
                *map(finite, hours),
                *map(money_text, usd),
                assessment.learnt.runs if assessment.learnt else 0,
            ]
        )
    return rows
