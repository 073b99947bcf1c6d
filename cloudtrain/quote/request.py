"""A quote's request: the job, its limits, and which offers are considered."""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple

from cloudtrain.errors import UsageError, nearest
from cloudtrain.offer import Box, Offer
from cloudtrain.providers import names

Sort = Literal["dollars", "hours"]

if TYPE_CHECKING:
    from cloudtrain.estimate.options import Method, Quantisation
    from cloudtrain.models.adapters import Targets
    from cloudtrain.models.spec import ModelSpec

DEFAULT_TOKENS = 1_000_000
MARKETS = frozenset({"on_demand", "spot", "free", "units", "owned"})


class Place(NamedTuple):
    """`provider[/region[/zone]]`; an empty part matches everything."""

    provider: str
    region: str = ""
    zone: str = ""

    def holds(self, offer: Offer) -> bool:
        """Whether the offer is in this place. An offer that names several zones is in each of them."""
        return (
            offer.provider == self.provider
            and self.region in ("", offer.region)
            and (not self.zone or self.zone in offer.zone.split())
        )


class Request(NamedTuple):
    """One job to price. `tokens` are positions processed, prompts included, times epochs, before padding."""

    spec: ModelSpec
    method: Method = "qlora"
    sequence_length: int = 2048
    batch: int = 1
    batch_given: bool = True  # False: nobody said, so that a row may take a better one; see its recipe's options
    step_sequences: int | None = None  # in a step of the optimizer, where a spec says it: a row splits them up
    quantisation: Quantisation | None = None  # of frozen weights under qlora; None: the row's own
    rank: int = 16
    targets: Targets | None = None  # None: what our trainer uses there
    tokens: int = DEFAULT_TOKENS
    tokens_basis: str = "default"
    data_bytes: int | None = None  # of the files with the rows; None: not known
    weights_bytes: int | None = None  # of the model's folder in the state; None: as it is published
    checkpoints_kept: int = 2
    rows: str = ""  # the shape of the data's rows, where there is data
    max_hours: float | None = None  # never more than the settings say
    settings_hours: float | None = None  # what these say
    max_cost: Decimal | None = None
    hour_usd: Decimal = Decimal(0)  # what an hour of waiting is worth to the person
    sort: Sort = "dollars"
    places: tuple[Place, ...] = ()
    hardware: tuple[tuple[str, int | None], ...] = ()  # (key of the accelerator table, count or None for any)
    boxes: tuple[Box, ...] = ()  # machines of one's own that are not this one
    markets: frozenset[str] = MARKETS
    bucket: str = ""  # scheme of the state's bucket; "" for none yet: then one of the machine's own cloud is taken
    include_nvidia: bool = False
    experimental: bool = False
    trainer: str = ""  # the one back end of ours that is asked for; "": whichever does it best
    only_planned: bool = False  # nothing is started, whatever is chosen
    refused: tuple[tuple[str, str], ...] = ()  # (trainer, why) of those that cannot do what a spec asks for

    def __hash__(self) -> int:
        """By what mostly tells two of them apart: a quote looks things up by its request hundreds of times."""
        return hash((self.spec, self.method, self.sequence_length, self.batch, self.tokens))

    @property
    def wants_everything(self) -> bool:
        """Whether no place, chip or market was left out."""
        return not self.places and not self.hardware and len(self.markets) == len(MARKETS)

    def wants(self, offer: Offer) -> bool:
        """Whether the person asked to see this offer at all."""
        if offer.market not in self.markets:
            return False
        if self.places and not any(place.holds(offer) for place in self.places):
            return False
        return not self.hardware or any(
            key == offer.hardware and count in (None, offer.count) for key, count in self.hardware
        )

    def flops_per_token(self) -> float:
        """Floating-point operations per token, in the convention in which efficiency is published."""
        return _flops_per_token(self.spec, self.method, self.sequence_length)

    def packed_steps(self) -> int:
        """Micro-steps when rows are packed to full length."""
        return -(-self.tokens // (self.sequence_length * self.batch))


@lru_cache(maxsize=64)
def _flops_per_token(spec: ModelSpec, method: Method, sequence_length: int) -> float:
    """Kept, because every kind of machine asks for it."""
    from cloudtrain.estimate.flops import flops_per_token
    from cloudtrain.estimate.options import Options

    return flops_per_token(spec, Options(method=method, sequence_length=sequence_length)).convention


def parse_place(text: str) -> Place:
    """`aws/us-east-1/use1-az5` as a place. Raises UsageError for a provider that has no price source."""
    provider, _, rest = text.partition("/")
    region, _, zone = rest.partition("/")
    known = names("pricing")
    if provider not in known:
        close = nearest(provider, known, 0.6)  # short words: `lambda` is not `colab`
        raise UsageError(
            f"no provider `{provider}`", f"did you mean `{close}`?" if close else f"known: {', '.join(known)}"
        )
    return Place(provider, region, zone)


def parse_hardware(text: str) -> tuple[tuple[str, int | None], ...]:
    """`NAME` or `NAME:COUNT` as (key of the accelerator table, count or None); several where it names a class.

    Raises UsageError with the nearest thing.
    """
    from cloudtrain.estimate import naming
    from cloudtrain.estimate.accelerators import all_hardware

    named = naming.read(text)
    keys = dict.fromkeys(chip.key for chip in named.chips)
    keys |= dict.fromkeys(row.key for row in all_hardware() if row.formerly in keys)  # what this machine is called
    return tuple((key, named.count) for key in keys)


def markets(spot: bool | None) -> frozenset[str]:
    """`--spot` takes on-demand offers away, `--on-demand` those on spot."""
    if spot is None:
        return MARKETS
    return MARKETS - {"on_demand" if spot else "spot"}
