"""How a fake DigitalOcean answers each call once it has let it in."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from cloudtrain.simulator.digitalocean.account import DigitaloceanAccount
from cloudtrain.simulator.digitalocean.price_list import PAGE, list_sizes
from cloudtrain.simulator.digitalocean.validation import MESSAGES, Problem, check_slugs, only, parse, whole
from cloudtrain.simulator.http_server import Reply, Request

Answer = Callable[[DigitaloceanAccount, Request, int], Reply]


def problem(refused: Problem, headers: Mapping[str, str] | None = None) -> Reply:
    """An error as DigitalOcean words it."""
    document = {"id": MESSAGES[refused.status][0], "message": refused.message, "request_id": "simulated"}
    return reply(document, refused.status, headers)


def reply(document: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """An answer with a document."""
    return Reply(status, json.dumps(document).encode(), {"Content-Type": "application/json", **(headers or {})})


def page(cloud: DigitaloceanAccount, request: Request, name: str, rows: Sequence[Mapping[str, Any]]) -> Reply:
    """The rows of the page that is asked for, with the address of the next. Raises Problem 400."""
    asked = {key: values[-1] for key, values in request.query.items()}
    number, size = whole(asked, "page", 1, 10**6), min(PAGE, whole(asked, "per_page", 20, 200))
    links: dict[str, Any] = {}
    if number * size < len(rows):
        following = urlencode({**asked, "page": number + 1})
        links["pages"] = {"next": f"{cloud.url}{request.path}?{following}"}
    shown = rows[(number - 1) * size : number * size]
    return reply({name: shown, "links": links, "meta": {"total": len(rows)}})


def list_droplets(cloud: DigitaloceanAccount, request: Request, _: int) -> Reply:
    """By default those without a GPU; by tag those with one too, if `gpus_by_tag`: the description does not say."""
    asked, now = only(request.query, "page", "per_page", "tag_name", "name", "type"), cloud.clock.now()
    if len({"tag_name", "name", "type"} & set(asked)) > 1 and "tag_name" in asked:
        raise Problem(400, "tag_name cannot be combined with name or type")
    if asked.get("type", "droplets") not in ("droplets", "gpus"):
        raise Problem(400, "type is droplets or gpus")
    found = [droplet for droplet in cloud.droplets.all.values() if now >= droplet.listed_at]
    if "tag_name" in asked:
        found = [d for d in found if asked["tag_name"] in d.body.get("tags", [])]
        found = [d for d in found if cloud.gpus_by_tag or "gpu_info" not in d.size]
    else:
        found = [d for d in found if ("gpu_info" in d.size) == (asked.get("type") == "gpus")]
    if "name" in asked:
        found = [d for d in found if d.body["name"].lower() == asked["name"].lower()]
    return page(cloud, request, "droplets", [droplet.document(now) for droplet in found])


def create_droplet(cloud: DigitaloceanAccount, request: Request, _: int) -> Reply:
    """202 with a droplet that is still to come: not a word about whether it will."""
    body = parse(request.body)
    check_slugs(body, cloud.sizes)
    droplet = cloud.place(body)
    shown = {**droplet.document(cloud.clock.now()), "status": "new", "locked": True}
    action = {"id": droplet.id + 10**9, "rel": "create", "href": f"{cloud.url}/v2/actions/{droplet.id + 10**9}"}
    return reply({"droplet": shown, "links": {"actions": [action]}}, 202)


def get_droplet(cloud: DigitaloceanAccount, request: Request, id: int) -> Reply:  # noqa: A002
    """One droplet."""
    return reply({"droplet": cloud.droplets.get(id).document(cloud.clock.now())})


def delete_droplet(cloud: DigitaloceanAccount, request: Request, id: int) -> Reply:  # noqa: A002
    """Taken; it costs until it is gone."""
    cloud.droplets.delete(id)
    return Reply(204)


def act(cloud: DigitaloceanAccount, request: Request, id: int) -> Reply:  # noqa: A002
    """Switching it off, and nothing else: it stays, and costs on. Raises Problem 422."""
    droplet = cloud.droplets.get(id)
    try:
        kind = json.loads(request.body)["type"]
    except (ValueError, KeyError, TypeError):
        raise Problem(400) from None
    if kind not in ("power_off", "shutdown"):
        raise Problem(422, f"{kind} is no action that this fake knows")
    cloud.droplets.switch_off(droplet)
    return reply({"action": {"id": id + 2 * 10**9, "status": "completed", "type": kind, "resource_id": id}}, 201)


def get_account(cloud: DigitaloceanAccount, request: Request, _: int) -> Reply:
    """Whose token it is."""
    only(request.query)
    account = {
        "uuid": "f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
        "email": "somebody@example.com",
        "email_verified": True,
        "status": cloud.status,
        "status_message": "",
        "droplet_limit": cloud.droplet_limit,
        "team": {"uuid": cloud.team, "name": "a team"},
    }
    return reply({"account": account})


ANSWERS: Mapping[str, Answer] = {
    "listDroplets": list_droplets,
    "createDroplet": create_droplet,
    "getDroplet": get_droplet,
    "deleteDroplet": delete_droplet,
    "actOnDroplet": act,
    "listSizes": list_sizes,
    "getAccount": get_account,
}
