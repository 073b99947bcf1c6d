"""How fast a disk is where it is rented, what that does to the hours, and which speed is worth asking for."""

from __future__ import annotations

import csv
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from cloudtrain.errors import UsageError
from cloudtrain.estimate.options import Method
from cloudtrain.offer import Range
from cloudtrain.providers import PriceSource, load, names
from cloudtrain.quote import catalog
from cloudtrain.quote.costs import cost_parts
from cloudtrain.quote.document import frozen, row_document
from cloudtrain.quote.machine import disk_speed
from cloudtrain.quote.machine.disk import rules
from cloudtrain.quote.machine.disk_speed import Pace
from cloudtrain.quote.request import Request
from cloudtrain.quote.row import QuoteRow
from cloudtrain.quote.sampling import times
from cloudtrain.units import GIB
from tests.quote.machine.test_disk import row
from tests.quote.test_engine import offer, request

AWS = {"provider": "aws", "name": "r8i.24xlarge", "vcpus": 96, "count": 96, "hardware": "cpu-amx"}
AWS |= {"memory_bytes": 768 * GIB, "host_memory_bytes": 768 * GIB, "usd_per_hour": Decimal("6.7")}


def seconds(found: QuoteRow) -> dict[str, Range]:
    """What comes before the steps of a row, as ranges."""
    return {part.name: part.seconds for part in found.assessment.setup_parts}


def asked(job: Request, **changes: Any) -> int | None:
    """MB/s that a job asks for on a machine of AWS."""
    disk = row(job, offer(**{**AWS, **changes})).assessment.disk
    assert disk is not None
    return disk.speed.asked_mb_s


def test_every_shipped_offer_has_a_speed_with_its_source() -> None:
    """And no provider's disk is taken to be as fast as another's."""
    found = rules(catalog.shipped())
    assert all(each.pace.source.count("(observed ") == 1 for each in found)
    assert {each.provider for each in found} == set(names("pricing"))


def test_weights_are_fetched_no_faster_than_the_disk_writes() -> None:
    """The slower of network and disk, in each bound."""
    job = request("llama-3.3-70b")
    found = row(job, offer(name="c4-highmem-96", usd_per_hour=None))
    disk, size = found.assessment.disk, job.spec.weights_bytes("bf16")
    assert disk is not None
    terms = load("pricing", "gcp", PriceSource).terms
    rates = times.slower(terms.download_bytes_per_s, disk.speed.write)
    assert rates.likely < terms.download_bytes_per_s.likely
    assert seconds(found)["weights"] == Range(size / rates.high, size / rates.likely, size / rates.low)
    assert seconds(found)["load"].likely == pytest.approx(size / disk.speed.read.likely)


def test_a_larger_persistent_disk_is_faster_up_to_its_limit() -> None:
    """0.26 MB/s for each GB, at most 1,200."""
    pace = next(each.pace for each in rules(catalog.shipped()) if (each.provider, each.offers.pattern) == ("gcp", ".*"))
    speeds = [pace.speed(gb, 64).write.high for gb in (30, 1000, 10_000)]
    assert speeds == pytest.approx([147.8e6, 400e6, 1200e6])


def test_only_a_large_download_is_worth_a_faster_disk() -> None:
    """What is saved of the machine's hours against what the speed costs in each of them."""
    assert asked(request("longcat-flash")) == 750
    assert asked(request("smollm2-135m"), usd_per_hour=Decimal("0.02")) == 125


@pytest.mark.parametrize("model", ["qwen3-8b", "llama-3.3-70b"])
@pytest.mark.parametrize("method", ["full", "qlora"])
def test_the_speed_that_is_asked_for_costs_least(monkeypatch: pytest.MonkeyPatch, model: str, method: Method) -> None:
    """Of all that can be had, by the dollars of rows that could have no other."""
    job, there = request(model, method=method, max_hours=None), offer(**{**AWS, "memory_bytes": 3072 * GIB})
    chosen = row(job, there).assessment.disk
    assert chosen is not None
    usd = {}
    for mb_s in chosen.pace.choices(there.vcpus):
        monkeypatch.setattr(Pace, "choices", lambda pace, vcpus, only=mb_s: range(only, only + 1))
        found = row(job, there).usd
        assert found is not None
        usd[mb_s] = found.likely
    assert len(usd) == 6
    assert usd[chosen.speed.asked_mb_s or 0] <= min(usd.values()) * Decimal(
        "1.003"
    )  # it goes by middles, not by samples
    assert max(usd.values()) > min(usd.values()) * Decimal("1.01")


