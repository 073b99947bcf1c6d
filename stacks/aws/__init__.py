"""Amazon EC2: Trainium and processor machines that end themselves, that AWS ends, and that we find and end.

Two guards work without this client: the machine's own shutdown timer (its shutdown behaviour is `terminate`), and a
one-time schedule of EventBridge. Everything is tagged in the call that makes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cloudtrain.providers import Cloud, Finding, Guard, OwnedResource, Resource, Setup

from .._lifecycle import boot
from .._lifecycle.names import base_inputs
from .._pulumi.provisioned import provisioned
from . import billing, client, guard, network
from . import machine as aws_machine
from .links import console_url
from .shapes import image, serves

if TYPE_CHECKING:
    from cloudtrain.offer import OfferKey
    from cloudtrain.plan import Plan

GUARDS = (
    Guard("shutdown timer in the machine", alone=True),
    Guard("EventBridge time limit", alone=True),
    Guard("client teardown", alone=False),
    Guard("sweep by tag", alone=False),
)


def guards(offer: str, market: str) -> tuple[Guard, ...]:
    """The same for every machine."""
    return GUARDS


def resources(plan: Plan, account: Mapping[str, str]) -> Sequence[Resource]:
    """Security group, scheduler role and its policy, machine, time limit."""
    line = plan.line
    place = {**account, "region": line.region, "zone": line.zone.split(" ")[0]}
    machine = {"type": line.offer, "market": line.market, "image": image(line.hardware)}
    where = place["zone"] or place["region"]
    faster = {} if line.disk_mb_per_s is None else {"disk_mb_per_s": line.disk_mb_per_s}
    speed = f" of {line.disk_mb_per_s:,} MB/s" if line.disk_mb_per_s else ""

    def made(role: str, kind: str, after: tuple[str, ...], summary: str, **more: Any) -> Resource:
        inputs = {**base_inputs(plan, role, place, account.get("user", "")), **more}
        return Resource(role, kind, inputs, after, summary)

    return (
        made("firewall", "security_group", (), f"security group without a way in, {place['region']}"),
        made("time-limit-role", "time_limit_role", (), f"IAM role {guard.ROLE}, shared by all runs"),
        made("time-limit-policy", "time_limit_policy", ("time-limit-role",), "its permission to end our machines"),
        made(
            "machine",
            "instance",
            ("firewall",),
            f"machine {line.offer}, {line.disk_to_ask_gb:,} GB disk{speed}, {line.market}, {where}",
            **machine,
            disk_gb=line.disk_to_ask_gb,
            **faster,
            **boot.inputs(plan),
        ),
        made(
            "time-limit",
            "time_limit",
            ("machine", "time-limit-role", "time-limit-policy"),
            "schedule that ends the machine at the deadline",
        ),
    )


def account() -> dict[str, str]:
    """Who we are there. Raises MissingCredentials."""
    from . import owned

    return owned.account()


def place_of(account: str) -> dict[str, str]:
    """An account by its number. Raises UsageError."""
    from . import least_rights

    return least_rights.place_of(account)


def list_owned(run: str | None, places: Sequence[Mapping[str, str]] | None) -> Iterable[OwnedResource]:
    """Everything of ours; see `owned.list_owned`."""
    from . import owned

    return owned.list_owned(run, places)


def unavailable_reason(key: OfferKey) -> str:
    """Its region is not switched on in this account; see `owned.switched_off`."""
    from . import owned

    return owned.switched_off(key.region)


def findings() -> Iterable[Finding]:
    """For doctor; see `doctor_checks.findings`."""
    from . import doctor_checks

    return doctor_checks.findings()


def setup(asked: Setup) -> Mapping[str, str]:
    """For `doctor --setup`; see `least_rights.files`."""
    from . import least_rights

    return least_rights.files(asked)


provider = provisioned(
    "aws",
    guards=guards,
    backends=frozenset({"torch-cpu"}),
    billed=billing.BILLED,
    cloud=Cloud(
        account=account,
        resources=resources,
        drivers={
            "security_group": network.DRIVER,
            "time_limit_role": guard.TIME_LIMIT_ROLE,
            "time_limit_policy": guard.TIME_LIMIT_POLICY,
            "volume": aws_machine.VOLUME,
            "instance": aws_machine.INSTANCE,
            "spot_request": aws_machine.SPOT_REQUEST,
            "time_limit": guard.TIME_LIMIT,
        },
        list_owned=list_owned,
        timing=client.times,
        console_url=console_url,
        findings=findings,
        serves=serves,
        unavailable_reason=unavailable_reason,
        setup=setup,
        place_of=place_of,
        kept=(f"IAM role {guard.ROLE} (free, shared by all runs)",),
    ),
)
