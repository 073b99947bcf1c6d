"""A quote as the JSON document of the contract."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cloudtrain.quote.costs import cost_parts
from cloudtrain.units import money_text

if TYPE_CHECKING:
    from cloudtrain.quote.row import Quote, QuoteRow


def quote_document(quote: Quote, remedy: Callable[[QuoteRow], str]) -> dict[str, Any]:
    """Everything, line by line, in ranked order."""
    request = quote.request
    return {
        "model": request.spec.name,
        "params_total": request.spec.params_total,
        "params_active": request.spec.params_active,
        "method": request.method,
        "sequence_length": request.sequence_length,
        "batch": request.batch,
        "rank": request.rank,
        "max_hours": request.max_hours,
        "work": {"tokens": request.tokens, "tokens_basis": request.tokens_basis, "flops": quote.flops},
        "lines": [line_document(line, remedy) for line in quote.lines],
        "failures": [{"provider": provider, "reason": reason} for provider, reason in quote.failures],
        "chosen": quote.chosen,
        "catalog": {"as_of": quote.as_of, "version": quote.catalog},
    }


def line_document(line: QuoteRow, remedy: Callable[[QuoteRow], str]) -> dict[str, Any]:
    """One line; also what a run keeps as the row it was launched on."""
    offer, case = line.offer, line.assessment
    reasons = line.reasons()
    advice = "" if line.viable else remedy(line)
    return {
        "provider": offer.provider,
        "offer": offer.name,
        "region": offer.region,
        "zone": offer.zone,
        "hardware": offer.hardware,
        "count": offer.count,
        "market": offer.market,
        "memory_bytes": case.memory_bytes,
        "required_bytes": case.required_bytes,
        "devices": case.devices,
        "fits": case.fits,
        "loads": case.loads,
        "allowed": not case.barred,
        "priced": line.priced,
        "in_time": case.hours is not None and not case.late,
        "launch": case.launch,
        "recipe": case.recipe.summary() if case.recipe else None,
        "stack": case.stack,
        "price_usd_per_hour": money_text(offer.usd_per_hour),
        "price": {
            "origin": offer.price.origin,
            "as_of": offer.price.as_of,
            "source": offer.price.source,
            "confidence": offer.price.confidence,
        },
        "hours": None if case.hours is None else bounds(case.hours, finite),
        "billed_hours": None if case.billed_hours is None else bounds(case.billed_hours, finite),
        "time_parts_s": {part.name: bounds(part.seconds, finite) for part in case.time_parts},
        "cost_parts": [part.document() for part in cost_parts(line)],
        "tokens_per_second": None if case.tokens_per_second is None else bounds(case.tokens_per_second, finite),
        "basis": case.basis,
        "total_usd": None if (usd := line.usd) is None else bounds(usd, money_text),
        "viable": line.viable,
        "reasons": [*reasons, advice] if advice else reasons,
        "guards": list(case.guards),
    }


def bounds(three: Any, shown: Callable[[Any], Any]) -> dict[str, Any]:
    """low, likely, high."""
    return {"low": shown(three.low), "likely": shown(three.likely), "high": shown(three.high)}


def finite(value: float) -> float | None:
    """Four significant digits; infinity has no JSON and becomes null."""
    return None if value == float("inf") else float(f"{value:.4g}")
