"""The options of a quote (job, budget, places) and the quote for them."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cloudtrain.errors import UsageError
from cloudtrain.providers import PriceSource, load, names
from cloudtrain.quote.boxes import boxes_of, kept_boxes, together
from cloudtrain.quote.request import DEFAULT_TOKENS, Place, Request, Sort, markets, parse_hardware, parse_place

if TYPE_CHECKING:
    from cloudtrain.estimate.options import Method
    from cloudtrain.models.adapters import Targets
    from cloudtrain.models.spec import ModelSpec
    from cloudtrain.quote.row import Quote
    from cloudtrain.settings import Settings

Say = Callable[[str], None]


class QuoteOptions(NamedTuple):
    """The options of `cloudtrain quote`.

    `model` is a registry name, a Hugging Face id or a folder. The work is `tokens` positions processed, or `epochs`
    passes over the file `data`; neither: a million. `infra` is `provider[/region[/zone]]`, `hardware` `NAME[:COUNT]`:
    rows of it alone, and one of a machine of one's own, with `memory_bytes` and `watts` where these are said.
    """

    model: str
    method: Method = "qlora"
    sequence_length: int = 2048
    batch: int | None = None  # None: on each kind of machine what is cheapest there
    rank: int = 16
    targets: Targets | None = None
    tokens: int | None = None
    data: Path | None = None
    epochs: float = 1.0
    max_hours: float | None = None  # None, or more than the settings say: what these say
    max_cost: Decimal | None = None  # US dollars
    hour_is_worth: Decimal | None = None  # US dollars; None: what the settings say
    sort: Sort = "dollars"
    infra: tuple[str, ...] = ()
    hardware: tuple[str, ...] = ()
    spot: bool | None = None  # True: no on-demand offers; False: none on spot
    include_nvidia: bool = False
    experimental: bool = False
    memory_bytes: int | None = None  # of each chip, of a processor's machine the whole; None: as the chip is sold
    watts: Decimal | None = None  # what the owned machine draws


def quote(options: QuoteOptions, settings: Settings, say: Say = lambda sentence: None) -> Quote:
    """The quote for these options. Raises UsageError for what is wrong with them."""
    from cloudtrain.quote.engine import quote_here

    return quote_here(request_of(options, settings, say), settings)


def request_of(options: QuoteOptions, settings: Settings, say: Say = lambda sentence: None) -> Request:
    """The options as a Request; `say` gets one sentence per thing that takes long. Raises UsageError."""
    from cloudtrain.trainer import count

    boxes = together(boxes_of(options.hardware, options.memory_bytes, options.watts), kept_boxes())
    places = tuple(parse_place(text) for text in options.infra or settings.infra)
    if boxes and not options.infra and places:
        # the settings say where runs go, not what is owned
        sources = (load("pricing", name, PriceSource) for name in names("pricing"))
        places = (*places, *(Place(source.name) for source in sources if source.owned))
    spec = count.find(options.model, say)
    tokens, basis, rows = count_tokens(options, spec)
    return Request(
        spec=spec,
        method=options.method,
        sequence_length=options.sequence_length,
        batch=options.batch or 1,
        batch_given=options.batch is not None,
        rank=options.rank,
        targets=options.targets,
        tokens=tokens,
        tokens_basis=basis,
        rows=rows,
        max_hours=min(math.inf if options.max_hours is None else options.max_hours, float(settings.max_hours)),
        settings_hours=float(settings.max_hours),
        max_cost=options.max_cost,
        hour_usd=settings.hour_is_worth if options.hour_is_worth is None else options.hour_is_worth,
        sort=options.sort,
        places=places,
        hardware=tuple(each for text in options.hardware for each in parse_hardware(text)),
        boxes=boxes,
        markets=markets(options.spot),
        include_nvidia=options.include_nvidia,
        experimental=options.experimental,
    )


def count_tokens(options: QuoteOptions, spec: ModelSpec) -> tuple[int, str, str]:
    """How many tokens, how that is known, and the shape of the data's rows ("" without data)."""
    if options.tokens and options.data:
        raise UsageError("--tokens and --data both say how many tokens", "give one of them")
    if options.tokens:
        return options.tokens, "--tokens", ""
    if not options.data:
        return DEFAULT_TOKENS, "default", ""
    from cloudtrain.spec import dataset
    from cloudtrain.trainer import parquet
    from cloudtrain.trainer import tokens as counting

    report = dataset.check(options.data, parquet=parquet.records)
    rows = f"{report.rows:,} rows x {options.epochs:g} epochs"
    exact = counting.at_hand(spec, options.data, options.sequence_length, options.epochs)
    if exact is not None:
        return max(1, exact), f"{rows}, counted with the model's tokenizer", report.format
    estimated = max(1, round(report.estimated_tokens * options.epochs))
    return estimated, f"{rows} at {report.token_basis}", report.format
