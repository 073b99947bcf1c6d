"""Random schedules, the same for a seed: every option with and without, in every form."""

from __future__ import annotations

from random import Random
from typing import Any

from cloudtrain.nights.schedule import options
from cloudtrain.nights.schedule.options import Schedule
from cloudtrain.units import parse_duration_s

# The least that a schedule needs, as texts.
SET: dict[str, Any] = {"spec": "cloudtrain.yaml", "ci": "github", "at": "01:17", "timezone": "Europe/Berlin"}
SPECS = (
    "cloudtrain.yaml",
    "runs/nightly.yaml",
    "a folder/with spaces.yaml",
    "größe/x=1,y@2+3.yaml",
    "deep/er/cloudtrain.yaml",
)
ZONES = ("Europe/Berlin", "Australia/Lord_Howe", "UTC", "Etc/GMT+5", "America/Argentina/Buenos_Aires", "Asia/Kolkata")
COMMIT = "0123456789abcdef" * 2 + "01234567"
INSTALLS = (
    "",
    f"cloudtrain @ git+ssh://git@example.org/acme/cloudtrain@{COMMIT}",
    f"git+https://example.org/acme/cloudtrain@{COMMIT}",
    "vendor/cloudtrain-1.2-py3-none-any.whl",
)


def words(number: int, form: str | None = None) -> dict[str, Any]:
    """The texts of one set of options."""
    chance = Random(number)
    pick = chance.choice
    return {
        "spec": pick(SPECS),
        "ci": form or pick(options.FORMS),
        "at": f"{chance.randrange(24):02d}:{chance.randrange(60):02d}",
        "timezone": pick(ZONES),
        "latest": pick((None, "30m", "90m", "6h", "24h")),
        "max_cost": pick((None, "12", "0.50", "1000")),
        "budget_month": pick((None, "150", "99.99")),
        "comment": pick((None, "issue", "pr")),
        "notify_from": pick((None, "TEAM_HOOK")),
        "name": pick((None, "nightly", "a", "x-1")),
        "branch": pick((None, "release/1.x")),
        "repository": pick((None, "acme/tunes", "acme.io/_x")),
        "secrets": pick(((), ("RUNPOD_API_KEY",), ("RUNPOD_API_KEY", "HF_TOKEN", "TEAM_HOOK"))),
        "install": pick(INSTALLS),
        "infra": pick(((), ("aws",), ("aws/us-east-1", "runpod"))),
        "hardware": pick(((), ("mi300x",), ("cpu-amx:96",))),
        "spot": pick((None, True, False)),
        "max_hours": pick((None, "90m", "12h")),
        "accept_risk": pick((None, True)),
        "accept_stale": pick((None, True)),
        "experimental": pick((None, True)),
        "stop_above_cap": pick((None, True)),
        "hub_token_from": pick((None, "HF_TOKEN")),
    }


def argv(number: int, form: str | None = None) -> list[str]:
    """The same as a command line, without its verb."""
    given = words(number, form)
    line = [given.pop("spec")]
    for key, option in (("secrets", "--secret"), ("infra", "--infra"), ("hardware", "--hardware")):
        line += [word for text in given.pop(key) for word in (option, text)]
    if (spot := given.pop("spot")) is not None:
        line.append("--spot" if spot else "--on-demand")
    for key, value in given.items():
        line += [f"--{key.replace('_', '-')}"] * bool(value) + ([value] if value and value is not True else [])
    return line


def schedule(number: int, form: str | None = None) -> Schedule:
    """The same as a record."""
    from decimal import Decimal

    given = words(number, form)
    given |= {key: Decimal(given[key]) for key in ("max_cost", "budget_month") if given[key] is not None}
    given["max_hours"] = None if given["max_hours"] is None else parse_duration_s(given["max_hours"])
    return options.checked(**given)
