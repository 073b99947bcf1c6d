"""A machine at Google has the rights that it needs and no others."""

from __future__ import annotations

import pytest

from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.gcp.compute import GceCloud
from tests.stacks.gcp.gce_world import ONE_HOST, PROCESSOR, START, make

COMPUTE = "https://www.googleapis.com/auth/compute"


@pytest.mark.parametrize("line", [ONE_HOST, PROCESSOR])
@pytest.mark.xfail(
    strict=True, raises=AssertionError, reason="Trust F4: the default account with the scope cloud-platform"
)
def test_a_machine_may_use_the_compute_api_alone(line: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    """It has to delete itself; an account that may read buckets or end other machines is not its own."""
    gce = GceCloud(Clock(START))
    for name, value in gce.environment().items():
        monkeypatch.setenv(name, value)
    try:
        make(gce, line)
        accounts = [account for each in gce.table.of("instances") for account in each.get("serviceAccounts", [])]
        assert [account["scopes"] for account in accounts] == [[COMPUTE]]
        assert "default" not in [account["email"] for account in accounts]
    finally:
        gce.stop()
