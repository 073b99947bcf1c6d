"""The named cost lines of a quote: quantity x unit price, unit named. What a run keeps and a report is held against."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from cloudtrain.units import HOURS_PER_MONTH, money_text

if TYPE_CHECKING:
    from cloudtrain.quote.line import Line
    from cloudtrain.seams import Terms

SYSTEM_DISK_GB = 50


class CostPart(NamedTuple):
    """`quantity` in `unit` at `unit_usd` each; an unknown price is None and is never summed."""

    name: str
    quantity: Decimal
    unit: str
    unit_usd: Decimal | None

    @property
    def usd(self) -> Decimal | None:
        """What it comes to."""
        return None if self.unit_usd is None else self.quantity * self.unit_usd

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "name": self.name,
            "quantity": money_text(self.quantity),
            "unit": self.unit,
            "unit_usd": money_text(self.unit_usd),
            "usd": money_text(self.usd),
        }


class Beside(NamedTuple):
    """What a machine costs beside its own price: sizes in gigabytes, unit prices in US dollars (None: unknown)."""

    disk_gb: Decimal
    disk_usd_per_gb_hour: Decimal | None
    address_usd_per_hour: Decimal | None
    egress_gb: Decimal
    egress_usd_per_gb: Decimal | None

    @property
    def hourly_usd(self) -> Decimal:
        """Disk and address per hour; an unknown price adds nothing and shows as unknown in the cost lines."""
        return self.disk_gb * (self.disk_usd_per_gb_hour or Decimal(0)) + (self.address_usd_per_hour or Decimal(0))

    @property
    def fixed_usd(self) -> Decimal:
        """Egress."""
        return self.egress_gb * (self.egress_usd_per_gb or Decimal(0))


NOTHING_BESIDE = Beside(Decimal(0), Decimal(0), Decimal(0), Decimal(0), Decimal(0))


def beside(terms: Terms, weights_bytes: int, output_bytes: int) -> Beside:
    """What the provider's terms add to a job: weights and a system disk are stored, the output leaves."""
    per_month = terms.disk_usd_per_gb_month
    return Beside(
        Decimal(SYSTEM_DISK_GB + round(weights_bytes / 1e9, 2)).quantize(Decimal("0.01")),
        None if per_month is None else per_month / HOURS_PER_MONTH,
        terms.address_usd_per_hour,
        Decimal(str(round(output_bytes / 1e9, 6))),
        terms.egress_usd_per_gb,
    )


def cost_parts(line: Line) -> list[CostPart]:
    """The likely cost of a line, part by part; empty when its hours are unknown. Parts that are free are left out."""
    if line.case.billed_hours is None:
        return []
    billed_h, side = Decimal(f"{line.case.billed_hours.likely:.6f}"), line.case.beside
    parts = [
        CostPart("compute", billed_h, "hours", line.offer.usd_per_hour),
        CostPart("disk", (billed_h * side.disk_gb).quantize(Decimal("0.0001")), "GB-hours", side.disk_usd_per_gb_hour),
        CostPart("address", billed_h, "hours", side.address_usd_per_hour),
        CostPart("egress", side.egress_gb, "GB", side.egress_usd_per_gb),
    ]
    return [part for part in parts if part.name == "compute" or part.unit_usd != 0]
