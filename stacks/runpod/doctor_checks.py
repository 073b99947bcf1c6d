"""What `doctor` finds out about RunPod without making anything."""

from __future__ import annotations

from collections.abc import Iterator

from cloudtrain.errors import MissingCredentials, NotFound, Permission, ProviderError
from cloudtrain.providers import Finding

from . import api, pods

MI300X = "AMD Instinct MI300X OAM"


def findings() -> Iterator[Finding]:
    """The key, the credit, the right of a pod to end itself, stock and price of the MI300X."""
    try:
        api.read("/v2/account/ssh-keys")
    except ProviderError as error:
        refused = isinstance(error, MissingCredentials | Permission)
        yield Finding("RunPod key", "problem", error.message, error.hint, barring=refused)
        return
    yield Finding("RunPod key", "ok", "RUNPOD_API_KEY is accepted")
    yield Finding(
        "RunPod credit",
        "unknown",
        "the API does not report the balance, nor whether auto-pay is off",
        f"see {api.BILLING_PAGE}; with auto-pay off the credit is a hard cap",
    )
    yield Finding(
        "RunPod timer",
        "unknown",
        "nobody has proven yet that a pod's own key may delete its pod in API v2",
        "run `cloudtrain sweep` from CI, and check the console after the first run",
    )
    yield from _stock()


def _stock() -> Iterator[Finding]:
    query = {"include": "AVAILABILITY", "product": "POD", "count": "1", "cloud": "SECURE"}
    try:
        gpu = api.read(f"/v2/catalog/gpus/{pods.quoted(MI300X)}", query)
    except NotFound:
        hint = "look for another provider of it"
        yield Finding("RunPod MI300X", "problem", "is not in the catalogue", hint, barring=False)
        return
    except ProviderError as error:
        yield Finding("RunPod MI300X", "unknown", error.message, error.hint)
        return
    level, price = str(gpu.get("availability", "")), (gpu.get("price") or {}).get("secure")
    where = ", ".join(str(center.get("id")) for center in gpu.get("dataCenters") or [])
    if level in ("", "NONE"):
        hint = "try again later, or another provider"
        yield Finding("RunPod MI300X", "problem", "none is free now", hint, barring=False)
    else:
        yield Finding("RunPod MI300X", "ok", f"stock {level}{' in ' + where if where else ''}")
    if price:
        yield Finding("RunPod prices", "ok", f"the MI300X costs ${price} an hour for each GPU now")
    else:
        message = "the catalogue has no price for the MI300X"
        yield Finding("RunPod prices", "problem", message, "see the console", barring=False)
