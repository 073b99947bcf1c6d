"""A quote as the JSON document of the contract."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cloudtrain.quote.document import row_document

if TYPE_CHECKING:
    from cloudtrain.quote.row import Quote, QuoteRow


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
        "lines": [row_document(line, "" if line.viable else remedy(line)) for line in quote.lines],
        "failures": [{"provider": provider, "reason": reason} for provider, reason in quote.failures],
        "chosen": quote.chosen,
        "catalog": {"as_of": quote.as_of, "version": quote.catalog},
    }