def test_small_machines_ask_for_what_they_can_use() -> None:
    """Its own way to the disks is the limit: 39 MB/s a vCPU."""
    assert asked(request("llama-3.3-70b", method="full"), vcpus=8, count=8, memory_bytes=4096 * GIB) == 250
    assert asked(request("llama-3.3-70b", method="full"), vcpus=2, count=2, memory_bytes=4096 * GIB) == 125


def test_where_the_price_is_unknown_none_is_bought() -> None:
    """It has what comes with it."""
    assert asked(request("llama-3.3-70b"), usd_per_hour=None) == 125


def test_a_faster_disk_is_billed_by_the_hour() -> None:
    """A cost line of its own, in what the machine costs in an hour, and in the row that is kept."""
    found = row(request("llama-3.3-70b"), offer(**AWS))
    disk, hours = found.assessment.disk, found.assessment.billed_hours
    assert disk is not None
    assert hours is not None
    paid = (disk.speed.asked_mb_s or 0) - 125
    assert paid > 0
    parts = {part.name: part for part in cost_parts(found)}
    assert float(parts["disk speed"].quantity) == pytest.approx(hours.likely * paid, rel=1e-5)
    assert parts["disk speed"].unit_usd == Decimal("0.04") / 730
    assert found.usd is not None
    assert sum(part.usd or 0 for part in parts.values()) == pytest.approx(found.usd.likely, rel=Decimal("1e-5"))
    slow = row(request("llama-3.3-70b"), offer(**{**AWS, "usd_per_hour": None})).assessment.extras
    more = found.assessment.extras.hourly_usd - slow.hourly_usd
    assert more == pytest.approx(paid * Decimal("0.04") / 730)
    assert row_document(found)["disk_mb_per_s"] == frozen(found).disk_mb_per_s == disk.speed.asked_mb_s
    elsewhere = row(request("llama-3.3-70b"), offer())
    assert row_document(elsewhere)["disk_mb_per_s"] is None
    assert "disk speed" not in {part.name for part in cost_parts(elsewhere)}


def test_a_tie_goes_to_what_is_free() -> None:
    """Where a faster disk saves no time it is not bought."""
    assert disk_speed.cheapest(range(125, 751, 125), lambda mb_s: 3600.0, 1.0, 0.00005) == 125
    assert disk_speed.cheapest(range(125, 751, 125), lambda mb_s: 3600.0, 1.0, 0.0) == 125
    assert disk_speed.cheapest(range(125, 751, 125), lambda mb_s: 1e6 / mb_s, 1.0, 0.00005) == 750


@pytest.mark.parametrize(
    ("cell", "wrong"), [("0.5 0.85 1", "1 0.85 0.5"), ("0.5 0.85 1", "0.5 1"), (",125,", ",0,"), ("39", "many")]
)
def test_a_broken_speed_names_file_and_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cell: str, wrong: str
) -> None:
    """As a broken size does."""
    text = (catalog.shipped() / "disks.csv").read_text()
    assert cell in text
    monkeypatch.setenv("CLOUDTRAIN_CATALOG", str(tmp_path))
    rules.cache_clear()
    (tmp_path / "disks.csv").write_text(text.replace(cell, wrong, 1))
    with pytest.raises(UsageError, match=r"disks\.csv` line 2: "):
        rules(tmp_path)
    rules.cache_clear()


def test_a_table_without_speeds_is_one_of_any_disk(tmp_path: Path) -> None:
    """As catalogues were before."""
    rows = csv.DictReader((catalog.shipped() / "disks.csv").read_text().splitlines())
    kept = [name for name in rows.fieldnames or () if "mb_s" not in name and "speed" not in name]
    with open(tmp_path / "disks.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, kept, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    assert {each.pace for each in rules(tmp_path)} == {disk_speed.ANY_PACE}
