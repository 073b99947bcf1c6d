"""`cloudtrain prices`: what a person and a program read of price lists, and how a refresh ends."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from cloudtrain import settings
from cloudtrain.cli.tables import uncoloured
from cloudtrain.errors import MissingCredentials, Permission, Unavailable
from cloudtrain.listings import Shape, Unlisted
from cloudtrain.prices import folder
from cloudtrain.prices.gate import Fault
from cloudtrain.prices.records import Change, Held
from cloudtrain.prices.refresh import Outcome
from tests.cli.clouds_here import masked, same_as_golden, without_credentials
from tests.cli.conftest import GOLDEN
from tests.conftest import NOW, Result
from tests.price_answers import answering, nobody_answers, own_lists, selling
from tests.terminal import columns

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


@pytest.fixture
def seller(monkeypatch: pytest.MonkeyPatch, own_world: Path, this_machine: object) -> Callable[..., None]:
    """Price lists of the tests' own; only RunPod answers, without a key. Choose what it asks for a chip, and when."""
    monkeypatch.setenv("CLOUDTRAIN_NOW", NOW)
    without_credentials(monkeypatch, own_world)
    monkeypatch.setenv("HOME", str(own_world))
    own_lists(monkeypatch, own_world / "shipped")
    nobody_answers(monkeypatch)

    def choose(usd: str, now: str = NOW) -> None:
        def price(row: Shape) -> str | None:
            return str(Decimal(usd) * row.count) if row.region == "EU-RO-1" else None

        monkeypatch.setenv("CLOUDTRAIN_NOW", now)
        answering(monkeypatch, "runpod", selling(price), keyless=True)

    return choose


MASKS = (
    (r"likely \$\d+\.\d\d(; was \$\d+\.\d\d)?", r"likely $USD\1"),
    (r"; was \$\d+\.\d\d", "; was $USD"),
)  # of a quote
LATER, LATEST = "2026-11-26T12:00:00Z", "2026-12-20T12:00:00Z"


def life(seller: Callable[..., None], cloudtrain: Command) -> None:
    """Three refreshes, each at a higher price."""
    for usd, now in (("2.45", NOW), ("2.60", LATER), ("2.75", LATEST)):
        seller(usd, now)
        assert cloudtrain("prices", "refresh").code == 0


def shown(cloudtrain: Command, name: str, *argv: str) -> None:
    """Compare the whole output with a golden file, at the instant that is set."""
    same_as_golden(name, list(argv), cloudtrain(*argv), *MASKS)


def test_from_a_stale_list_to_a_course(cloudtrain: Command, seller: Callable[..., None]) -> None:
    """Status, refresh, what differs, what one price was."""
    shown(cloudtrain, "prices-life-shipped", "prices")
    seller("2.45")
    shown(cloudtrain, "prices-life-refresh", "prices", "refresh")
    shown(cloudtrain, "prices-life-again", "prices", "refresh")
    shown(cloudtrain, "prices-life-status", "prices", "status")
    shown(cloudtrain, "prices-life-diff", "prices", "diff")
    shown(cloudtrain, "prices-life-nothing-written", "prices", "history", "aws/trn1.2xlarge/use1-az5/spot")


def test_history_draws_each_step(cloudtrain: Command, seller: Callable[..., None]) -> None:
    """Of one offer with its steps, of a machine all places, of a region that it is not in a sentence."""
    life(seller, cloudtrain)
    shown(cloudtrain, "prices-history", "prices", "history", "runpod/mi300x/eu-ro-1")
    shown(cloudtrain, "prices-history-two", "prices", "history", "AMD Instinct MI300X OAM x2", "--days", "30")
    shown(cloudtrain, "prices-history-region", "prices", "history", "trn1.2xlarge", "--region", "moon")
    shown(cloudtrain, "prices-history-unknown", "prices", "history", "runpod/mi300y/eu-ro-1")


