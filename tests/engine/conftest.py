"""Whole commands against each fake cloud: on the real Pulumi engine, or forked on the fake one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import pytest

from cloudtrain.errors import UsageError
from cloudtrain.simulator.clock import Clock
from tests.campaign.client import Client
from tests.campaign.clouds import TARGETS, Target


@pytest.fixture(autouse=True)
def the_real_engine(request: pytest.FixtureRequest) -> None:
    """What is marked `engine` needs the command line; `make test` provides it, and counts how many of them ran."""
    if request.node.get_closest_marker("engine") is None:
        return
    request.node.user_properties.append(("engine", "real"))  # a folder is called so too: a keyword would not tell
    try:
        import_module("cloudtrain.stacks._pulumi.command").find()
    except UsageError as error:
        pytest.skip(f"{error.message}: `make pulumi` provides it")


@pytest.fixture(params=sorted(TARGETS))
def target(request: pytest.FixtureRequest) -> Target:
    """Each cloud in turn."""
    return TARGETS[request.param]


@pytest.fixture
def client(target: Target, tmp_path: Path) -> Iterator[Client]:
    """A client of the cloud, with nothing in its state."""
    fake = target.fake(Clock())
    yield Client(tmp_path, fake)
    fake.stop()


@pytest.fixture
def rented(client: Client, target: Target) -> Callable[..., str]:
    """Rent a machine; returns the run's id."""

    def rent(*words: str) -> str:
        ended = client.up(*target.words, *words)
        assert ended.code == 0, ended.err
        return next(word for word in ended.out.split("`") if word.startswith("smollm2"))

    return rent
