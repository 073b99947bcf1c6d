"""DigitalOcean: a droplet with one AMD GPU, on demand or on spot. No time limit; only its deletion ends its price."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from cloudtrain.providers import Cloud, Finding, Guard, Resource

from .._lifecycle import boot
from .._lifecycle.names import base_inputs
from .._pulumi.provisioned import provisioned
from . import api, droplets, owned

if TYPE_CHECKING:
    from cloudtrain.offer import OfferKey
    from cloudtrain.plan import Plan

IMAGE = "gpu-amd-base"
# A slug says nothing of what is in it: a public note of 2026-09 found Ubuntu 24.04 and ROCm 7.14.
INSIDE = f"{IMAGE} (rocm7.14)"


class Size(NamedTuple):
    """What a size has."""

    hardware: str
    market: str


SIZES: Mapping[str, Size] = {
    "gpu-mi325x1-256gb": Size("mi325x", "on_demand"),
    "gpu-mi350x1-288gb-spot": Size("mi350x", "spot"),
    "gpu-mi355x1-288gb-spot": Size("mi355x", "spot"),
}
GUARDS = (
    Guard("timer in the droplet (powers off, which costs on)", alone=False),
    Guard("sweep by tag from CI", alone=False),
    Guard("client teardown", alone=False),
)


def account() -> dict[str, str]:
    """The team, or the account where there is none. Raises MissingCredentials and other provider errors."""
    return {"account": api.account()}


def serves(key: OfferKey) -> bool:
    """One droplet of a size that is known, in its market and in a region by name."""
    size = SIZES.get(key.offer)
    asked = (key.provider, key.count, bool(key.region))
    return asked == ("digitalocean", 1, True) and size == Size(key.hardware, key.market)


def image(key: OfferKey) -> str:
    """The image of an offer's droplet, with what is in it; "" where there is none for it."""
    return INSIDE if serves(key) else ""


def resources(plan: Plan, account: Mapping[str, str]) -> Sequence[Resource]:
    """One droplet. Raises ValueError for an offer that `serves` refuses."""
    line = plan.line
    if not serves(line.key):
        raise ValueError(f"no droplet for {line.offer} in {line.region or 'no region'}")
    inputs = {
        **base_inputs(plan, "machine", {**account, "region": line.region}, account["account"]),
        "size": line.offer,
        "image": IMAGE,
        "disk_gb": line.disk_to_ask_gb,  # comes with the size: for the record
        **boot.inputs(plan),
    }
    summary = f"droplet {line.offer}, {line.market.replace('_', ' ')}, {line.region}; costs until it is deleted"
    return [Resource("machine", "droplet", inputs, summary=summary)]


def findings() -> Iterator[Finding]:
    """For `doctor`."""
    from . import doctor_checks

    yield from doctor_checks.findings({slug: INSIDE for slug in SIZES})


provider = provisioned(
    "digitalocean",
    guards=lambda offer, market: GUARDS,
    backends=frozenset({"rocm"}),
    cloud=Cloud(
        account=account,
        resources=resources,
        drivers={"droplet": droplets.DRIVER},
        list_owned=owned.list_owned,
        timing=api.pace,
        console_url=owned.console_url,
        findings=findings,
        serves=serves,
        image=image,
        kept=("tags of the team, which cost nothing",),
    ),
)
