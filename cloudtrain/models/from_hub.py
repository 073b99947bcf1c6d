"""The config.json of a repository that the registry does not list: kept from an earlier question, else the hub's."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

from cloudtrain.errors import CloudtrainError

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
NAME = "config.json"


def folder(hub_id: str) -> Path | None:
    """A folder that holds it; None where it is not kept and the hub is not reached, or shows nothing of that name.

    It is asked once: what a model is hardly changes, and the next quote works offline. The few kilobytes are public;
    for a gated repository the token of this machine's user is shown to the hub.
    """
    if not _HUB_ID.fullmatch(hub_id) or ".." in hub_id:
        return None
    found = kept(hub_id)
    if found is not None:
        return found
    from cloudtrain import hub
    from cloudtrain.models.config import MAX_CONFIG_BYTES

    token = hub.own_token()
    try:
        commit = hub.repository(hub_id, token).commit
        content = hub.file(hub_id, commit, NAME, token, MAX_CONFIG_BYTES)
        return _keep(hub_id, content)
    except (hub.Unasked, OSError, CloudtrainError):
        return None


def kept(hub_id: str) -> Path | None:
    """The folder of an earlier answer, if there is one."""
    try:
        place = _place(hub_id)
        return place if (place / NAME).is_file() else None
    except (OSError, CloudtrainError):
        return None


def _place(hub_id: str) -> Path:
    from cloudtrain.settings import cache_folder

    return cache_folder() / "configs" / hub_id.replace("/", "--")


def _keep(hub_id: str, content: bytes) -> Path:
    place = _place(hub_id)
    place.mkdir(parents=True, exist_ok=True)
    handle, written = tempfile.mkstemp(dir=place)
    with open(handle, "wb") as file:
        file.write(content)
    os.replace(written, place / NAME)
    return place
