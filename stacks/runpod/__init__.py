"""RunPod: one pod with a timer in it. RunPod has no time limit, no tags and no spot market of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cloudtrain.providers import Cloud, Finding, Guard, Resource

from .._lifecycle import boot
from .._lifecycle import names as lifecycle_names
from .._pulumi.provisioned import provisioned
from . import api, billing, names, owned

if TYPE_CHECKING:
    from cloudtrain.offer import OfferKey
    from cloudtrain.plan import Plan

# Images without an entry point of their own and with `python3`, so that the pod's arguments are what runs. Its ROCm is
# the one that our lock files' PyTorch and bitsandbytes are built for; its own PyTorch is not used.
ROCM_IMAGE = "rocm/pytorch:rocm7.2.4_ubuntu24.04_py3.12_pytorch_release_2.10.0"
CPU_IMAGE = "python:3.12-slim"
GPUS: Mapping[str, str] = {"mi300x": "AMD Instinct MI300X OAM"}
_CPU_OFFER = re.compile(r"(cpu[0-9a-z-]*) x\d+")  # `cpu5c x4`: the flavour in RunPod's catalogue, and vCPUs
GUARDS = (
    Guard("timer in the pod (self-delete not proven yet)", alone=True),
    Guard("prepaid credit while auto-pay is off", alone=False),
    Guard("sweep by name from CI", alone=False),
    Guard("client teardown", alone=False),
)


def account() -> dict[str, str]:
    """Which key this is, by the beginning of its hash: RunPod reports no account name. Raises MissingCredentials."""
    return {"key": api.key_mark()}


def hardware(key: OfferKey) -> dict[str, Any] | None:
    """What of a pod's inputs an offer decides, or None when no pod can be made for it."""
    count = key.count
    if key.provider != "runpod" or key.market != "on_demand" or count < 1:
        return None
    if key.hardware in GPUS:
        gpu = {"id": GPUS[key.hardware], "count": count}
        return {"gpu": gpu, "image": ROCM_IMAGE} if count <= 8 else None
    offer = _CPU_OFFER.fullmatch(key.offer)
    if key.hardware.startswith("cpu") and offer and count >= 2 and not count & (count - 1):
        return {"cpu": {"id": offer[1], "count": count}, "image": CPU_IMAGE}
    return None


def image(key: OfferKey) -> str:
    """The container image of an offer's pod; "" when there is none for it."""
    return str((hardware(key) or {}).get("image", ""))


def serves(key: OfferKey) -> bool:
    """MI300X pods, and CPU pods of a power of two vCPUs."""
    return hardware(key) is not None


def resources(plan: Plan, account: Mapping[str, str]) -> Sequence[Resource]:
    """One pod. Raises ValueError for an offer that `serves` refuses."""
    decided = hardware(plan.line.key)
    if decided is None:
        raise ValueError(f"no pod for {plan.line.offer}")
    region = plan.line.region or "any"
    inputs = {
        "run": plan.run,
        "attempt": plan.attempt,
        "role": "machine",
        "name": names.name(lifecycle_names.key(plan), plan.attempt, plan.deadline),
        "token": lifecycle_names.token(plan, "machine"),
        "place": {**account, "region": region},
        "expires": plan.deadline,
        "data_centers": [] if region == "any" else [region],
        **decided,
        "disk_gb": plan.line.disk_to_ask_gb,
        **boot.inputs(plan),
    }
    rented = decided.get("gpu") or decided["cpu"]
    where = "any data centre" if region == "any" else region
    summary = f"pod {rented['id']} x{rented['count']}, {inputs['disk_gb']:,} GB disk, on demand, {where}"
    return [Resource("machine", "pod", inputs, summary=summary)]


def findings() -> Iterator[Finding]:
    """For `doctor`."""
    from . import doctor_checks

    yield from doctor_checks.findings()


def console_url(inputs: Mapping[str, Any], id: str) -> str:  # noqa: A002  # the seam's word
    """The console's page with all pods."""
    return owned.console_url("pod")


provider = provisioned(
    "runpod",
    guards=lambda offer, market: GUARDS,
    backends=frozenset({"torch-cpu", "rocm"}),
    billed=billing.BILLED,
    cloud=Cloud(
        account=account,
        resources=resources,
        drivers=owned.drivers(),
        list_owned=owned.list_owned,
        timing=api.pace,
        console_url=console_url,
        findings=findings,
        serves=serves,
        image=image,
    ),
)
