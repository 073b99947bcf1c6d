"""Tags at DigitalOcean, which are words without a value: `cloudtrain-key:5d0c77a13f9a2c01`; and the key in a name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from .._lifecycle.names import A_KEY, EXPIRES, KEY

ALL = "cloudtrain"  # what everything of ours carries: by it a list is asked for
_NAME = re.compile(rf"ct-({A_KEY})-\d{{1,9}}-.+")
_A_KEY = re.compile(A_KEY)


class Said(NamedTuple):
    """What tags and name say of a droplet: the run's key, "" for none of ours; when it is over, if they say that."""

    key: str
    expires: float | None


def words(tags: Mapping[str, str]) -> list[str]:
    """Our tags as DigitalOcean takes them: letters, digits, colon, dash, underscore, at most 255."""
    return [ALL, *(f"{name}:{value}" for name, value in tags.items())]


def said(droplet: Mapping[str, Any]) -> Said:
    """A person may have changed the tags or the name: either is enough to know it by."""
    tags = [str(each) for each in droplet.get("tags") or []]
    values = dict(each.split(":", 1) for each in tags if each.startswith(f"{ALL}-") and ":" in each)
    named = _NAME.fullmatch(str(droplet.get("name", "")))
    tagged = _A_KEY.fullmatch(values.get(KEY, ""))
    until = values.get(EXPIRES, "")
    expires = float(until) if until.isdecimal() and len(until) < 12 else None
    return Said(tagged[0] if tagged else named[1] if named else "", expires)
