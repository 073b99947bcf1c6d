"""The account of one run: what it is compared with, and that nothing unknown becomes a number."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from cloudtrain.records import AttemptRecord, ExitRecord, GoneRecord
from cloudtrain.report.cost_report import CostReport, report, spec_of
from cloudtrain.runs.record import Run
from cloudtrain.state.store import LocalFolder
from tests.records import begin, machine, row
from tests.report.histories import account, costing
from tests.report.states import FIRST, ended


@pytest.fixture
def store(tmp_path: Path) -> LocalFolder:
    """An empty state."""
    return LocalFolder(tmp_path)


@pytest.mark.parametrize(
    ("name", "identity", "spec"),
    [
        ("smollm2-135m-qlora-3f9a2c", "3f9a2c77", "smollm2-135m-qlora"),
        ("smollm2-135m-qlora-3f9a2c-2", "3f9a2c77", "smollm2-135m-qlora"),
        ("my-own-name", "3f9a2c77", "my-own-name"),
        ("-3f9a2c", "3f9a2c77", "-3f9a2c"),
    ],
)
def test_a_spec_is_the_name_without_its_identity(name: str, identity: str, spec: str) -> None:
    """New data gives a new identity, and is the next night of the same."""
    assert spec_of(name, identity) == spec


def test_an_account_has_dollars_for_a_million_tokens(store: LocalFolder) -> None:
    """What was metered, over what was processed; with its ratio, its losses and its bill."""
    run = ended(store, "llama-qlora-0000ab", FIRST, 2.2, eval_loss=1.4, bill=("5.61", "final"))
    told = report(run).document()
    assert (told["metered_usd"], told["usd_per_million_tokens"]) == ("5.5", "1.1")
    assert (told["metered_to_quoted"], told["billed_to_metered"]) == (1.1, 1.02)
    assert (told["billed_usd"], told["billed_status"]) == ("5.61", "final")
    assert (told["spec"], told["loss"], told["eval_loss"]) == ("llama-qlora", 1.25, 1.4)


def test_machines_of_two_prices_are_each_metered_at_their_own(store: LocalFolder) -> None:
    """A run that was taken away and went on where an hour costs another amount."""
    run = ended(store, "r-0000ab", FIRST, 1.0)
    before = AttemptRecord(
        machine=machine(id="pod-0", created=FIRST - 7200, provider="runpod"),
        exit=ExitRecord(reason="preempted", ended_at=FIRST - 3600),
        gone=GoneRecord(time=FIRST - 3600),
        line=row(provider="runpod", market="spot", price_usd_per_hour=Decimal("0.5")),
        deadline=FIRST + 1e5,
    )
    run.write("attempts/001.json", before)
    told = report(Run(store, run.id))
    assert told.metered_s == pytest.approx(7200)
    assert told.metered_usd is not None
    assert told.metered_usd.quantize(Decimal("0.000001")) == Decimal(3)


def test_a_price_that_is_unknown_makes_dollars_unknown(store: LocalFolder) -> None:
    """With cost lines and without: neither is $0."""
    assert report(ended(store, "a-0000ab", FIRST, usd_per_hour=None)).metered_usd is None
    begin(store, "b")
    Run(store, "b").write("machine.json", machine(created=FIRST))
    assert report(Run(store, "b")).metered_usd is None
    begin(store, "c")
    assert report(Run(store, "c")).metered_usd == 0  # it never had a machine


@pytest.mark.parametrize("said", [float("nan"), float("inf"), -float("inf")])
def test_a_loss_that_is_no_number_is_none(store: LocalFolder, said: float) -> None:
    """JSON has none, and an axis neither."""
    told = report(ended(store, "a-0000ab", FIRST, loss=said, eval_loss=said))
    assert (told.loss, told.eval_loss) == (None, None)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, (Decimal(1), None, Decimal(1))),
        ({"state": "failed"}, (None, None, Decimal(1))),
        ({"tokens": 0}, (Decimal(1), None, None)),
        ({"tokens": None}, (Decimal(1), None, None)),
        ({"quoted_usd": None}, (None, None, Decimal(1))),
        ({"quoted_usd": {"low": "0", "likely": "0", "high": "0"}}, (None, None, Decimal(1))),
        ({"machines": costing(None)}, (None, None, None)),
        ({"billed_usd": Decimal(6), "billed_status": "final"}, (Decimal(1), Decimal("1.2"), Decimal(1))),
        ({"billed_usd": Decimal(6), "billed_status": "provisional"}, (Decimal(1), None, Decimal(1))),
    ],
)
def test_a_ratio_needs_both_amounts(changes: dict[str, object], expected: tuple[Decimal | None, ...]) -> None:
    """Else there is none."""
    told: CostReport = account("r", **changes)
    assert (told.metered_to_quoted, told.billed_to_metered, told.usd_per_million_tokens) == expected
