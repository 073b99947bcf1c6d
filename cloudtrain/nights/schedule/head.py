"""The schedule that the head of a file asks for: its command, read back."""

from __future__ import annotations

import shlex
from decimal import Decimal
from typing import Any, Final

from cloudtrain.errors import UsageError
from cloudtrain.nights.schedule.options import FLAGS, Schedule, checked, form
from cloudtrain.units import parse_duration_s

# An option -> what `checked` calls it. What takes several values has a list of them; the rest have one or none.
ONE: Final = {
    f"--{key.replace('_', '-')}": key
    for key in (
        *("ci", "name", "at", "timezone", "latest", "max_cost", "budget_month", "comment", "notify_from", "branch"),
        *("repository", "install", "hub_token_from", "max_hours"),
    )
}
SEVERAL: Final = {"--secret": "secrets", "--infra": "infra", "--hardware": "hardware"}
NONE: Final = {
    "--spot": ("spot", True),
    "--on-demand": ("spot", False),
    **{f"--{flag.replace('_', '-')}": (flag, True) for flag in FLAGS},
}


def schedule_of(line: str) -> Schedule:
    """The schedule whose `again` the line is. Raises UsageError for anything else."""
    try:
        words = shlex.split(line)
        if words[:2] != ["cloudtrain", "schedule"]:
            raise ValueError
        given: dict[str, Any] = {"spec": words[2]}
        rest = iter(words[3:])
        for word in rest:
            if word in NONE:
                key, value = NONE[word]
                given[key] = value
            elif word in SEVERAL:
                given.setdefault(SEVERAL[word], []).append(next(rest))
            else:
                given[ONE[word]] = next(rest)
        given |= {key: Decimal(given[key]) for key in ("max_cost", "budget_month") if key in given}
        given |= {key: parse_duration_s(given[key]) for key in ("max_hours",) if key in given}
        return checked(**{**given, "ci": form(given["ci"])})
    except (ValueError, IndexError, KeyError, ArithmeticError, StopIteration):
        raise UsageError("the head of the file is not one that `cloudtrain schedule` wrote") from None
