"""What is missing to start a row of a quote here, and the next command; decided without asking anybody.

Environment variables, settings and files say it. A provider's quota, and whether a licence was accepted, only
`doctor` and `up` find out.
"""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING, NamedTuple

from cloudtrain.models.registry import has_weights
from cloudtrain.providers import PriceSource, Stack, load
from cloudtrain.quote import ages, engine
from cloudtrain.quote.request import MARKETS, parse_place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloudtrain.quote.request import Request
    from cloudtrain.quote.row import Quote, QuoteRow
    from cloudtrain.settings import Settings

BUCKETS = ("s3://", "gs://")
LEAST_GUARDS = 2  # fewer that work without the client need --accept-risk
SPEC_KEYS = {"method": "method", "sequence_length": "sequence_length", "batch": "micro_batch", "rank": "lora.rank"}
DEFAULTS = {"method": "qlora", "sequence_length": 2048, "batch": 1, "rank": 16}


class Narrow(NamedTuple):
    """How far `up` is narrowed: parts of the place, the machine's chip and count, the market."""

    places: int
    chip: bool
    market: bool


LEVELS = tuple(
    Narrow(*level)
    for level in (
        *((0, False, False), (1, False, False), (1, False, True), (1, True, False), (1, True, True)),
        *((2, False, False), (2, False, True), (2, True, True), (3, True, True)),
    )
)


class Here(NamedTuple):
    """What of somebody's surroundings decides whether a row can be started."""

    state: str
    credentials: frozenset[str]  # providers for which some were found
    hub_token: str  # the variable or file that holds one; "" for none
    now: float  # epoch seconds


class Start(NamedTuple):
    """How a row is started: by `up` (`yes`), by a person, or not yet. `missing`: what to get first, in a few words."""

    launch: str
    missing: tuple[str, ...]
    command: str  # the next one; "" for a row that nothing starts
    flags: tuple[str, ...] = ()  # what `up` needs to be told


def here(settings: Settings, quote: Quote, now: float) -> Here:
    """These surroundings, as far as they matter to a quote."""
    rented = {line.offer.provider for line in quote.lines if line.viable}
    token = ""
    if quote.request.spec.published.gated:
        from cloudtrain import hub

        token = hub.own_token_place()
    return Here(settings.state, frozenset(name for name in rented if has_credentials(name)), token, now)


def has_credentials(provider: str) -> bool:
    """Whether the environment or a file of its SDK holds anything that is meant as credentials for the provider."""
    source = load("pricing", provider, PriceSource)
    if any(os.environ.get(variable) for variable in source.credentials):
        return True
    files = (os.path.expanduser(os.path.expandvars(path)) for path in source.credential_files)
    return any(os.path.isfile(path) for path in files)


def start(quote: Quote, index: int, here: Here) -> Start:
    """What is missing to start the line of this index, and the next command."""
    line = quote.lines[index]
    launch = line.assessment.launch
    model = shlex.quote(name_of(quote.request))
    if launch == "by hand":
        if line.offer.market == "owned" and runs_here(line):
            return Start(launch, ("cloudtrain on it",), "cloudtrain up --infra local")
        return Start(launch, (), f"cloudtrain quote {model} --why {quote.id_of(index)}")
    if launch != "yes":
        return Start(launch, (), "")
    flags = tuple(flags_of(quote.request, line, here))
    lacks = list(lacking(quote.request, line, here))
    if lacks:
        return Start(launch, tuple(words for words, _ in lacks), lacks[0][1], flags)
    selected = selector(quote, index)
    if selected is None:
        return Start(launch, (), f"cloudtrain quote {model} --why {quote.id_of(index)}", flags)
    return Start(launch, (), " ".join(["cloudtrain up", *overrides(quote.request, line), *selected, *flags]), flags)


def name_of(request: Request) -> str:
    """The model as it was asked for: its folder, else its name."""
    return request.spec.path if request.spec.path and not request.spec.hub_id else request.spec.name


