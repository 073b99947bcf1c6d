"""One droplet: made with its tags and its timer, found by its name, looked at, deleted. Nothing else ends its price."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal
from urllib.parse import quote

from cloudtrain.errors import NotFound, Unavailable, Unknown
from cloudtrain.providers import Driver, ResourceState

from .._lifecycle import boot
from . import api, tags

State = Literal["building", "ready", "ended", "deleting"]
# Powered off, by whomever, it costs as before: `ended` is what is useless and still to be deleted.
STATES: Mapping[str, State] = {"new": "building", "active": "ready", "off": "ended", "archive": "ended"}
OVER = "poweroff"  # all that a machine without a token can do for itself


def user_data(deadline: float, job: str = "") -> str:
    """The script of the first boot: the timer, and the job if there is one. DigitalOcean takes 64 KiB of it."""
    from importlib.resources import files

    text = files(__package__).joinpath("user_data.sh").read_text()
    return text.replace("@DEADLINE@", str(int(deadline))) + job


def body(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The document of POST /v2/droplets: pure, and the same in a repeat."""
    return {
        "name": inputs["name"],
        "region": inputs["place"]["region"],
        "size": inputs["size"],
        "image": inputs["image"],
        "tags": tags.words(inputs["tags"]),
        "user_data": user_data(inputs["expires"], boot.shell(inputs, OVER)),
    }


def seen(droplet: Mapping[str, Any]) -> ResourceState:
    """A droplet as the seam knows it. A status that nobody knows counts as not there yet: patience ends it."""
    status = str(droplet.get("status", ""))
    outputs = {"name": str(droplet.get("name", "")), "region": str((droplet.get("region") or {}).get("slug", ""))}
    price = (droplet.get("size") or {}).get("price_hourly")
    if price is not None:
        outputs["usd_per_hour"] = str(price)
    message = status or "no status"
    return ResourceState(str(droplet["id"]), STATES.get(status, "building"), message, outputs, tags.said(droplet).key)


def create(inputs: Mapping[str, Any]) -> ResourceState:
    """One POST. Raises Unknown when a droplet may have been made without our knowing its id."""
    api.check_place(inputs["place"])
    made = api.create("/v2/droplets", body(inputs)).get("droplet")
    if not isinstance(made, dict) or not made.get("id"):
        raise Unknown("DigitalOcean made a droplet and did not say which")
    return seen(made)


def listed() -> list[dict[str, Any]]:
    """All droplets with our tag, and all with a GPU: the usual list leaves those out, and that by tag may."""
    try:
        found = api.pages("/v2/droplets", "droplets", {"type": "gpus"})
    except NotFound as error:
        raise Unavailable(error.message, "try again") from None
    with suppress(NotFound):  # nobody has said whether a tag that does not exist yet has an empty list or none
        found += api.pages("/v2/droplets", "droplets", {"tag_name": tags.ALL})
    return list({str(droplet["id"]): droplet for droplet in found}.values())


def find(inputs: Mapping[str, Any]) -> Sequence[ResourceState]:
    """Every droplet of that name, in any state: names are not unique, so there may be several."""
    api.check_place(inputs["place"])
    return [seen(droplet) for droplet in listed() if droplet.get("name") == inputs["name"]]


def status(inputs: Mapping[str, Any], id: str) -> ResourceState:  # noqa: A002  # the seam's word
    """GET. Raises NotFound when it is gone; with another account's token a 404 would be no proof."""
    api.check_place(inputs["place"])
    droplet = api.read(path(id)).get("droplet")
    if not isinstance(droplet, dict) or not droplet.get("id"):
        raise Unavailable("DigitalOcean's answer is no droplet", "try again")
    return seen(droplet)


def delete(inputs: Mapping[str, Any], id: str) -> None:  # noqa: A002
    """DELETE. Never a shutdown: a droplet that is off costs what it costs on."""
    api.check_place(inputs["place"])
    api.delete(path(id))


def path(id: str) -> str:  # noqa: A002
    """Of one droplet. An id is a number; anything else would be another address. Raises NotFound."""
    if not id.isdecimal():
        raise NotFound(f"DigitalOcean has no droplet `{id}`")
    return f"/v2/droplets/{quote(id, safe='')}"


DRIVER = Driver(create, find, status, delete, repeatable=False, ready_s=1800.0)