def test_the_provider_tells_a_spot_price_when_asked(
    cloudtrain: Command, seller: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest before the time counts at its beginning; who tells nothing is a sentence."""
    day = 86400.0
    now = settings.now()

    def past(row: Shape, days: int) -> Iterable[tuple[float, str, Decimal]]:
        assert (row.offer, row.zones, days) == ("trn1.2xlarge", "use1-az5", 30)
        for ago, usd in ((31, "0.10"), (20, "0.20"), (10, "0.15"), (5, "0.15")):
            yield now - ago * day, "use1-az5", Decimal(usd)

    answering(monkeypatch, "aws", None, past=past)
    words = ("--days", "30", "--ask")
    shown(cloudtrain, "prices-history-asked", "prices", "history", "aws/trn1.2xlarge/use1-az5/spot", *words)
    shown(cloudtrain, "prices-history-untold", "prices", "history", "runpod/mi300x/eu-ro-1", *words)


@pytest.mark.parametrize(
    ("schema", "argv"),
    [
        ("prices-status", ["status"]),
        ("prices-diff", ["diff"]),
        ("prices-history", ["history", "runpod/2xmi300x/eu-ro-1"]),
        ("prices-history", ["history", "trn1.2xlarge"]),
    ],
)
def test_json_follows_its_schema(
    cloudtrain: Command, seller: Callable[..., None], schema: str, argv: list[str]
) -> None:
    """`-o json` validates against `cloudtrain schema`, and is not empty."""
    life(seller, cloudtrain)
    found = json.loads(cloudtrain("prices", *argv, "-o", "json").out)
    jsonschema.validate(found, json.loads(cloudtrain("schema", schema).out))
    assert found if isinstance(found, list) else found["differences"]


def test_a_quote_says_which_list_it_read_and_its_age(cloudtrain: Command, seller: Callable[..., None]) -> None:
    """Per provider: the day of the refresh, or that it is the shipped one."""
    words = ("quote", "llama-3.1-8b", "--table")
    assert "shipped prices, days old: runpod 287; check before you pay" in cloudtrain(*words).out
    seller("2.45")
    cloudtrain("prices", "refresh")
    assert re.search(r"prices, days old: runpod 0 \(2026-11-24 [0-9a-f]{8}\)\n", cloudtrain(*words).out)


def test_a_damaged_list_is_left_out_with_a_sentence(cloudtrain: Command, seller: Callable[..., None]) -> None:
    """The quote counts on the shipped one, and both say so."""
    seller("2.45")
    cloudtrain("prices", "refresh")
    (there,) = folder.refreshed().values()
    (there / "runpod.csv").write_text("damaged")
    result = cloudtrain("quote", "llama-3.1-8b", "--table")
    assert "shipped prices, days old: runpod 287" in result.out
    assert "refreshed prices of runpod are not read: the file is damaged" in result.err
    assert "refreshed prices of runpod are not read: the file is damaged" in cloudtrain("prices").err


def test_providers_and_ids_are_completed(
    completed: Callable[[str, str], list[str]], seller: Callable[..., None]
) -> None:
    """Those who can be asked where one is asked, all with prices where lists are compared, ids of rows."""
    seller("2.45")
    assert completed("prices refresh --provider", "") == ["runpod"]
    assert {"aws", "runpod"} <= set(completed("prices diff --provider", ""))
    assert completed("prices history", "runpod/m") == ["runpod/mi300x/eu-ro-1"]
    assert "refresh" in completed("prices", "r")


def at_a_terminal(monkeypatch: pytest.MonkeyPatch, width: int, *argv: str) -> str:
    """What the command shows at a terminal of so many columns."""
    from cloudtrain.cli import run

    with columns(width, monkeypatch) as text:
        run(["prices", *argv])
    return uncoloured(text())


@pytest.mark.parametrize("name", ["status", "refresh", "diff", "history"])
def test_eighty_columns_hold_every_line(
    cloudtrain: Command,
    seller: Callable[..., None],
    answered: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    """At 60 and 80; whole screens of 80, to be read."""
    life(seller, cloudtrain)
    answered(RENEWED, KEYLESS, WITHOUT)
    words = [name, "runpod/mi300x/eu-ro-1"] if name == "history" else [name]
    for width in (60, 80):
        text = at_a_terminal(monkeypatch, width, *words)
        assert [line for line in text.splitlines() if len(line) > width and " " in line.strip()] == []
    path = GOLDEN / "at-80" / f"prices-{name}.txt"
    text = masked(text, *MASKS)
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()
