"""What is missing to start a row of a quote here, and the next command; decided without asking anybody.

Environment variables, settings and files say it. A provider's quota, and whether a licence was accepted, only
`doctor` and `up` find out.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, NamedTuple

from cloudtrain.models.registry import has_weights
from cloudtrain.prices.one_row import can_be_asked
from cloudtrain.providers import PriceSource, Stack, load
from cloudtrain.quote import ages, renewal
from cloudtrain.quote.request import DEFAULT_TOKENS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloudtrain.quote.request import Request
    from cloudtrain.quote.row import Quote, QuoteRow
    from cloudtrain.settings import Settings

BUCKETS = ("s3://", "gs://")
LEAST_GUARDS = 2  # fewer that work without the client need --accept-risk
SPEC_KEYS = {"method": "method", "sequence_length": "sequence_length", "batch": "micro_batch", "rank": "lora.rank"}
DEFAULTS = {"method": "qlora", "sequence_length": 2048, "batch": 1, "rank": 16}


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
    return Here(settings.state, frozenset(name for name in rented if renewal.has_credentials(name)), token, now)


def start(quote: Quote, index: int, here: Here) -> Start:
    """What is missing to start the line of this index, and the next command."""
    line = quote.lines[index]
    launch = line.assessment.launch
    if launch == "by hand":
        if line.offer.market == "owned" and runs_here(line):
            return Start(launch, ("cloudtrain on it",), "cloudtrain up --infra local")
        return Start(launch, (), f"{question(quote.request)} --why {quote.id_of(index)}")
    if launch != "yes":
        return Start(launch, (), "")
    flags = tuple(flags_of(quote.request, line, here))
    lacks = list(lacking(quote.request, line, here))
    if lacks:
        return Start(launch, tuple(words for words, _ in lacks), lacks[0][1], flags)
    row = [] if is_plain(quote, index) else ["--row", quote.id_of(index)]
    return Start(launch, (), " ".join(["cloudtrain up", *overrides(quote.request, line), *row, *flags]), flags)


def name_of(request: Request) -> str:
    """The model as it was asked for: its folder, else its name."""
    return request.spec.path if request.spec.path and not request.spec.hub_id else request.spec.name


def question(request: Request, instead: str = "") -> str:
    """The command that asks for this quote again, `instead` with other options; of data it has the number of tokens."""
    changed = instead.split()
    said = {
        "--method": request.method if request.method != DEFAULTS["method"] else None,
        "--seq": request.sequence_length if request.sequence_length != DEFAULTS["sequence_length"] else None,
        "--batch": request.batch if request.batch_given else None,
        "--rank": request.rank if request.rank != DEFAULTS["rank"] else None,
        "--tokens": request.tokens if request.tokens != DEFAULT_TOKENS else None,
        "--max-cost": request.max_cost,
        **dict(zip(changed[::2], changed[1::2], strict=True)),
    }
    words = [f"{option} {value}" for option, value in said.items() if value is not None]
    words += [f"--infra {'/'.join(filter(None, (p.provider, p.region, p.zone)))}" for p in request.places]
    words += [f"--hardware {key}{f':{count}' if count else ''}" for key, count in request.hardware]
    return " ".join(["cloudtrain quote", shlex.quote(name_of(request)), *words])


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
        beside = load("pricing", line.offer.provider, PriceSource).terms.bucket
        yield "bucket", f"cloudtrain config set state {beside or 's3'}://BUCKET"
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
    can_be_renewed = renewal.command(offer.provider) or can_be_confirmed(offer.provider, here)
    if ages.is_refused(offer, here.now) and not can_be_renewed:
        yield "--accept-stale"
    if sum(guard.alone for guard in stack.guards(offer.name, offer.market)) < LEAST_GUARDS:
        yield "--accept-risk"
    if not stack.direct and here.hub_token and request.spec.published.gated:
        yield f"--hub-token-from {shlex.quote(here.hub_token)}"


def can_be_confirmed(provider: str, here: Here) -> bool:
    """Whether a launch from here can ask the provider for the price of now."""
    source = load("pricing", provider, PriceSource)
    return can_be_asked(source) and (source.keyless or provider in here.credentials)


def overrides(request: Request, line: QuoteRow) -> list[str]:
    """Fields of the spec that differ from what a new one holds; a step as large as the row's own micro-batch."""
    found = [
        f"{key}={getattr(request, name)}" for name, key in SPEC_KEYS.items() if getattr(request, name) != DEFAULTS[name]
    ]
    recipe = line.assessment.recipe
    own = 1 if request.batch_given or recipe is None else recipe.options.batch
    return [*found, f"grad_accum={own}"] if own > 1 else found


def is_plain(quote: Quote, index: int) -> bool:
    """Whether `up` without options takes this line: nothing was left out of the quote, and it is the chosen one."""
    request = quote.request
    unlimited = request.max_hours == request.settings_hours and request.max_cost is None and not request.experimental
    unlimited = unlimited and request.hour_usd == 0
    return index == quote.chosen and request.wants_everything and unlimited
