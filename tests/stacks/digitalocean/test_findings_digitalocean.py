"""What doctor says about DigitalOcean."""

from __future__ import annotations

import pytest

from cloudtrain.providers import Cloud
from cloudtrain.simulator.digitalocean import DigitaloceanCloud
from tests.stacks.digitalocean.digitalocean_world import cloud, fake

__all__ = ["cloud", "fake"]  # fixtures


def states(cloud: Cloud) -> dict[str, str]:
    return {finding.what.removeprefix("DigitalOcean "): finding.state for finding in cloud.findings()}


def test_a_good_account_is_told_with_what_nobody_can_know(fake: DigitaloceanCloud, cloud: Cloud) -> None:
    """Neither guards nor the number of GPUs that are allowed."""
    assert states(cloud) == {
        "token": "ok",
        "account": "ok",
        "limit": "unknown",
        "guards": "unknown",
        "gpu-mi325x1-256gb": "ok",
        "gpu-mi350x1-288gb-spot": "ok",
        "gpu-mi355x1-288gb-spot": "ok",
    }
    assert "createDroplet" not in fake.calls


def test_a_size_without_regions_is_not_to_be_had(fake: DigitaloceanCloud, cloud: Cloud) -> None:
    """Listed and available, and offered nowhere."""
    fake.sizes["gpu-mi350x1-288gb-spot"]["regions"] = []
    assert states(cloud)["gpu-mi350x1-288gb-spot"] == "problem"


def test_a_locked_account_and_a_used_up_limit_are_problems(fake: DigitaloceanCloud, cloud: Cloud) -> None:
    fake.status, fake.droplet_limit = "locked", 0
    assert {name for name, state in states(cloud).items() if state == "problem"} == {"account", "limit"}


def test_a_wrong_token_ends_the_questions(
    fake: DigitaloceanCloud, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIGITALOCEAN_TOKEN", "dop_v1_other")
    (only,) = cloud.findings()
    assert (only.state, only.barring) == ("problem", True)
