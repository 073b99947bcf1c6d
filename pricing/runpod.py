"""RunPod pods: one to eight MI300X, and NVIDIA pods for comparison. There is no spot market in its current API."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from cloudtrain.offer import Offer, OfferKey, Range, Terms
from cloudtrain.providers import Context, PriceSource

from ._snapshot import Reading, read_offers


def offers(context: Context) -> Iterable[Offer]:
    """The dated rows of the catalogue."""
    return read_offers(context.price_list("runpod"), "runpod", Reading())


GPUS = {"mi300x": "AMD Instinct MI300X OAM"}  # accelerator table -> RunPod's catalogue


def live(key: OfferKey) -> Decimal | None:
    """US dollars an hour that RunPod's catalogue asks now for a pod in its secure cloud; None: it does not offer that.

    Source: GET /v2/catalog/gpus/{id} (price of one GPU, times the count) and /v2/catalog/cpus/{id} (price of one vCPU).
    Raises MissingCredentials, Permission, Unavailable.
    """
    from urllib.parse import quote

    hardware, count = key.hardware, key.count
    flavour, _, number = key.offer.rpartition(" x")
    if key.market != "on_demand" or count < 1:
        return None
    if hardware in GPUS:
        gpu = _catalogue(f"gpus/{quote(GPUS[hardware])}")
        if gpu is None or not gpu.get("secure") or count > int((gpu.get("maxCount") or {}).get("secure", count)):
            return None
        return _times(gpu, "secure", count)
    if hardware.startswith("cpu") and number.isdecimal():
        cpu = _catalogue(f"cpus/{quote(flavour, safe='')}")
        return None if cpu is None else _times(cpu, "securePerVcpu", count)
    return None


def _times(row: Mapping[str, Any], which: str, count: int) -> Decimal | None:
    """The row's price times `count`; None for no price, which RunPod also writes as 0."""
    price = (row.get("price") or {}).get(which)
    return Decimal(price) * count if isinstance(price, Decimal | int) and price > 0 else None


def _catalogue(path: str) -> dict[str, Any] | None:
    """A row of the catalogue, numbers as decimals; None when there is no such row."""
    import json
    import os

    import requests

    from cloudtrain.endpoints import override
    from cloudtrain.errors import MissingCredentials, Permission, Unavailable

    url, key = override("CLOUDTRAIN_RUNPOD_URL"), os.environ.get("RUNPOD_API_KEY", "").strip()
    if not key or not key.isascii() or not key.isprintable():
        raise MissingCredentials("RUNPOD_API_KEY is not set", "RunPod's price list needs a key: export RUNPOD_API_KEY")

    def authorize(request: Any) -> Any:
        request.headers["Authorization"] = f"Bearer {key}"
        return request

    try:
        with requests.Session() as session:
            session.trust_env = url is None
            address = f"{url or 'https://api.runpod.io'}/v2/catalog/{path}"
            reply = session.get(address, auth=authorize, timeout=20, allow_redirects=False)
        if reply.status_code == 404:
            return None
        if reply.status_code == 401:
            raise MissingCredentials("RunPod does not accept RUNPOD_API_KEY", "make a new key in RunPod's console")
        if reply.status_code == 403:
            raise Permission("the key may not read RunPod's catalogue", "give it the right to, in RunPod's console")
        row = json.loads(reply.text, parse_float=Decimal) if reply.status_code == 200 else None
    except (requests.exceptions.RequestException, ValueError) as error:
        raise Unavailable(f"RunPod's catalogue cannot be read ({type(error).__name__})", "try again") from None
    if not isinstance(row, dict):
        raise Unavailable(f"RunPod's catalogue answers {reply.status_code}", "try again")
    return row


provider = PriceSource(
    "runpod",
    offers,
    terms=Terms(
        boot_s=Range(15, 60, 600),
        image_bytes_per_s=Range(25e6, 50e6, 100e6),
        download_bytes_per_s=Range(100e6, 400e6, 1e9),
        disk_usd_per_gb_month=Decimal("0.10"),
        address_usd_per_hour=Decimal(0),
        egress_usd_per_gb=Decimal(0),
        minimum_billed_s=1,
        source=(
            "container disk, traffic and billing per second: snapshots/extra_costs.csv (2026-08-20); no price for an "
            "address is listed and ports are part of a pod; an hour of credit must be there at the start; image: a 12 "
            "GB image pulls cold in 2 to 8 minutes (blog.zmalik.dev, February 2026); download and boot are assumptions"
        ),
    ),
    credentials=("RUNPOD_API_KEY",),
    live=live,
)
