"""A bill that is more than a tenth off what was metered is remarked on, with the likely cause."""

from __future__ import annotations

from decimal import Decimal

import pytest

from cloudtrain.records import BillRecord, GoneRecord, MachineRecord, QuoteRecord
from cloudtrain.records.row import CostPartRecord
from cloudtrain.report.billed import remark
from cloudtrain.report.cost_report import report
from cloudtrain.runs.record import Run
from cloudtrain.state.store import LocalFolder
from tests.records import begin, row

METERED = {"compute": Decimal(8), "disk": Decimal(1), "egress": Decimal(1)}


def bill(status: str = "final", **parts: str) -> BillRecord:
    """A bill of these parts; what is not said is as metered."""
    found = {
        "compute": Decimal(8),
        "disk": Decimal(1),
        "egress": Decimal(1),
        **{k: Decimal(v) for k, v in parts.items()},
    }
    return BillRecord(status=status, usd=sum(found.values(), Decimal(0)), asked=0.0, source="s", parts=found)


@pytest.mark.parametrize("compute", ["7.01", "8", "8.99", "9"])
def test_tenth_is_no_deviation(compute: str) -> None:
    assert remark(METERED, 28800, bill(compute=compute)) == ""


@pytest.mark.parametrize(
    ("parts", "word"),
    [
        ({"compute": "9.5"}, "another price than at launch, or it stood"),
        ({"compute": "6"}, "another price than at launch, or a credit"),
        ({"disk": "4"}, "more disk"),
        ({"egress": "4"}, "more was sent out"),
        ({"tax": "2"}, "taxes"),
        ({"credit": "-8"}, "a credit"),
        ({"address": "2"}, "a public address"),
        ({"other": "3", "disk": "2"}, "costs of a sort that no quote has"),
    ],
)
def test_cause_is_the_sort_that_differs_most(parts: dict[str, str], word: str) -> None:
    said = remark(METERED, 28800, bill(**parts))
    assert "than the metered $10.00; likely cause: " + word in said


def test_share_and_direction_are_said() -> None:
    assert remark(METERED, 28800, bill(compute="11")).startswith("30% more than the metered $10.00")
    assert remark(METERED, 28800, bill(compute="5")).startswith("30% less than the metered $10.00")


def test_short_run_blames_the_shortest_billed_time() -> None:
    short = {"compute": Decimal("0.01")}
    one = BillRecord(status="final", usd=Decimal("0.02"), asked=0.0, source="s", parts={"compute": Decimal("0.02")})
    assert "the shortest time that the provider bills" in remark(short, 36, one)


def test_provisional_bill_that_is_lower_is_still_growing() -> None:
    assert remark(METERED, 28800, bill("provisional", compute="1")) == ""
    assert "more than" in remark(METERED, 28800, bill("provisional", compute="19"))


def test_unknown_price_is_not_compared() -> None:
    unknown = {"compute": None}
    assert "no price" in remark(unknown, 28800, bill())


def test_bill_of_what_was_metered_free() -> None:
    assert remark({}, 0, bill()).startswith("more than the metered $0")


def test_account_shows_bill_beside_metered(own_world: object) -> None:
    store = LocalFolder(own_world / "state")  # type: ignore[operator]
    begin(store, "night", provider="aws", created=0.0)
    run = Run(store, "night")
    parts = (CostPartRecord(name="compute", quantity=Decimal(1), unit="hours", unit_usd=Decimal(2), usd=Decimal(2)),)
    run.write("quote.json", QuoteRecord(line=row(provider="aws", cost_parts=parts, price_usd_per_hour=Decimal(2))))
    run.write("machine.json", MachineRecord(id="i-1", created=0.0))
    run.write("gone.json", GoneRecord(time=3600.0))
    before = report(Run(store, "night")).document()
    assert (before["billed_usd"], before["billed_status"], before["billed_message"]) == (None, None, "")
    run.write(
        "bill.json", BillRecord(status="final", usd=Decimal(3), asked=0.0, source="s", parts={"compute": Decimal(3)})
    )
    account = report(Run(store, "night"))
    shown = account.document()
    assert (shown["metered_usd"], shown["billed_usd"], shown["billed_status"]) == ("2", "3", "final")
    assert shown["billed_message"].startswith("50% more than the metered $2.00")


def test_row_without_cost_lines_compares_with_its_machines(own_world: object) -> None:
    store = LocalFolder(own_world / "state")  # type: ignore[operator]
    begin(store, "night", provider="aws", created=0.0)
    run = Run(store, "night")
    run.write("quote.json", QuoteRecord(line=row(provider="aws", price_usd_per_hour=Decimal(2))))
    run.write("machine.json", MachineRecord(id="i-1", created=0.0))
    run.write("gone.json", GoneRecord(time=3600.0))
    run.write(
        "bill.json", BillRecord(status="final", usd=Decimal(2), asked=0.0, source="s", parts={"compute": Decimal(2)})
    )
    assert report(Run(store, "night")).billed_message == ""
