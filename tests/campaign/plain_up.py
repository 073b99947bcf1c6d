"""`python -m tests.campaign.plain_up CLOUD RUN`: `up` on the engine as it is, without anything of the protocol."""

from __future__ import annotations

import sys
import time
from importlib import import_module

from cloudtrain import settings
from cloudtrain.providers import Stack, load
from cloudtrain.state.store import open_store
from tests.campaign.clouds import TARGETS
from tests.campaign.in_process import HOUR, plan_for
from tests.records import begin


def main(name: str, run: str) -> None:
    """Make the machine."""
    target, store = TARGETS[name], open_store(settings.load().state)
    cloud = load("stacks", target.provider, Stack).cloud
    assert cloud is not None
    plan = plan_for(target, run, time.time() + HOUR)
    resources = cloud.resources(plan, cloud.account())
    begin(store, run, provider=target.provider, state=plan.state)
    import_module("cloudtrain.stacks._pulumi.engine").Engine(store, run).up(target.provider, resources)


if __name__ == "__main__":
    main(*sys.argv[1:])
