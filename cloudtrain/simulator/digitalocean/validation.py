"""What a fake DigitalOcean refuses: bodies and questions outside the published description, slugs it does not know."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

USER_DATA_BYTES = 65536
NAME = re.compile(r"[a-zA-Z0-9]?[a-zA-Z0-9.\-]*[a-zA-Z0-9]")
TAG = re.compile(r"[a-zA-Z0-9_\-:]{1,255}")
FIELDS: Mapping[str, type | tuple[type, ...]] = {
    "name": str,
    "region": str,
    "size": str,
    "image": (str, int),
    "ssh_keys": list,
    "backups": bool,
    "ipv6": bool,
    "monitoring": bool,
    "tags": list,
    "user_data": str,
    "vpc_uuid": str,
    "with_droplet_agent": bool,
    "volumes": list,
}
NEEDED = ("name", "region", "size", "image")
MESSAGES = {
    400: ("bad_request", "the request is not understood"),
    401: ("unauthorized", "Unable to authenticate you"),
    403: ("forbidden", "You are not authorized to perform this operation"),
    404: ("not_found", "The resource you were accessing could not be found."),
    422: ("unprocessable_entity", ""),
    429: ("too_many_requests", "API rate limit exceeded."),
    500: ("server_error", "Unexpected server-side error"),
    503: ("service_unavailable", "The service is not available."),
}


class Problem(Exception):
    """An error of the API: a status, and a message where the usual one says too little."""

    def __init__(self, status: int, message: str = "") -> None:
        super().__init__(message)
        self.status, self.message = status, message or MESSAGES[status][1]


@cache
def data() -> dict[str, Any]:
    """The fake's own tables: regions, images, sizes."""
    document: dict[str, Any] = json.loads(files("cloudtrain.simulator.digitalocean").joinpath("sizes.json").read_text())
    return document


def parse(body: bytes) -> dict[str, Any]:
    """The body of a create as a document of known fields. Raises Problem 400 and 422."""
    try:
        document = json.loads(body)
    except ValueError:
        raise Problem(400, "the body is not JSON") from None
    if not isinstance(document, dict):
        raise Problem(400, "the body is no object")
    if unknown := sorted(set(document) - set(FIELDS)):
        raise Problem(422, f"unknown field {unknown[0]}")
    if absent := [name for name in NEEDED if name not in document]:
        raise Problem(422, f"{absent[0]} is missing")
    for name, value in document.items():
        if not isinstance(value, FIELDS[name]) or (isinstance(value, bool) and FIELDS[name] is not bool):
            raise Problem(422, f"{name} is of another type")
    _check_words(document)
    return document


def _check_words(document: Mapping[str, Any]) -> None:
    if not NAME.fullmatch(document["name"]) or len(document["name"]) > 255:
        raise Problem(422, "Only valid hostname characters are allowed. (a-z, A-Z, 0-9, . and -)")
    for tag in document.get("tags", []):
        if not isinstance(tag, str) or not TAG.fullmatch(tag):
            raise Problem(422, "Tags may contain letters, numbers, colons, dashes, and underscores")
    if len(document.get("user_data", "").encode()) > USER_DATA_BYTES:
        raise Problem(422, "User data may not exceed 64 KiB")
    if document.get("ssh_keys"):
        raise Problem(422, f"{document['ssh_keys'][0]} are invalid key identifiers for Droplet creation.")


def check_slugs(document: Mapping[str, Any], sizes: Mapping[str, Mapping[str, Any]]) -> None:
    """Region, size and image exist and go together. Raises Problem 422, in the words that also mean "full"."""
    if document["region"] not in data()["regions"]:
        raise Problem(422, "You specified an invalid region for Droplet creation.")
    size = sizes.get(document["size"])
    if size is None:
        raise Problem(422, "You specified an invalid size for Droplet creation.")
    vendor = data()["images"].get(document["image"])
    if vendor is None:
        raise Problem(422, "You specified an invalid image for Droplet creation.")
    if vendor and not str(size.get("gpu_info", {}).get("model", "")).startswith(vendor):
        raise Problem(422, "The image is not for this size.")
    if not size["available"] or document["region"] not in size["regions"]:
        raise Problem(422, "Size is not available in this region.")


def only(query: Mapping[str, list[str]], *known: str) -> dict[str, str]:
    """The question as single words. Raises Problem 400 for a parameter that the description does not have."""
    if unknown := sorted(set(query) - set(known)):
        raise Problem(400, f"unknown parameter {unknown[0]}")
    return {name: values[-1] for name, values in query.items()}


def whole(asked: Mapping[str, str], name: str, usual: int, most: int) -> int:
    """A parameter that is a number from 1 on. Raises Problem 400."""
    text = asked.get(name, str(usual))
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= most:
        raise Problem(400, f"{name} is no number from 1 to {most}")
    return int(text)
