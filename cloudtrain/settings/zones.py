"""Time zones by their names."""

from __future__ import annotations

from typing import Final
from zoneinfo import ZoneInfo, available_timezones

from cloudtrain.errors import UsageError, nearest, visible

# In the folder of time zones, and yet none: what this machine is set to, and the same zones in other forms.
NOT_PLACES: Final = frozenset({"", "localtime", "posixrules", "posix", "right", "Factory"})


def zone(name: str) -> ZoneInfo:
    """The time zone of that IANA name, in its own spelling. Raises UsageError with the nearest one."""
    try:
        if name.partition("/")[0] not in NOT_PLACES:
            return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # not there; not a name; a folder
        pass
    known = available_timezones()  # reads every file there is: only for a name that is wrong
    if not known:
        raise UsageError("this machine has no time zone data", "install the system's or Python's package `tzdata`")
    spelled = {word.lower(): word for word in sorted(known - NOT_PLACES)}
    cities = {word.rpartition("/")[2]: word for word in spelled}
    word = name.strip().lower().replace(" ", "_")
    near = word if word in spelled else cities.get(word) or nearest(word, list(spelled))
    hint = f"the nearest is {spelled[near]}" if near else "IANA names are meant, such as Europe/Berlin or UTC"
    raise UsageError(f"`{visible(name)}` is no time zone", hint)
