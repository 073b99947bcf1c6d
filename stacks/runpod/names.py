"""Names at RunPod, which has no tags: the run, the attempt and the expiry are in them, and a sweep reads them there."""

from __future__ import annotations

import re
from typing import NamedTuple

from .._lifecycle.names import A_KEY

_OURS = rf"ct-({A_KEY})-(\d{{1,9}})-(.+)"
_EXPIRY = r"x([0-9a-z]{6,7})"
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_PLAUSIBLE = (1.6e9, 1e10)  # 2020 to 2286, in seconds since 1970


class Name(NamedTuple):
    """What a name of ours says. `expires` is None when it has no expiry."""

    key: str
    attempt: int
    expires: float | None


def name(key: str, attempt: int, expires: float) -> str:
    """`ct-5d0c77a13f9a2c01-1-xtlq0zk`: at most 60 characters, as the console shows them. `key` is the run's."""
    return f"ct-{key}-{attempt}-x{base36(int(expires))}"


def attempt_of(text: object) -> tuple[str, int] | None:
    """The run's key and the attempt in a name; None when it is not ours."""
    found = parse(text)
    return None if found is None else (found.key, found.attempt)


def base36(number: int) -> str:
    """A whole number from 0 on with the digits 0 to z."""
    text = ""
    while number or not text:
        number, digit = divmod(number, 36)
        text = _DIGITS[digit] + text
    return text


def parse(text: object) -> Name | None:
    """What a name says, or None when it is not ours. A suffix appended to it is ignored."""
    found = re.fullmatch(_OURS, text) if isinstance(text, str) else None
    if found is None:
        return None
    expires = None
    for part in found[3].split("-"):
        digits = re.fullmatch(_EXPIRY, part)
        if digits and _PLAUSIBLE[0] <= int(digits[1], 36) <= _PLAUSIBLE[1]:
            expires = float(int(digits[1], 36))
    return Name(found[1], int(found[2]), expires)
