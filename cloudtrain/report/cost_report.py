"""CostReport: a run's quoted figures next to the metered ones, cost line by cost line."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from cloudtrain.quote.row import CostPart
from cloudtrain.report import figures
from cloudtrain.report.billed import remark
from cloudtrain.runs.results import remaining
from cloudtrain.runs.results.bills import bill
from cloudtrain.units import SECONDS_PER_HOUR, exact_text, money_text, rfc3339

if TYPE_CHECKING:
    from cloudtrain.runs.metering import Machine
    from cloudtrain.runs.record import Run
    from cloudtrain.runs.results.remaining import Remaining


@dataclass(frozen=True, slots=True)
class CostReport:
    """One run's account. Dollars are None where a unit price is unknown, other figures where not known yet."""

    run: str
    state: str
    provider: str
    offer: str
    started_at: float | None
    ended_at: float | None
    quoted: tuple[CostPart, ...]
    metered: tuple[CostPart, ...]
    quoted_usd: dict[str, str] | None
    quoted_hours: dict[str, float] | None
    metered_s: float
    attempts: int
    tokens: int | None
    steps: int | None
    quoted_tokens_per_second: dict[str, float] | None
    measured_tokens_per_second: float | None
    estimated_bytes: int | None
    measured_bytes: int | None
    loss: float | None
    price: dict[str, Any]
    machines: tuple[Machine, ...] = ()
    spec: str = ""  # what its nights have in common: the run's name without the digits that stand for its data
    eval_loss: float | None = None
    billed_usd: Decimal | None = None  # by the provider's own bill, beside what was metered
    billed_status: str | None = None  # provisional | final
    billed_message: str = ""  # how far it is off, and why most likely
    requoted: tuple[float, Remaining] | None = None  # what its own rate said first: at which step, and what

    @property
    def metered_usd(self) -> Decimal | None:
        """The sum of the metered lines; None when one of them has no price.

        Of a row that was kept without cost lines it is what the machines cost an hour.
        """
        return total(self.metered) if self.metered else machines_usd(self.machines)

    @property
    def likely_usd(self) -> Decimal | None:
        """What it was quoted to cost, most likely."""
        return None if self.quoted_usd is None else Decimal(self.quoted_usd["likely"])

    @property
    def usd_per_million_tokens(self) -> Decimal | None:
        """The metered dollars for a million tokens that were processed; None before there are any."""
        return per_million(self.metered_usd, self.tokens)

    @property
    def metered_to_quoted(self) -> Decimal | None:
        """What was metered as a multiple of what was likely, of a run that finished; of others it says nothing."""
        return quotient(self.metered_usd, self.likely_usd) if self.state == "finished" else None

    @property
    def billed_to_metered(self) -> Decimal | None:
        """What was billed as a multiple of what was metered, once the bill is final."""
        return quotient(self.billed_usd, self.metered_usd) if self.billed_status == "final" else None

    def document(self) -> dict[str, Any]:
        """For JSON; see `cloudtrain schema report`."""
        return {
            "run": self.run,
            "state": self.state,
            "provider": self.provider,
            "offer": self.offer,
            "started_at": rfc3339(self.started_at),
            "ended_at": rfc3339(self.ended_at),
            "attempts": self.attempts,
            "price": self.price,
            "cost_lines": [
                {"name": name, "quoted": q and q.document(), "metered": m and m.document()}
                for name, q, m in paired(self.quoted, self.metered)
            ],
            "quoted_usd": self.quoted_usd,
            "requoted": None if self.requoted is None else requoted_document(*self.requoted),
            "metered_usd": money_text(self.metered_usd),
            "billed_usd": money_text(self.billed_usd),
            "billed_status": self.billed_status,
            "billed_message": self.billed_message,
            "usd_per_million_tokens": money_text(self.usd_per_million_tokens),
            "metered_to_quoted": as_ratio(self.metered_to_quoted),
            "billed_to_metered": as_ratio(self.billed_to_metered),
            "spec": self.spec,
            "quoted_hours": self.quoted_hours,
            "metered_s": round(self.metered_s, 3),
            "steps": self.steps,
            "tokens": self.tokens,
            "loss": self.loss,
            "eval_loss": self.eval_loss,
            "tokens_per_second": {"quoted": self.quoted_tokens_per_second, "measured": self.measured_tokens_per_second},
            "peak_bytes": {"estimated": self.estimated_bytes, "measured": self.measured_bytes},
            "machines": [
                {
                    "id": machine.id,
                    "offer": machine.offer,
                    "place": machine.place,
                    "seconds": round(machine.seconds, 3),
                    "price_usd_per_hour": money_text(machine.usd_per_hour),
                    "reason": machine.reason,
                }
                for machine in self.machines
            ],
        }


def requoted_document(step: float, rest: Remaining) -> dict[str, Any]:
    """What a run's own rate said first, for JSON: in all, what was spent until then included."""
    document = rest.document()
    return {"step": step, "hours": document["hours"], "total_usd": document["total_usd"]}


def total(parts: tuple[CostPart, ...]) -> Decimal | None:
    """The sum of cost lines; None when one has no price, because an unknown is never summed."""
    if any(part.usd is None for part in parts):
        return None
    return sum((part.usd for part in parts if part.usd is not None), Decimal(0))


def quotient(amount: Decimal | None, of: Decimal | None) -> Decimal | None:
    """One amount as a multiple of another; None where one is unknown or there is nothing to divide by."""
    return None if amount is None or not of else amount / of


