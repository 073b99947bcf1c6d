"""A quote's row as a document: one line of the contract's JSON, and the same frozen into a record that a run keeps."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from cloudtrain.quote.costs import cost_parts
from cloudtrain.units import money_text

if TYPE_CHECKING:
    from cloudtrain.quote.row import QuoteRow
    from cloudtrain.records import RowRecord


MOST_USD = 1e12  # what is expected to cost more has no expected cost


def frozen(line: QuoteRow) -> RowRecord:
    """The row as a run keeps it."""
    from cloudtrain.records import RowRecord

    return RowRecord.model_validate_json(json.dumps(row_document(line)))


def candidate(line: QuoteRow) -> RowRecord:
    """The row as it is kept to be tried later: also with what disk and address cost in addition to the machine."""
    return frozen(line).replace(beside_usd_per_hour=line.assessment.extras.hourly_usd)


def row_document(line: QuoteRow, advice: str = "") -> dict[str, Any]:
    """A row as plain JSON; `advice` is the cheapest change that would make it work."""
    offer, assessment = line.offer, line.assessment
    reasons, disk = line.reasons(), assessment.disk
    return {
        "provider": offer.provider,
        "offer": offer.name,
        "region": offer.region,
        "zone": offer.zone,
        "hardware": offer.hardware,
        "count": offer.count,
        "market": offer.market,
        "memory_bytes": assessment.memory_bytes,
        "required_bytes": assessment.required_bytes,
        "devices": assessment.devices,
        "disk_gb": disk and disk.gb,
        "disk_needed_gb": disk and disk.needed_gb,
        "disk_most_gb": disk and disk.most_gb,
        "disk_mb_per_s": disk and disk.speed.asked_mb_s,
        "disk_parts_bytes": disk.parts._asdict() if disk else {},
        "fits": assessment.fits,
        "loads": assessment.loads,
        "allowed": not assessment.barred,
        "priced": line.priced,
        "in_time": assessment.hours is not None and not assessment.late,
        "launch": assessment.launch,
        "recipe": assessment.recipe.summary() if assessment.recipe else None,
        "stack": assessment.software,
        "price_usd_per_hour": money_text(offer.usd_per_hour),
        "price": {
            "origin": offer.price.origin,
            "as_of": offer.price.as_of,
            "source": offer.price.source,
            "confidence": offer.price.confidence,
            "since": offer.price.since,
        },
        "smallest_purchase_usd": money_text(offer.limits.purchase_usd),
        "hours": None if assessment.hours is None else bounds(assessment.hours, finite),
        "billed_hours": None if assessment.billed_hours is None else bounds(assessment.billed_hours, finite),
        "time_parts_s": {part.name: bounds(part.seconds, finite) for part in assessment.time_parts},
        "cost_parts": [part.document() for part in cost_parts(line)],
        "tokens_per_second": None
        if assessment.tokens_per_second is None
        else bounds(assessment.tokens_per_second, finite),
        "basis": assessment.basis,
        "measured": assessment.learnt and assessment.learnt.document(),
        "total_usd": None if (usd := line.usd) is None else bounds(usd, money_text),
        "viable": line.viable,
        "reasons": [*reasons, advice] if advice else reasons,
        "guards": list(assessment.guards),
        "p_done": None if assessment.p_shown is None else round(assessment.p_shown, 3),
        "expected_usd": money_text(Decimal(f"{line.expected_usd:.4f}")) if line.expected_usd < MOST_USD else None,
    }


def bounds(three: Any, shown: Callable[[Any], Any]) -> dict[str, Any]:
    """low, likely, high."""
    return {"low": shown(three.low), "likely": shown(three.likely), "high": shown(three.high)}


def finite(value: float) -> float | None:
    """Four significant digits; infinity has no JSON and becomes null."""
    return None if value == float("inf") else float(f"{value:.4g}")
