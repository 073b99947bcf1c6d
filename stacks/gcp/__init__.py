"""Google Cloud: v6e, v5p and processor machines on Compute Engine, v5e and older slices through the Cloud TPU API."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cloudtrain.providers import Cloud, Finding, Guard, OwnedResource, Resource, Setup, Timing

from .._pulumi.provisioned import provisioned
from . import billing, compute, service_account, tpu

if TYPE_CHECKING:
    from cloudtrain.offer import OfferKey
    from cloudtrain.plan import Plan

OF_THE_TPU_API = ("v5litepod-", "v4-", "v3-", "v2-")


def guards(offer: str, market: str) -> tuple[Guard, ...]:
    """What ends a run's cost, by the API that rents the offer."""
    if offer.startswith(OF_THE_TPU_API):
        return tpu.guards(offer, market)
    return compute.guards(offer, market)


def serves(key: OfferKey) -> bool:
    """Whether one of both APIs can make it."""
    return compute.serves(key) or tpu.serves(key)


def hosts(key: OfferKey) -> int:
    """How many machines an offer that `serves` accepts is."""
    from .shapes import shape

    wanted = shape(key)
    return tpu.hosts(key.offer) if wanted is None else wanted.hosts


def unavailable_reason(key: OfferKey) -> str:
    """Always ""; raises NoQuotaHere when this project may not have it in its place."""
    from . import quotas, shapes

    where = shapes.zone(key, 1)
    is_flex = shapes.provisioning(key, where) == "FLEX_START" or tpu.is_flex(key.offer, key.market, where)
    quotas.check(key, key.market == "spot" or is_flex)
    return ""


def resources(plan: Plan, account: Mapping[str, str]) -> Sequence[Resource]:
    """What to make for a plan whose offer `serves` accepts."""
    if compute.serves(plan.line.key):
        return compute.resources(plan, account)
    return tpu.resources(plan, account)


def account() -> dict[str, str]:
    """The project. Raises MissingCredentials."""
    from . import rest

    return rest.account()


def place_of(account: str) -> dict[str, str]:
    """A project by its id. Raises UsageError."""
    from . import least_rights

    return least_rights.place_of(account)


def timing() -> Timing:
    """How long things take at Google."""
    from . import rest

    return rest.timing()


def list_owned(run: str | None, places: Sequence[Mapping[str, str]] | None) -> Iterator[OwnedResource]:
    """Everything of ours, in both APIs. In a simulation: in those that it has a fake of."""
    from . import rest

    if rest.reachable(rest.COMPUTE):
        yield from compute.list_owned(run, places)
    if rest.reachable(rest.TPU):
        yield from tpu.list_owned(run, places)


def findings() -> Iterable[Finding]:
    """For doctor, of both APIs, of the quotas and of the account as which machines run."""
    from . import quotas, rest

    if rest.reachable(rest.COMPUTE):
        yield from compute.findings()
    if rest.reachable(rest.TPU):
        yield from tpu.findings()
    yield from quotas.findings()
    yield from service_account.findings()


def console_url(inputs: Mapping[str, Any], id: str) -> str:  # noqa: A002  # the seam's word
    """Where a person looks at it."""
    if inputs.get("kind") in compute.DRIVERS:
        return compute.console_url(inputs, id)
    return tpu.console_url(inputs, id)


def setup(asked: Setup) -> Mapping[str, str]:
    """For `doctor --setup`; see `least_rights.files`."""
    from . import least_rights

    return least_rights.files(asked)


provider = provisioned(
    "gcp",
    guards=guards,
    backends=frozenset({"torch-cpu", "tpu"}),
    billed=billing.BILLED,
    cloud=Cloud(
        account=account,
        resources=resources,
        drivers={**compute.DRIVERS, **tpu.DRIVERS},
        list_owned=list_owned,
        timing=timing,
        console_url=console_url,
        findings=findings,
        serves=serves,
        hosts=hosts,
        unavailable_reason=unavailable_reason,
        setup=setup,
        place_of=place_of,
        kept=("Cloud Tasks queue `cloudtrain` (free, shared by all runs)",),
    ),
)
