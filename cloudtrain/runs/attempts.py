"""A machine for a run: one place after the other, for the first time and after a machine was reclaimed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from decimal import Decimal
from typing import NamedTuple

from cloudtrain.errors import Cancelled, CloudtrainError, NoCapacity, NoQuotaHere, OverBudget
from cloudtrain.plan import Plan
from cloudtrain.runs import candidates, launch, live_price
from cloudtrain.runs.candidates import Keyed
from cloudtrain.runs.events import Emit, PlaceFull, progress
from cloudtrain.runs.live_price import Checked
from cloudtrain.runs.record import Run
from cloudtrain.runs.results import outcome
from cloudtrain.settings import now
from cloudtrain.state.protocol import Store
from cloudtrain.units import SECONDS_PER_HOUR


class Priced(NamedTuple):
    """A plan at the price of now. `hourly_usd` counts disk and address too; None when the price is unknown."""

    plan: Plan
    price: Checked
    hourly_usd: Decimal | None

    def worst_usd(self) -> Decimal:
        """What the run costs from now on, disk and address included, if it ends at its deadline; Infinity if unknown.

        Of a run in segments that is as if one machine did all of it.
        """
        return at_price(self.plan, self.hourly_usd)

    def hours_left(self) -> Decimal:
        """Until the run's deadline."""
        return Decimal(max(0.0, self.plan.ends - now())) / SECONDS_PER_HOUR


def at_price(plan: Plan, hourly_usd: Decimal | None) -> Decimal:
    """What the plan costs from now until the run's deadline; Infinity when its price is unknown."""
    if hourly_usd is None:
        return Decimal("Infinity")
    return hourly_usd * max(0, int(plan.ends - now())) / SECONDS_PER_HOUR


def priced(plan: Plan, extras_usd: Decimal, spent_usd: Decimal, accept_stale: bool) -> Priced:
    """The plan at the price of now, its deadline brought forward where its money cap asks for it.

    `extras_usd` is what disk and address cost an hour, `spent_usd` what the run has cost. Raises what
    `live_price.check` does, and OverBudget for a cap that a machine of unknown price cannot keep.
    """
    price = live_price.check(plan.line, now(), accept_stale)
    hourly = None if price.usd_per_hour is None else price.usd_per_hour + extras_usd
    deadline, cap_at = plan.deadline, plan.cap_at
    if plan.max_cost is not None and hourly is None:
        raise OverBudget(f"the price of {plan.line.offer} is unknown: no cap on dollars would hold", "")
    if plan.max_cost is not None and hourly:
        affordable = max(Decimal(0), plan.max_cost - spent_usd) / hourly
        cap_at = now() + float(affordable) * SECONDS_PER_HOUR
        deadline = min(deadline, cap_at)
    line = plan.line.at_price(price.usd_per_hour)
    return Priced(replace(plan, line=line, deadline=deadline, cap_at=cap_at), price, hourly)


def start_somewhere(
    store: Store,
    places: Iterable[Keyed],
    plan_at: Callable[[Keyed], Plan],
    emit: Emit,
    passed_over: tuple[type[CloudtrainError], ...] = (),
) -> tuple[Run | None, str]:
    """Start the run in the first of the places that has a machine.

    `plan_at` is the run's plan in a place, priced and agreed to; an error of a kind in `passed_over` rules out that
    place alone. Returns the run, or None and the last answer when no place has a machine. Raises Cancelled when
    the run was ended by another client, Interrupted or TeardownIncomplete after Ctrl-C, NoQuotaHere when the account
    lacks the quota in every place, and what `plan_at` and the stack raise.
    """
    answer, lacking = "", None
    for place in places:
        try:
            plan = plan_at(place)
        except passed_over as error:
            answer = error.message
            continue
        try:
            return launch.start(store, plan, progress(emit)), ""
        except NoCapacity as error:
            answer = error.message
            candidates.remember_full(store, place.key, now())
            emit(PlaceFull(place.key.offer, candidates.region_and_zone(place.key), error.message))
            if Run(store, plan.run).wanted == "down":
                raise Cancelled(f"run `{plan.run}` was ended by `cloudtrain down`") from None
        except NoQuotaHere as error:
            lacking = lacking or error
            emit(PlaceFull(place.key.offer, candidates.region_and_zone(place.key), error.message))
        except KeyboardInterrupt:
            raise outcome.interrupted_launch(Run(store, plan.run)) from None
    if lacking is not None and not answer:
        raise lacking
    return None, answer
