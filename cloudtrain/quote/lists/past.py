"""What the price of an offer was: a course of steps, from the changes that refreshes have written down."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from cloudtrain.errors import UsageError, nearest
from cloudtrain.offer import Offer
from cloudtrain.providers import PriceSource, load, names

if TYPE_CHECKING:
    from cloudtrain.prices.records import Change
    from cloudtrain.providers import Context

DAY_S = 86400.0
POINTS = 20  # of a course, as it is drawn


class Step(NamedTuple):
    """From `time` (epoch seconds) on it was this many US dollars per hour; None: not offered, or unknown."""

    time: float
    usd: Decimal | None
    source: str


class Course(NamedTuple):
    """A price between two instants (epoch seconds). Where nothing older is known the first step is later than `since`.

    `now` is the price of the list that a quote reads. `is_written`: something of it was written down.
    """

    since: float
    until: float
    steps: tuple[Step, ...]
    now: Decimal | None
    is_written: bool

    @property
    def known(self) -> list[tuple[Decimal, float]]:
        """Prices, and for how many seconds each of them counted."""
        pairs = zip(self.steps, [*(step.time for step in self.steps[1:]), self.until], strict=False)
        return [(step.usd, end - step.time) for step, end in pairs if step.usd is not None]

    @property
    def lowest(self) -> Decimal | None:
        """The least that it was."""
        return min((usd for usd, _ in self.known), default=None)

    @property
    def highest(self) -> Decimal | None:
        """The most that it was."""
        return max((usd for usd, _ in self.known), default=None)

    @property
    def median(self) -> Decimal | None:
        """What it did not exceed in half of the time for which it is known."""
        left = sum(seconds for _, seconds in self.known) / 2
        for usd, seconds in sorted(self.known):
            left -= seconds
            if left <= 0:
                return usd
        return None

    @property
    def points(self) -> tuple[float | None, ...]:
        """The price at evenly spaced instants, the last one at the end; None where it is not known."""
        width = (self.until - self.since) / POINTS
        return tuple(self._at(self.since + width * (number + 1)) for number in range(POINTS))

    def _at(self, time: float) -> float | None:
        before = [step for step in self.steps if step.time <= time]
        return float(before[-1].usd) if before and before[-1].usd is not None else None


def course(offer: Offer, changes: Sequence[Change], since: float, until: float) -> Course:
    """The course of an offer's price, from what is written down of it (oldest first)."""
    mine = [change for change in changes if is_of(change, offer) and change.time <= until]
    steps: list[Step] = []
    if mine and mine[0].time > since and mine[0].old is not None:
        steps.append(Step(since, mine[0].old, ""))  # what counted before the first one that is written down
    steps += [Step(change.time, change.new, change.source) for change in mine]
    if not mine and offer.usd_per_hour is not None and offer.price.as_of:
        seen = datetime.fromisoformat(offer.price.as_of).replace(tzinfo=UTC).timestamp()
        steps = [Step(min(seen, until), offer.usd_per_hour, offer.price.source)]
    return Course(since, until, within(steps, since), offer.usd_per_hour, bool(mine))


def within(steps: Sequence[Step], since: float) -> tuple[Step, ...]:
    """Those that count from `since` on; the last one before it begins there."""
    before = [step for step in steps if step.time <= since]
    return (*(step._replace(time=since) for step in before[-1:]), *(step for step in steps if step.time > since))


def asked(offer: Offer, context: Context, since: float, until: float) -> Course:
    """The course of a spot price as its provider tells it. Raises UsageError where it does not, and provider errors.

    Of several zones a row has the dearest price, of none that it names the region's cheapest.
    """
    from cloudtrain.prices.one_row import row_of

    source = load("pricing", offer.provider, PriceSource)
    if source.past is None or offer.market != "spot":
        raise UsageError(
            f"{offer.provider} tells nothing of what this cost before",
            "--ask is for spot prices of a provider that keeps them; without it what is written down here is shown",
        )
    shape = row_of(offer.key, context.price_list(offer.provider))
    pick = max if shape.zones else min
    zones: dict[str, Decimal] = {}
    steps: list[Step] = []
    for time, zone, usd in source.past(shape, math.ceil((until - since) / DAY_S)):
        zones[zone] = usd
        costs = pick(zones.values())
        if time <= until and (not steps or steps[-1].usd != costs):
            steps.append(Step(time, costs, f"{offer.provider}, asked now"))
    return Course(since, until, within(steps, since), offer.usd_per_hour, bool(steps))


def is_of(change: Change, offer: Offer) -> bool:
    """Whether the change is one of this offer's price. Some lists name zones by their last letter."""
    if (change.offer, change.region) != (offer.name, offer.region):
        return False
    if (change.market == "spot") != (offer.market == "spot"):
        return False
    said, whole = sorted(change.zones.split()), sorted(offer.zone.split())
    return len(said) == len(whole) and all(
        full == short or full.endswith(f"-{short}") for short, full in zip(said, whole, strict=True)
    )


def named(text: str, ids: Mapping[str, Offer]) -> dict[str, Offer]:
    """The offers that somebody means: by an id, or all of the provider's name for them. Raises UsageError."""
    wanted = text.strip().lower()
    if wanted in ids:
        return {wanted: ids[wanted]}
    found = {id_: offer for id_, offer in ids.items() if offer.name.lower() == wanted}
    if not found:
        close = nearest(wanted, list(ids) + [offer.name.lower() for offer in ids.values()])
        hint = f"did you mean `{close}`?" if close else "`cloudtrain quote MODEL --all` shows the ids"
        raise UsageError(f"no offer `{text}` in the price lists", hint)
    return found


def courses(
    text: str, context: Context, since: float, until: float, region: str | None = None, ask: bool = False
) -> dict[str, Course]:
    """The course of each offer that somebody means, by its id; of one region where one is named. Raises UsageError.

    `ask`: as the provider tells it, instead of what is written down here; raises provider errors too.
    """
    from cloudtrain.prices.history import changes
    from cloudtrain.quote.ids import row_ids
    from cloudtrain.quote.lists.differences import offers

    provider, slash, _ = text.strip().lower().partition("/")
    every = offers(context, [provider] if slash and provider in names("pricing") else names("pricing"))
    found = named(text, dict(zip(row_ids(every), every, strict=True)))
    found = {id_: offer for id_, offer in found.items() if region in (None, offer.region)}
    if ask:
        on_spot = {id_: offer for id_, offer in found.items() if len(found) == 1 or offer.market == "spot"}
        return {id_: asked(offer, context, since, until) for id_, offer in on_spot.items()}
    written = {name: changes(name) for name in dict.fromkeys(offer.provider for offer in found.values())}
    return {id_: course(offer, written[offer.provider], since, until) for id_, offer in found.items()}
