"""What doctor makes of findings, prices and clocks: states, exit codes, and words that a person can act on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cloudtrain.doctor import checks, local
from cloudtrain.doctor.checks import Entry
from cloudtrain.errors import MissingCredentials, Permission, ProviderError, Unavailable
from cloudtrain.offer import Offer, Price
from cloudtrain.providers import Finding, OwnedResource, run_key
from cloudtrain.runs import live_price, sweep
from cloudtrain.runs.leftovers.judging import Records
from cloudtrain.state.store import LocalFolder
from tests.records import intent, put

NOW = datetime(2026, 11, 24, tzinfo=UTC).timestamp()
EMPTY = Records({}, {}, [], set())


def offer(name: str, usd: str | None, as_of: str, zone: str = "a b") -> Offer:
    """A row of a catalogue."""
    price = Price("snapshot", as_of, "", "")
    money = None if usd is None else Decimal(usd)
    return Offer("runpod", name, "r", zone, "mi300x", 1, 10**9, None, None, "on_demand", money, price)


def cloud(
    account: Callable[[], dict[str, str]] = dict,
    findings: Callable[[], Iterable[Finding]] = tuple,
    owned: Iterable[OwnedResource] = (),
) -> Any:
    """As much of a cloud as doctor looks at."""
    return SimpleNamespace(
        account=account,
        findings=findings,
        list_owned=lambda run, places: owned,
        serves=lambda line: "x1" in line.offer,
    )


@pytest.fixture
def catalogue(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Set the offers, and what the provider answers when it is asked for a price."""

    def choose(*rows: Offer, answer: tuple[Decimal | None, str] = (None, "it cannot be asked")) -> None:
        monkeypatch.setattr(checks, "offers", lambda name: list(rows))
        monkeypatch.setattr(live_price, "ask", lambda line: answer)

    return choose


@pytest.mark.parametrize(
    ("state", "barring", "named", "code"),
    [
        ("problem", True, True, 4),
        ("problem", True, False, 1),
        ("problem", False, True, 1),
        ("unknown", True, True, 0),
        ("ok", True, True, 0),
    ],
)
def test_a_finding_stands_for_an_exit_code(state: Any, barring: bool, named: bool, code: int) -> None:
    """4 only for what bars a provider that somebody named."""
    assert checks.code(Finding("x", state, "", "", barring), named) == code


def test_the_largest_code_of_all_lines_counts() -> None:
    """Money that is running comes before access, access before the rest."""
    lines = [Entry("x", Finding("", "problem", ""), code) for code in (1, 6, 4, 0)]
    assert checks.exit_code(lines) == 6
    assert checks.exit_code(lines[2:]) == 4
    assert checks.exit_code([]) == 0


@pytest.mark.parametrize(
    ("usd", "as_of", "answer", "state", "words"),
    [
        ("2.00", "2026-11-20", (Decimal("2.50"), ""), "ok", "$2.50/h just now; catalogue $2.00/h, 4 days old"),
        ("2.00", "2026-11-20", (None, "it is down"), "unknown", "4 days old; it is down"),
        ("2.00", "2026-08-25", (None, "it is down"), "problem", "91 days old"),
        ("2.00", "2026-08-26", (None, "it is down"), "unknown", "90 days old"),
        ("2.00", "2026-08-01", (Decimal("2.50"), ""), "ok", "115 days old"),
        ("2.00", "", (None, "it is down"), "problem", "of unknown age"),
        (None, "2026-11-20", (None, ""), "unknown", "no price for a machine"),
    ],
)
def test_prices_are_asked_for_and_their_age_is_told(
    catalogue: Callable[..., None], usd: str | None, as_of: str, answer: Any, state: str, words: str
) -> None:
    """A price of this minute is fine; without one the catalogue's age decides as it does at launch."""
    catalogue(offer("mi300x x1", usd, as_of), offer("never x2", "0.01", as_of), answer=answer)
    finding = checks.prices("runpod", cloud(), NOW)
    assert (finding.state, words in finding.message) == (state, True), finding.message
    assert not finding.barring or finding.state != "problem"


def test_the_age_told_is_that_of_the_price_beside_it(catalogue: Callable[..., None]) -> None:
    """From the first day on which it may have been seen; a newer row of another machine says nothing of it."""
    old = offer("mi300x x1", "2.00", "2026-08-31")
    old = old._replace(price=old.price._replace(since="2026-06-01"))
    catalogue(old, offer("mi300x x1", "3.00", "2026-11-20"), answer=(None, "it is down"))
    finding = checks.prices("runpod", cloud(), NOW)
    assert (finding.state, finding.message) == (
        "unknown",
        "the catalogue's of mi300x x1 is 85 to 176 days old; it is down",
    )


def test_a_newer_row_hides_no_stale_price(catalogue: Callable[..., None]) -> None:
    """What `up` would refuse is a problem, however young the rest of the list is."""
    catalogue(
        offer("mi300x x1", "2.00", "2026-02-28"),
        offer("nvidia x1", "3.00", "2026-11-20"),
        answer=(None, "it is down"),
    )
    assert checks.prices("runpod", cloud(), NOW).state == "problem"


