"""`cloudtrain prices`: what a person and a program read of price lists, and how a refresh ends."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import jsonschema
import pytest

from cloudtrain.errors import MissingCredentials, Permission, Unavailable
from cloudtrain.listings import Unlisted
from cloudtrain.prices.gate import Fault
from cloudtrain.prices.records import Change, Held
from cloudtrain.prices.refresh import Outcome
from tests.conftest import Result

Command = Callable[..., Result]
MI300X = {"offer": "AMD Instinct MI300X OAM x1", "region": "EU-RO-1", "zones": "", "market": "on_demand"}
TRN1 = {"offer": "trn1.2xlarge", "region": "us-east-1", "zones": "use1-az5", "market": "spot"}
NO_KEY = MissingCredentials("RUNPOD_API_KEY is not set", "make a key and export it")
RENEWED = Outcome(
    "aws",
    "renewed",
    taken=316,
    kept=2,
    gone=1,
    held=(Held(**TRN1, old=Decimal("0.1551"), new=Decimal("0.62"), since=1795000000.0),),
    unlisted=tuple(Unlisted(f"trn9.{size}xlarge", "us-east-1") for size in (1, 2, 3, 4)),
    faults=(Fault("eu-west-1", "AuthFailure: its prices and their dates stay"),),
    changes=(Change(**MI300X, time=1795000000.0, old=Decimal("2.39"), new=Decimal("2.49"), source="graphql"),),
)
KEYLESS = Outcome("vultr", "unchanged")
WITHOUT = Outcome("runpod", "no_credentials", error=NO_KEY)
REFUSED = Outcome("gcp", "refused", taken=30, faults=(Fault("", "more than half of the prices moved alike by 300 %"),))
SILENT = Outcome("azure", "unanswered", error=Unavailable("Azure answers 503", "try again in a minute"))
BARRED = Outcome("aws", "unanswered", error=Permission("pricing:GetProducts is denied", "ask for it"))


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[dict[str, Any]]]:
    """Let a refresh come to these outcomes; the list then has what it was asked."""
    asked: list[dict[str, Any]] = []

    def choose(*outcomes: Outcome) -> list[dict[str, Any]]:
        def refresh(providers: Sequence[str] | None, **options: Any) -> list[Outcome]:
            asked.append({"providers": providers, **options})
            return list(outcomes)

        monkeypatch.setattr("cloudtrain.prices.refresh.refresh", refresh)
        return asked

    return choose


@pytest.mark.parametrize(
    ("outcomes", "named", "code"),
    [
        ([RENEWED, KEYLESS], [], 0),
        ([RENEWED, WITHOUT], [], 0),
        ([WITHOUT], [], 4),
        ([RENEWED, WITHOUT], ["aws", "runpod"], 4),
        ([RENEWED, REFUSED], [], 2),
        ([REFUSED, SILENT], [], 2),
        ([WITHOUT, REFUSED], ["runpod", "gcp"], 4),
        ([RENEWED, SILENT], [], 7),
        ([KEYLESS, BARRED], [], 0),
        ([BARRED], ["aws"], 4),
    ],
)
def test_a_refresh_ends_with_what_kept_it_from_its_end(
    answered: Callable[..., Any], cloudtrain: Command, outcomes: list[Outcome], named: list[str], code: int
) -> None:
    """Missing access counts for a named provider, or where it is all that there is."""
    answered(*outcomes)
    result = cloudtrain("prices", "refresh", *(word for name in named for word in ("--provider", name)))
    assert result.code == code
    assert ("error:" in result.err) == bool(code)


def test_options_reach_the_refresh(answered: Callable[..., Any], cloudtrain: Command) -> None:
    """None stands for all; a bare number is seconds."""
    asked = answered(KEYLESS)
    cloudtrain("prices", "refresh")
    cloudtrain("prices", "refresh", "--provider", "vultr", "--dry-run", "--accept-jumps", "--timeout", "90")
    cloudtrain("prices", "refresh", "--timeout", "2m")
    first, second, third = asked
    assert (first["providers"], first["dry_run"], first["accept_jumps"], first["timeout_s"]) == (None, False, False, 60)
    assert (second["providers"], second["dry_run"], second["accept_jumps"]) == (("vultr",), True, True)
    assert (second["timeout_s"], third["timeout_s"]) == (90, 120)


@pytest.mark.parametrize(
    ("name", "outcomes", "words"),
    [
        ("prices-refresh", [RENEWED, KEYLESS, WITHOUT], []),
        ("prices-refresh-dry-run", [RENEWED], ["--dry-run"]),
        ("prices-refresh-refused", [REFUSED, SILENT], []),
        ("prices-refresh-named", [WITHOUT], ["--provider", "runpod"]),
        ("prices-refresh-csv", [RENEWED, REFUSED], ["-o", "csv"]),
    ],
)
def test_whole_outputs(
    answered: Callable[..., Any], golden: Command, name: str, outcomes: list[Outcome], words: list[str]
) -> None:
    """What a person reads."""
    answered(*outcomes)
    golden(name, "prices", "refresh", *words)


def test_json_of_a_refresh_follows_its_schema(answered: Callable[..., Any], cloudtrain: Command) -> None:
    """Every outcome there is, with prices as text to the last digit."""
    answered(RENEWED, KEYLESS, WITHOUT, REFUSED, SILENT)
    found = json.loads(cloudtrain("prices", "refresh", "-o", "json").out)
    jsonschema.validate(found, json.loads(cloudtrain("schema", "prices-refresh").out))
    assert Decimal(found[0]["held"][0]["old_usd"]) == Decimal("0.1551")
    assert found[2]["error"] == {"message": "RUNPOD_API_KEY is not set", "hint": "make a key and export it"}


def test_help_of_each_subcommand_is_current(golden: Command) -> None:
    """The pages that were reviewed."""
    from click import Context

    from cloudtrain.cli.prices import command

    for name in command.list_commands(Context(command)):
        golden(f"help-prices-{name}", "prices", name, "--help")


def test_a_wrong_subcommand_gets_the_nearest(golden: Command) -> None:
    """As a wrong command does."""
    golden("prices-unknown", "prices", "refrsh")
