"""Whether a vCPU is a core or a thread of one."""

from __future__ import annotations

import csv

import pytest
from cloudtrain.pricing import SNAPSHOTS

from cloudtrain.estimate import vcpus
from cloudtrain.estimate.hardware import all_hardware


@pytest.mark.parametrize(
    ("provider", "machine", "cores"),
    [
        ("aws", "c7a.48xlarge", 1),
        ("aws", "r8a.metal-48xl", 1),
        ("aws", "x8g.48xlarge", 1),
        ("aws", "r8i.96xlarge", 0.55),
        ("aws", "r8i-flex.16xlarge", 0.55),
        ("gcp", "c3d-highmem-360", 0.55),
        ("gcp", "n4d-highmem-64", 0.55),
        ("gcp", "c3-highmem-88", 0.55),
        ("gcp", "n4a-highmem-64", 1),
        ("runpod", "cpu5c x8", 0.55),
    ],
)
def test_a_familys_vcpu_is_a_core_or_a_thread(provider: str, machine: str, cores: float) -> None:
    """By provider and family; the source says how sure it is."""
    found = vcpus.share(provider, machine)
    assert found.cores.likely == cores
    assert found.source.startswith(f"a vCPU is a {'core' if cores == 1 else 'thread'} (")


def test_every_processor_of_the_catalogue_has_its_family() -> None:
    """A family that is new in a price list is looked up once, not guessed."""
    keys = {row.key for row in all_hardware() if row.is_processor}
    missing = set()
    for path in SNAPSHOTS.glob("*.csv"):
        with path.open(encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                if row.get("accelerator") in keys and "not known" in vcpus.share(row["provider"], row["offer"]).source:
                    missing.add((row["provider"], vcpus.family(row["offer"])))
    assert not missing


def test_an_unknown_family_is_between_both() -> None:
    """And says that it is not known."""
    found = vcpus.share("gcp", "zz9-standard-4")
    assert (found.cores.low, found.cores.high) == (0.5, 1.0)
    assert "not known" in found.source


def test_what_the_machine_says_goes_before_its_name() -> None:
    """Threads per core as its system counts them."""
    assert vcpus.share("local", "this machine", 1).cores == (1, 1, 1)
    assert vcpus.share("local", "this machine", 2).cores == (0.5, 0.55, 0.65)
    assert "as this machine says" in vcpus.share("local", "this machine", 2).source
