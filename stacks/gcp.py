"""Google Cloud: v6e, v5p and processor machines on Compute Engine, v5e and older slices through the Cloud TPU API."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cloudtrain.seams import Cloud, Finding, Guard, Owned, Resource, Timing

from . import _gcp_compute, _gcp_tpu
from ._provisioned import provisioned

if TYPE_CHECKING:
    from cloudtrain.runs.plan import Plan

OF_THE_TPU_API = ("v5litepod-", "v4-", "v3-", "v2-")


def guards(offer: str, market: str) -> tuple[Guard, ...]:
    """What ends a run's cost, by the API that rents the offer."""
    if offer.startswith(OF_THE_TPU_API):
        return _gcp_tpu.guards(offer, market)
    return _gcp_compute.guards(offer, market)


def serves(line: Mapping[str, Any]) -> bool:
    """Whether one of both APIs can make this quote line."""
    return _gcp_compute.serves(line) or _gcp_tpu.serves(line)


def resources(plan: Plan, account: Mapping[str, str]) -> Sequence[Resource]:
    """What to make for a plan whose line `serves` accepts."""
    if _gcp_compute.serves(plan.line):
        return _gcp_compute.resources(plan, account)
    return _gcp_tpu.resources(plan, account)


def account() -> dict[str, str]:
    """The project. Raises MissingCredentials."""
    from . import _gcp_rest

    return _gcp_rest.account()


def timing() -> Timing:
    """How long things take at Google."""
    from . import _gcp_rest

    return _gcp_rest.timing()


def list_owned(run: str | None, places: Sequence[Mapping[str, str]] | None) -> Iterator[Owned]:
    """Everything of ours, in both APIs. In a rehearsal: in those that it has a fake of."""
    from . import _gcp_rest

    if _gcp_rest.reachable(_gcp_rest.COMPUTE):
        yield from _gcp_compute.list_owned(run, places)
    if _gcp_rest.reachable(_gcp_rest.TPU):
        yield from _gcp_tpu.list_owned(run, places)


def findings() -> Iterable[Finding]:
    """For doctor, of both APIs."""
    from . import _gcp_rest

    if _gcp_rest.reachable(_gcp_rest.COMPUTE):
        yield from _gcp_compute.findings()
    if _gcp_rest.reachable(_gcp_rest.TPU):
        yield from _gcp_tpu.findings()


def console_url(inputs: Mapping[str, Any], id: str) -> str:  # noqa: A002  # the seam's word
    """Where a person looks at it."""
    if inputs.get("kind") in _gcp_compute.DRIVERS:
        return _gcp_compute.console_url(inputs, id)
    return _gcp_tpu.console_url(inputs, id)


provider = provisioned(
    "gcp",
    guards=guards,
    backends=frozenset({"torch-cpu"}),
    cloud=Cloud(
        account=account,
        resources=resources,
        drivers={**_gcp_compute.DRIVERS, **_gcp_tpu.DRIVERS},
        list_owned=list_owned,
        timing=timing,
        console_url=console_url,
        findings=findings,
        serves=serves,
        kept=("Cloud Tasks queue `cloudtrain` (free, shared by all runs)",),
    ),
)
