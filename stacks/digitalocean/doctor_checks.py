"""What `doctor` finds out about DigitalOcean without making anything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cloudtrain.errors import MissingCredentials, Permission, ProviderError
from cloudtrain.providers import Finding

from . import api, droplets


def findings(sizes: Mapping[str, str]) -> Iterator[Finding]:
    """The token, the account, its limit, that nothing ends a droplet by itself, and where our sizes can be had."""
    try:
        account = api.read("/v2/account")["account"]
    except ProviderError as error:
        refused = isinstance(error, MissingCredentials | Permission)
        yield Finding("DigitalOcean token", "problem", error.message, error.hint, barring=refused)
        return
    yield Finding("DigitalOcean token", "ok", f"{api.TOKEN} is accepted")
    yield _account(account)
    yield from _limit(account)
    yield Finding(
        "DigitalOcean guards",
        "unknown",
        "a droplet has no time limit, and powered off by its own timer it costs as before",
        "run `cloudtrain sweep` from CI: it deletes what is past its deadline",
    )
    yield from _stock(sizes)


def _account(account: Mapping[str, Any]) -> Finding:
    status = str(account.get("status", ""))
    if status == "active":
        return Finding("DigitalOcean account", "ok", "is active")
    return Finding("DigitalOcean account", "problem", f"is `{status}`", f"see {api.BILLING_PAGE}")


def _limit(account: Mapping[str, Any]) -> Iterator[Finding]:
    """The token's right to list droplets shows here too; whether a GPU is among what is allowed, nobody reports."""
    try:
        used = len(droplets.listed())
    except ProviderError as error:
        yield Finding("DigitalOcean droplets", "problem", error.message, error.hint)
        return
    limit = account.get("droplet_limit")
    if isinstance(limit, int) and used >= limit:
        message = f"{used} of {limit} droplets are in use"
        yield Finding("DigitalOcean limit", "problem", message, f"ask for more at {api.LIMIT_PAGE}")
        return
    message = f"{limit} droplets; how many of them may have a GPU, the API does not say"
    yield Finding("DigitalOcean limit", "unknown", message, f"a new team may have none: {api.LIMIT_PAGE}")


def _stock(sizes: Mapping[str, str]) -> Iterator[Finding]:
    try:
        rows = {str(row["slug"]): row for row in _sizes()}
    except (ProviderError, KeyError, TypeError) as error:
        yield Finding("DigitalOcean sizes", "unknown", str(error), "try again")
        return
    for slug, image in sizes.items():
        row = rows.get(slug, {})
        regions = ", ".join(map(str, row.get("regions") or []))
        if regions and row.get("available"):
            yield Finding(f"DigitalOcean {slug}", "ok", f"in {regions}, ${row.get('price_hourly')} an hour, {image}")
        else:
            hint = "try again later, or another provider"
            yield Finding(f"DigitalOcean {slug}", "problem", "is to be had in no region now", hint, barring=False)


def _sizes() -> list[dict[str, Any]]:
    """Sizes have no id; their slug is one."""
    return api.pages("/v2/sizes", "sizes", {}, key="slug")