def test_a_key_for_a_price_names_one_zone() -> None:
    """Price sources and stacks get one zone of several."""
    assert checks.first_place(offer("x1", "1", "2026-11-20")).zone == "a"
    assert checks.first_place(offer("x1", "1", "2026-11-20", "")).zone == ""


def test_without_credentials_nothing_else_is_asked(
    catalogue: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line; unknown, or a problem when it was named or when something is set."""
    catalogue()
    monkeypatch.delenv("RUNPOD_API_KEY", raising=False)

    def refused() -> dict[str, str]:
        raise MissingCredentials("no key", "make one")

    def never() -> Iterable[Finding]:
        raise AssertionError("asked without credentials")

    def look(named: bool) -> list[tuple[str, int]]:
        noted = checks.of_cloud("runpod", cloud(refused, never), EMPTY, NOW, named)
        return [(line.finding.state, line.exit_code) for line in noted]

    assert look(named=False) == [("unknown", 0)]
    assert look(named=True) == [("problem", 4)]
    monkeypatch.setenv("RUNPOD_API_KEY", "x")
    assert look(named=False) == [("problem", 1)]


@pytest.mark.parametrize(("error", "code"), [(Unavailable("down"), 1), (Permission("no"), 4)])
def test_a_provider_that_fails_in_the_middle_is_a_problem(
    catalogue: Callable[..., None], error: ProviderError, code: int
) -> None:
    """At the account, and in the middle of its own check: what came before is kept, what comes after is looked at."""
    catalogue()

    def failing() -> dict[str, str]:
        raise error

    def half() -> Iterable[Finding]:
        yield Finding("first", "ok", "")
        raise error

    noted = list(checks.of_cloud("runpod", cloud(failing), EMPTY, NOW, named=True))
    assert [line.exit_code for line in noted] == [code]
    noted = list(checks.of_cloud("runpod", cloud(findings=half), EMPTY, NOW, named=True))
    assert [line.finding.what for line in noted] == ["first", "access", "prices", "leftovers"]
    assert checks.exit_code(noted) == code


def test_each_leftover_is_a_line_and_billing_ones_end_6(catalogue: Callable[..., None]) -> None:
    """A free thing that should be gone is a problem too, of the other kind; one that may stay is counted."""
    catalogue()
    machine = OwnedResource(
        "k", "m1", "machine", expires=NOW - 1, usd_per_hour=Decimal("2.5"), console_url="https://there"
    )
    group = OwnedResource("k", "g1", "security group", expires=NOW - 1, bills=False)
    young = OwnedResource("k", "m2", "machine", expires=NOW + 1)

    def lines(*owned: OwnedResource) -> list[Entry]:
        looked = sweep.look_at("runpod", cloud(owned=owned), EMPTY, NOW)
        return list(checks.left(looked, named=False))

    both = lines(machine, group, young)
    assert [(line.finding.what, line.exit_code) for line in both] == [("left over", 6), ("left over", 1)]
    assert "machine m1, $2.50/h, past its deadline (2026-11-23T23:59:59Z)" in both[0].finding.message
    assert "https://there" in both[0].finding.hint
    assert [line.exit_code for line in lines(group)] == [1]
    assert "1 of ours, none past" in lines(young)[0].finding.message


def test_processes_of_an_ended_run_are_told() -> None:
    """On one's own machine: what an ended run has left is a problem, what is at work is not."""
    known = Records({}, {run_key("done"): "done", run_key("going", "0a1b2c3d"): "going"}, [])

    def found(*runs: str) -> list[tuple[str, str]]:
        stack: Any = SimpleNamespace(list_owned=lambda: [OwnedResource(run, "1", "python") for run in runs])
        return [(f.state, f.message) for f in checks.processes(stack, known)]

    assert found() == [("ok", "no process of ours")]
    assert found("going") == [("ok", "at work: going")]
    ((state, words),) = found("going", "done", "done")
    assert (state, "`done`" in words) == ("problem", True)


def test_a_clock_before_the_catalogue_or_a_run_is_wrong(own_world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither can have happened yet; a day of grace for time zones, five minutes for other machines."""
    monkeypatch.setattr(local, "time", SimpleNamespace(time=lambda: NOW))
    store = LocalFolder(own_world / "state")

    def state(created: Any, newest: str) -> str:
        put(store, "runs/r/intent.json", {**intent().as_document(), "created": created})
        return local.clock(sweep.records(store), newest).state

    assert state(NOW - 60, "2026-11-24") == "ok"
    assert state(NOW + 200, "2026-11-25") == "ok"
    assert state(NOW - 60, "2026-11-26") == "problem"
    assert state(NOW + 400, "") == "problem"
    assert state("soon", "") == "ok"


def test_a_broken_catalogue_is_no_end_of_the_diagnosis(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A catalogue that is not there has no offers."""
    monkeypatch.setenv("CLOUDTRAIN_CATALOG", str(tmp_path / "none"))
    assert checks.offers("runpod") == []
    assert checks.offers("nobody") == []