def runs_here(line: QuoteRow) -> bool:
    """Whether `up --infra local` trains on such a machine when it is called there."""
    recipe = line.assessment.recipe
    return recipe is not None and recipe.backend in load("stacks", line.offer.provider, Stack).backends


def lacking(request: Request, line: QuoteRow, here: Here) -> Iterator[tuple[str, str]]:
    """What has to be got before `up` can start the line, as (words, command), in the order in which it is got."""
    stack = load("stacks", line.offer.provider, Stack)
    in_bucket = here.state.startswith(BUCKETS)
    if stack.direct and in_bucket:
        yield "state in a folder", "CLOUDTRAIN_STATE=$HOME/cloudtrain cloudtrain up --infra local"
    if not stack.direct and not in_bucket:
        yield "bucket", "cloudtrain config set state s3://BUCKET"
    if not stack.direct and line.offer.provider not in here.credentials:
        yield f"{line.offer.provider} key", f"cloudtrain doctor {line.offer.provider}"
    if request.spec.published.gated and not here.hub_token and not (stack.direct and has_weights(request.spec.hub_id)):
        yield "licence", "hf auth login"


def flags_of(request: Request, line: QuoteRow, here: Here) -> Iterator[str]:
    """What `up` has to be told in addition, because it refuses the line unasked."""
    offer, assessment = line.offer, line.assessment
    stack = load("stacks", offer.provider, Stack)
    if assessment.loads == "experimental":
        yield "--experimental"
    if ages.is_refused(offer, here.now):
        asked = load("pricing", offer.provider, PriceSource).live is not None and offer.provider in here.credentials
        if not asked:
            yield "--accept-stale"
    if sum(guard.alone for guard in stack.guards(offer.name, offer.market)) < LEAST_GUARDS:
        yield "--accept-risk"
    if not stack.direct and here.hub_token and request.spec.published.gated:
        yield f"--hub-token-from {shlex.quote(here.hub_token)}"


def overrides(request: Request, line: QuoteRow) -> list[str]:
    """Fields of the spec that differ from what a new one holds; a step as large as the row's own micro-batch."""
    found = [
        f"{key}={getattr(request, name)}" for name, key in SPEC_KEYS.items() if getattr(request, name) != DEFAULTS[name]
    ]
    recipe = line.assessment.recipe
    own = 1 if request.batch_given or recipe is None else recipe.options.batch
    return [*found, f"grad_accum={own}"] if own > 1 else found


def selector(quote: Quote, index: int) -> list[str] | None:
    """The fewest options with which `up` takes this line of the quote; None where a cheaper one has them all too."""
    request, line = quote.request, quote.lines[index]
    offer = line.offer
    where = [offer.provider]
    where += [f"{offer.provider}/{offer.region}"] if offer.region else []
    where += [f"{offer.provider}/{offer.region}/{offer.zone.split()[0]}"] if offer.region and offer.zone else []
    market = {"spot": ["--spot"], "on_demand": ["--on-demand"]}.get(offer.market, [])
    asked = next((place for place in request.places if place.holds(offer)), None)
    depth = 0 if asked is None else 1 + bool(asked.region) + bool(asked.zone)
    chip = bool(request.hardware) or request.max_hours != request.settings_hours  # a ceiling of `up` is a deadline
    candidates = list(engine.choosable(quote.lines, request.experimental or line.assessment.loads == "experimental"))
    for narrow in LEVELS:
        if narrow.places < depth or (chip and not narrow.chip) or (request.markets != MARKETS and not narrow.market):
            continue
        infra = where[: narrow.places][-1:]
        found = [f"--infra {infra[0]}"] if infra else []
        found += [f"--hardware {offer.hardware}:{offer.count}"] if narrow.chip else []
        found += market if narrow.market else []
        place = parse_place(infra[0]) if infra else None
        fitting = [
            (i, each)
            for i, each in candidates
            if (place is None or place.holds(each.offer))
            and (not narrow.chip or (each.offer.hardware, each.offer.count) == (offer.hardware, offer.count))
            and (not narrow.market or each.offer.market == offer.market)
        ]
        if engine.best(fitting) == index:
            return found
    return None
