"""Fake clouds for commands in this process: machines that a client made and forgot, and outputs without what changes."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cloudtrain.plan import Plan
from cloudtrain.providers import Stack, load
from cloudtrain.settings import now
from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.http_server import Fake
from tests.campaign.clouds import TARGETS, Target
from tests.cli.conftest import GOLDEN
from tests.conftest import NOW, Result

HOUR = 3600.0
SPEED = 100.0  # of the fakes' clock against a sweep's waiting
MASKS = (
    (r"\baccount \d{12}\b", "account ACCOUNT"),  # every fake has another one
    (r"127\.0\.0\.1:\d+", "HOST:PORT"),
    (r"\b(i|sg|vol)-[0-9a-f]{8,17}\b", r"\1-ID"),
    (r"\bpod[0-9a-z]{8,}\b", "POD"),
)


def without_credentials(monkeypatch: pytest.MonkeyPatch, nowhere: Path) -> None:
    """Nobody's credentials: no variable, no file, no metadata server."""
    for variable in [v for v in os.environ if v.startswith(("AWS_", "GOOGLE_", "RUNPOD_", "DIGITALOCEAN_"))]:
        monkeypatch.delenv(variable)
    for variable in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "CLOUDSDK_CONFIG"):
        monkeypatch.setenv(variable, str(nowhere / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("NO_GCE_CHECK", "true")


@contextmanager
def standing(name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    """The fake of a campaign's target, at the tests' instant, with the environment that leads to it."""
    monkeypatch.setenv("CLOUDTRAIN_NOW", NOW)
    monkeypatch.setenv("CLOUDTRAIN_SIMULATOR_TIMING", "2,0.2,0.05,0.01")
    fake = TARGETS[name].fake(Clock(now()))
    monkeypatch.setattr("cloudtrain.runs.sweep.time", SimpleNamespace(sleep=lambda s: fake.clock.sleep(s * SPEED)))
    for variable, value in fake.environment().items():
        monkeypatch.setenv(variable, value)
    try:
        yield fake
    finally:
        fake.stop()


def forget_machine(fake: Fake, target: Target, run: str = "lost", hours: float = 1.0, **line: Any) -> None:
    """Make all that a plan needs at the fake, as a client does that dies before it writes anything down."""
    cloud = load("stacks", target.provider, Stack).cloud
    assert cloud is not None
    whole = target.line.replace(**line)
    deadline = fake.clock.now() + hours * HOUR
    plan = Plan(run, "i", target.provider, "f", whole, {}, "", "", deadline, "", (), 1.0)
    made: dict[str, Any] = {}
    for resource in cloud.resources(plan, cloud.account()):
        needs = {role: made[role] for role in resource.after}
        inputs = {**resource.inputs, "needs": needs}
        driver = cloud.drivers[resource.kind]
        seen = next(iter(driver.find(inputs)), None) if driver.shared else None
        seen = seen or driver.create(inputs)
        for _ in range(60):
            if seen.state != "building":
                break
            fake.clock.advance(5)
            seen = driver.status(inputs, seen.id)
        made[resource.role] = {"id": seen.id, **seen.outputs}


def masked(text: str, *more: tuple[str, str]) -> str:
    """The text without ports, ids and what else changes from one run to the next."""
    for pattern, word in (*MASKS, *more):
        text = re.sub(pattern, word, text)
    return text


def same_as_golden(name: str, argv: list[str], result: Result, *more: tuple[str, str]) -> None:
    """Compare a whole output with a golden file, ids masked; UPDATE_GOLDEN=1 writes it anew."""
    shown = f"$ cloudtrain {' '.join(argv)}\n{result.out}"
    shown += f"--- stderr\n{result.err}" if result.err else ""
    shown = masked(shown + f"--- exit {result.code}\n", *more)
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(shown)
    assert shown == path.read_text()


def pretend_engine(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    """An engine of the pinned version at a known place, whatever this machine has; `changes` replace its verbs."""
    from cloudtrain.provisioner import provisioner

    real = provisioner()
    verbs: dict[str, Callable[..., Any]] = {
        "find": lambda: (Path("/opt/pulumi"), real.version),
        "plugin": lambda: Path("/opt/cloudtrain/pulumi-resource-cloudtrain"),
    }
    pretended = replace(real, **{**verbs, **changes})
    monkeypatch.setattr(sys.modules["cloudtrain.stacks._pulumi.install"], "provisioner", pretended)
