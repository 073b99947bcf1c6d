"""Every test works in folders of its own: no test can touch the user's state, settings or cache."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests import chance, thrift
from tests.scheduling import pytest_xdist_make_scheduler

if TYPE_CHECKING:
    from tests.campaign.fork_server import ForkServer

# gRPC's handlers of a fork can end a child that a test forks from a worker in which a TPU test ran before.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

__all__ = ["pytest_xdist_make_scheduler"]  # a hook
WORLDS = count()
NOW = "2026-11-24T12:00:00Z"
KEPT = {
    "CLOUDTRAIN_CACHE",
    "CLOUDTRAIN_PULUMI_ROOT",
    "CLOUDTRAIN_ENGINE_TESTS",
    "CLOUDTRAIN_RUNPOD_OPENAPI",
    chance.SEED,
}


@pytest.fixture(autouse=True)
def own_world(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pin the clock, the width, the colours; keep hubs away, move state and settings. The cache stays: it is shared."""
    world = tmp_path_factory.getbasetemp() / "worlds" / str(next(WORLDS))
    world.mkdir(parents=True)
    for name in [name for name in os.environ if name.startswith("CLOUDTRAIN_") and name not in KEPT]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CLOUDTRAIN_STATE", str(world / "state"))
    monkeypatch.setenv("CLOUDTRAIN_PRICES", str(world / "prices"))  # the cache is shared, refreshed prices are not
    monkeypatch.setenv("CLOUDTRAIN_CONFIG", str(world / "config.toml"))
    monkeypatch.setenv(
        "HF_HUB_OFFLINE", "1"
    )  # no test asks a hub; those of the hub's client have a server of their own
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    return world


class Result(NamedTuple):
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def cloudtrain(capfdbinary: pytest.CaptureFixture[bytes]) -> Callable[..., Result]:
    """Run a command in this process; the whole output and the exit code are the result."""
    from cloudtrain.cli import run

    def call(*argv: str) -> Result:
        capfdbinary.readouterr()
        code = run([str(word) for word in argv])
        out, err = capfdbinary.readouterr()
        return Result(code, out.decode(), err.decode())

    return call


@pytest.fixture(scope="session")
def fork_server() -> Iterator[ForkServer]:
    """Commands without Python's start, on the fake engine: one server for all tests of a worker that want it."""
    from tests.campaign.fork_server import ForkServer
    from tests.campaign.job_world import RENTALS

    with tempfile.TemporaryDirectory(prefix="cloudtrain-fork-server-") as folder:
        made = ForkServer(Path(folder), libraries=RENTALS["tpu"].libraries)  # they import the most
        yield made
        made.close()


class EngineTests:
    """Counts the tests that ran on the real Pulumi engine, and fails a run that requires some and had none."""

    def __init__(self) -> None:
        self.ran = 0
        self.campaigns: list[object] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            self.campaigns += [value for name, value in report.user_properties if name == "campaign"]
        self.ran += report.when == "call" and report.passed and ("engine", "real") in report.user_properties

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if not self.ran and os.environ.get("CLOUDTRAIN_ENGINE_TESTS") == "required" and session.testscollected:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if (order := terminalreporter.config.getoption("--order-seed")) is not None:
            terminalreporter.write_line(f"in random order: ORDER=random SEED={order}")
        if moved := os.environ.get(chance.SEED):
            terminalreporter.write_line(f"random numbers: {chance.SEED}={moved}")
        for campaign in self.campaigns:
            terminalreporter.write_line(f"campaign on {campaign}")
        required = os.environ.get("CLOUDTRAIN_ENGINE_TESTS") == "required"
        verdict = " (none: that is a failure)" if required and not self.ran else ""
        terminalreporter.write_line(f"{self.ran} tests ran on the real Pulumi engine{verdict}")


def minutes_long(item: pytest.Item) -> bool:
    """Whether a test trains a real model or plays many schedules."""
    return any(item.get_closest_marker(name) for name in ("trainer", "campaign"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """What `make soak` and `make check ORDER=random` ask for."""
    parser.addoption("--soak", action="store_true", help="run the tests marked `soak` too, which take long")
    parser.addoption("--order-seed", type=int, help="run modules, and the tests in each, in a random order")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is for the soak; then the longest first, that no worker is left alone with a long one at the end.

    With a seed: modules in a random order, and the tests of each.
    """
    if not config.getoption("--soak"):
        left_out = [item for item in items if item.get_closest_marker("soak")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("soak")]
    order = config.getoption("--order-seed")
    if order is None:
        items.sort(key=lambda item: (not minutes_long(item), item.get_closest_marker("engine") is None))
        return
    chosen = Random(order)
    modules = {item.path: chosen.random() for item in items}
    items.sort(key=lambda item: (modules[item.path], chosen.random()))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Begin with a clean table. Who runs a few tests and none of AWS needs no botocore for it."""
    thrift.keep_what_is_imported()
    if "botocore" in sys.modules or hasattr(session.config, "workerinput"):
        thrift.read_data_files_once()


def pytest_configure(config: pytest.Config) -> None:
    """Count engine tests in the process that reports, not in its workers; let what is started here hear Ctrl-C.

    A shell that starts a job in the background makes it deaf to SIGINT, and its children inherit that.
    """
    chance.load_profile()
    thrift.collect_rarely()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(EngineTests())
