"""The named cost lines of a quote: quantity x unit price, unit named. Runs keep them, reports compare with them."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from cloudtrain.quote.assessment import ExtraCosts
from cloudtrain.quote.row import CostPart, QuoteRow
from cloudtrain.units import HOURS_PER_MONTH

if TYPE_CHECKING:
    from cloudtrain.offer import Terms
    from cloudtrain.quote.machine.disk import Disk


def extras(terms: Terms, disk: Disk) -> ExtraCosts:
    """What the provider's terms add to a job: a disk is there as long as the machine, the output leaves."""
    per_month, per_mb_s_month = terms.disk_usd_per_gb_month, terms.disk_usd_per_mb_s_month
    return ExtraCosts(
        Decimal(disk.billed_gb),
        None if per_month is None else per_month / HOURS_PER_MONTH,
        terms.address_usd_per_hour,
        Decimal(str(round(disk.parts.output / 1e9, 6))),
        terms.egress_usd_per_gb,
        disk.paid_mb_s,
        None if per_mb_s_month is None else per_mb_s_month / HOURS_PER_MONTH,
    )


def cost_parts(line: QuoteRow) -> list[CostPart]:
    """The likely cost of a line, part by part; empty when its hours are unknown. Parts that are free are left out."""
    if line.assessment.billed_hours is None:
        return []
    billed_h, side = Decimal(f"{line.assessment.billed_hours.likely:.6f}"), line.assessment.extras
    parts = [
        CostPart("compute", billed_h, "hours", line.offer.usd_per_hour),
        CostPart("disk", (billed_h * side.disk_gb).quantize(Decimal("0.0001")), "GB-hours", side.disk_usd_per_gb_hour),
        *faster_disk(billed_h, side),
        CostPart("address", billed_h, "hours", side.address_usd_per_hour),
        CostPart("egress", side.egress_gb, "GB", side.egress_usd_per_gb),
    ]
    return [part for part in parts if part.name == "compute" or part.unit_usd != 0]


def faster_disk(billed_h: Decimal, side: ExtraCosts) -> list[CostPart]:
    """The cost line of a disk that is asked to be faster than it is for nothing."""
    if not side.disk_mb_s:
        return []
    quantity = (billed_h * side.disk_mb_s).quantize(Decimal("0.0001"))
    return [CostPart("disk speed", quantity, "MB/s-hours", side.disk_usd_per_mb_s_hour)]
