"""What a shell completes: models, runs, hardware, places, settings, rows of a quote. Nothing here asks a network."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from cloudtrain.offer import Offer

TAKE_ROWS = ("estimate", "throughput")  # commands whose hardware may be a row's id
Completer = Callable[[click.Context, click.Parameter, str], "list[CompletionItem]"]


def completer(words: Callable[[click.Context, str], Iterable[str]]) -> Completer:
    """What click asks for from a function of what is begun; a broken file or setting completes nothing."""

    @wraps(words)
    def complete(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        from cloudtrain.errors import CloudtrainError

        try:
            return [CompletionItem(word) for word in words(context, begun) if word.lower().startswith(begun.lower())]
        except (CloudtrainError, OSError):
            return []

    return complete


def models(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """The registry's names; where a path is begun, folders."""
    if begun.startswith((".", "/", "~")):
        from click.shell_completion import CompletionItem

        return [CompletionItem(begun, type="dir")]
    return _models(context, parameter, begun)


@completer
def _models(context: click.Context, begun: str) -> Iterable[str]:
    from cloudtrain.models import registry

    return (spec.name for spec in registry.all_models())


@completer
def runs(context: click.Context, begun: str) -> Iterable[str]:
    """Those of a state that is a folder: a bucket would have to be asked."""
    from cloudtrain import settings
    from cloudtrain.state.store import LocalFolder, open_store

    state = settings.load().state
    if state.startswith(("s3://", "gs://")):
        return []
    store = open_store(state)
    return store.children("runs") if isinstance(store, LocalFolder) else []


@completer
def hardware(context: click.Context, begun: str) -> Iterable[str]:
    """Keys of the accelerator table, once something is begun their other names too, as far as they are one word.

    Behind a slash the ids of a quote's rows, where the option takes these.
    """
    from cloudtrain.estimate.hardware import all_hardware

    provider, slash, _ = begun.partition("/")
    if slash and context.command.name in TAKE_ROWS:
        return offers_by_id([provider])
    table = all_hardware()
    others = (name for row in table for name in (row.name, *row.aliases) if begun and " " not in name)
    return dict.fromkeys([*(row.key for row in table), *others])


@completer
def places(context: click.Context, begun: str) -> Iterable[str]:
    """Providers, and behind a slash the regions, then the zones, in which one of them offers something."""
    from cloudtrain.providers import names

    provider, slash, rest = begun.partition("/")
    if not slash:
        return names("pricing")
    there = _offers([provider])
    if "/" not in rest:
        return sorted({f"{provider}/{offer.region}" for offer in there if offer.region})
    return sorted({f"{provider}/{offer.region}/{zone}" for offer in there for zone in offer.zone.split()})


@completer
def providers(context: click.Context, begun: str) -> Iterable[str]:
    """Those that `up` can rent from."""
    from cloudtrain.providers import names

    return names("stacks")


@completer
def price_sources(context: click.Context, begun: str) -> Iterable[str]:
    """Those that have prices."""
    from cloudtrain.providers import names

    return names("pricing")


@completer
def askable(context: click.Context, begun: str) -> Iterable[str]:
    """Those that can be asked for their prices."""
    from cloudtrain.providers import PriceSource, load, names

    return (name for name in names("pricing") if load("pricing", name, PriceSource).refresh is not None)


@completer
def settings_keys(context: click.Context, begun: str) -> Iterable[str]:
    """Names of settings."""
    from cloudtrain import settings

    return (setting.key for setting in settings.KEYS)


@completer
def rows(context: click.Context, begun: str) -> Iterable[str]:
    """Ids of rows, whatever the model; the second one behind the comma of `--compare`."""
    from cloudtrain.providers import names

    first, comma, second = begun.rpartition(",")
    provider, slash, _ = second.partition("/")
    known = [provider] if slash else names("pricing")
    return (f"{first}{comma}{id_}" for id_ in offers_by_id(known, bool(context.params.get("include_nvidia"))))


def offers_by_id(providers: Iterable[str], include_nvidia: bool = False) -> dict[str, Offer]:
    """What these providers offer, by the id that a quote's row of it has."""
    from cloudtrain.quote.engine import is_nvidia
    from cloudtrain.quote.ids import row_ids

    offers = [offer for offer in _offers(providers) if include_nvidia or not is_nvidia(offer)]
    return dict(zip(row_ids(offers), offers, strict=True))


def _offers(providers: Iterable[str]) -> list[Offer]:
    from cloudtrain import settings
    from cloudtrain.providers import PriceSource, load
    from cloudtrain.quote.catalog import context

    read = context(settings.load())
    return [offer for name in providers for offer in load("pricing", name, PriceSource).offers(read)]