def per_million(amount: Decimal | None, tokens: float | None) -> Decimal | None:
    """Dollars for a million tokens; None where one of both is unknown, or there was none."""
    return None if amount is None or not tokens else amount * 1_000_000 / Decimal(tokens)


def as_ratio(value: Decimal | None) -> float | None:
    """A ratio for JSON."""
    return None if value is None else round(float(value), 4)


def paired(
    quoted: tuple[CostPart, ...], metered: tuple[CostPart, ...]
) -> list[tuple[str, CostPart | None, CostPart | None]]:
    """Quoted and metered lines of the same name side by side."""
    left, right = {p.name: p for p in quoted}, {p.name: p for p in metered}
    return [(name, left.get(name), right.get(name)) for name in dict.fromkeys([*left, *right])]


def report(run: Run) -> CostReport:
    """The account of a run, finished or not."""
    line, seen, billed = run.line, newest(run), bill(run)
    machines = tuple(run.machines())
    metered_s = sum(machine.seconds for machine in machines)
    quoted = tuple(CostPart(p.name, p.quantity, p.unit, p.unit_usd) for p in line.cost_parts) if line else ()
    metered = metered_parts(quoted, machines, delivered=run.state == "finished")
    return CostReport(
        run=run.id,
        state=run.state,
        provider=run.begun.provider if run.begun else "",
        offer=line.offer if line else "",
        started_at=run.begun.created if run.begun else None,
        ended_at=run.exit.ended_at if run.exit else None,
        quoted=quoted,
        metered=metered,
        quoted_usd=line.bounds("total_usd") if line else None,
        quoted_hours=line.bounds("hours") if line else None,
        metered_s=metered_s,
        attempts=len(run.attempts) + (run.machine is not None),
        tokens=seen.get("tokens"),
        steps=seen.get("step"),
        quoted_tokens_per_second=line.bounds("tokens_per_second") if line else None,
        measured_tokens_per_second=seen.get("tokens_per_second"),
        estimated_bytes=line.required_bytes if line else None,
        measured_bytes=max(
            (int(peak) for peak in [*(a.exit.peak_bytes for a in run.attempts if a.exit), seen["peak_bytes"]] if peak),
            default=None,
        ),
        loss=figures.finite(seen["loss"]),
        machines=machines,
        spec="" if run.begun is None else spec_of(run.id, run.begun.identity),
        eval_loss=figures.finite(seen["eval_loss"]),
        requoted=remaining.first_told(run),
        billed_usd=None if billed is None else billed.usd,
        billed_status=None if billed is None else billed.status,
        billed_message="" if billed is None else remark(by_sort(metered, machines), metered_s, billed),
        price={
            "usd_per_hour": exact_text(run.usd_per_hour),
            **(line.price.model_dump(exclude_unset=True) if line else {}),
        },
    )


def spec_of(name: str, identity: str) -> str:
    """A run's name without the digits of its identity, which new data changes: `smollm2-135m-qlora-3f9a2c-2`."""
    stem, found, _ = name.rpartition(f"-{identity[:6]}")
    return stem if found and stem else name


def newest(run: Run) -> dict[str, Any]:
    """The newest of each of the trainer's figures: the exit record's where it has one, else the heartbeat's."""
    names = ("step", "loss", "eval_loss", "tokens", "tokens_per_second", "peak_bytes")
    both = [record for record in (run.exit, run.heartbeat) if record is not None]
    return {
        name: next((found for record in both if (found := getattr(record, name)) is not None), None) for name in names
    }


def by_sort(metered: tuple[CostPart, ...], machines: tuple[Machine, ...]) -> dict[str, Decimal | None]:
    """What was metered, by sort of cost; of a row that was kept without cost lines what its machines cost."""
    return {part.name: part.usd for part in metered} or {"compute": machines_usd(machines)}


def machines_usd(machines: tuple[Machine, ...]) -> Decimal | None:
    """What machines cost at their prices an hour; None when one of these is unknown."""
    if any(machine.usd_per_hour is None for machine in machines):
        return None
    each = (Decimal(machine.seconds) * (machine.usd_per_hour or 0) for machine in machines)
    return sum(each, Decimal(0)) / SECONDS_PER_HOUR


def metered_parts(quoted: tuple[CostPart, ...], machines: tuple[Machine, ...], delivered: bool) -> tuple[CostPart, ...]:
    """The quoted lines with the hours really used; egress as quoted once a result is home, before that none.

    Machines of several prices are counted at each one's own: the line has their mean.
    """
    hours = Decimal(f"{sum(machine.seconds for machine in machines) / SECONDS_PER_HOUR:.6f}")
    compute = next((part for part in quoted if part.name == "compute"), None)
    if compute is None:
        return ()
    factor = hours / compute.quantity if compute.quantity else Decimal(0)
    parts = tuple(metered_part(part, hours, factor, delivered) for part in quoted)
    if len({machine.usd_per_hour for machine in machines}) < 2 or not hours:
        return parts
    cost = machines_usd(machines)
    mean = None if cost is None else cost / hours
    return tuple(part._replace(unit_usd=mean) if part.name == "compute" else part for part in parts)


def metered_part(part: CostPart, hours: Decimal, factor: Decimal, delivered: bool) -> CostPart:
    """One quoted line as it was used."""
    if part.name == "egress":
        return part if delivered else part._replace(quantity=Decimal(0))
    return part._replace(quantity=hours if part.unit == "hours" else part.quantity * factor)
