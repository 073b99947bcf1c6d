"""What a cloud answers in a shape that nobody knows is its failure: whatever that breaks in a driver becomes one.

A status of 200 says nothing about the body: proxies, outages and half an answer come with it too. Nothing of the kind
may read as "nothing of ours", or end a teardown before the other things were looked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import wraps
from typing import ParamSpec, TypeVar

from cloudtrain.errors import ProviderError, Unavailable, Unknown
from cloudtrain.providers import Cloud, Driver, OwnedResource

P = ParamSpec("P")
T = TypeVar("T")
BROKEN = (
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    ArithmeticError,
)  # what reading an answer of another shape ends in


def closed(name: str, cloud: Cloud) -> Cloud:
    """The cloud, of which every call raises provider errors only."""
    return replace(
        cloud,
        account=reading(name, cloud.account),
        list_owned=listing(name, cloud.list_owned),
        unavailable_reason=reading(name, cloud.unavailable_reason),
        drivers={kind: closed_driver(name, driver) for kind, driver in cloud.drivers.items()},
    )


def closed_driver(name: str, driver: Driver) -> Driver:
    """The driver, likewise: an answer to a call that changes something may hide a success."""
    return driver._replace(
        create=reading(name, driver.create, Unknown),
        find=reading(name, driver.find),
        status=reading(name, driver.status),
        delete=reading(name, driver.delete, Unknown),
    )


def reading(name: str, call: Callable[P, T], otherwise: type[ProviderError] = Unavailable) -> Callable[P, T]:
    """The call, which raises `otherwise` for an answer that breaks it."""

    @wraps(call)
    def closed_call(*args: P.args, **more: P.kwargs) -> T:
        try:
            return call(*args, **more)
        except BROKEN as error:
            raise wrong(name, error, otherwise) from error

    return closed_call


def listing(
    name: str, list_owned: Callable[[str | None, Sequence[Mapping[str, str]] | None], Iterable[OwnedResource]]
) -> Callable[[str | None, Sequence[Mapping[str, str]] | None], Iterable[OwnedResource]]:
    """The list, likewise: what it yields before it breaks is there."""

    def closed_list(run: str | None, places: Sequence[Mapping[str, str]] | None) -> Iterable[OwnedResource]:
        found = reading(name, list_owned)(run, places)
        return found if isinstance(found, list) else rest(found)

    def rest(found: Iterable[OwnedResource]) -> Iterator[OwnedResource]:
        try:
            yield from found
        except BROKEN as error:
            raise wrong(name, error, Unavailable) from error

    return closed_list


def wrong(name: str, error: Exception, kind: type[ProviderError]) -> ProviderError:
    """The provider error for an answer that broke a driver."""
    return kind(
        f"{name} answered with something else than was asked for ({type(error).__name__}: {error})", "try again"
    )
