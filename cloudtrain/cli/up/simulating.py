"""`up --simulate`, `night rehearse`: the same commands against a fake cloud on this machine, which really train.

The product's one entry to the fake clouds. What is special about such a run is in `runs/client/simulated.py`.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cloudtrain.cli.output import print_message
from cloudtrain.cli.up.screen import Screen
from cloudtrain.errors import UsageError
from cloudtrain.providers import PriceSource, load, names
from cloudtrain.runs.client import simulated
from cloudtrain.runs.client.options import SPEC_FILE, UpOptions
from cloudtrain.runs.client.session import Session
from cloudtrain.settings import cache_folder

if TYPE_CHECKING:
    from cloudtrain.nights.options import TickOptions
    from cloudtrain.nights.tick import Ticked
    from cloudtrain.runs.record import Run
    from cloudtrain.simulator.environment import World
    from cloudtrain.state.protocol import Store

FAKES_NEED = ("moto", "googleapiclient", "jsonschema")  # the extra `simulate`


def simulate(provider: str, options: UpOptions, has_spec: bool) -> None:
    """The whole life of a run on the fake cloud, then its account. Raises what `up` raises.

    `has_spec`: a spec was named; without one it is the one that is here, else the demo's.
    """
    from cloudtrain import settings as settings_module
    from cloudtrain.provisioner import provisioner

    options = replace(options, infra=places(provider, options), accept_risk=True)
    engine = {"CLOUDTRAIN_PULUMI_ROOT": str(provisioner().find()[0])}  # even a plan asks it what would be made
    with asked_to_end(), fake_world(provider, engine) as world:
        print_message(
            f"simulation: {provider} is a fake cloud on this machine; no account is used, and no dollar is real"
        )
        screen, settings = Screen(simulated=True), settings_module.load()
        simulation = simulated.Simulation(world, screen, options.accept_stale)
        try:
            if not has_spec and not Path(SPEC_FILE).exists():
                print_message(f"there is no `{SPEC_FILE}` here: the spec is the demo's, 48 rows about capitals")
                options = replace(options, spec=simulated.demo_spec(world.folder))
            session = Session(replace(options, accept_stale=True), settings, screen, screen.answer, simulation)
            run = session.up()
            if run is not None:
                show_account(run, simulation)
        except BaseException as error:
            raise simulation.explain(error, settings.state) from None


def rehearse(provider: str, options: TickOptions, show_night: Callable[[Store, Ticked], None]) -> None:
    """A whole night on the fake cloud: tick after tick until its run has ended; then one that finds no change.

    Raises what ends the night badly: JobFailed, NoCapacity, OverBudget, TeardownIncomplete, UsageError.
    """
    from cloudtrain import settings as settings_module
    from cloudtrain.nights import rehearsal
    from cloudtrain.provisioner import provisioner
    from cloudtrain.state.store import open_store

    options = replace(options, infra=places(provider, UpOptions(infra=options.infra)), accept_risk=True)
    engine = {"CLOUDTRAIN_PULUMI_ROOT": str(provisioner().find()[0])}
    with asked_to_end(), fake_world(provider, engine) as world:
        print_message(f"rehearsal: {provider} is a fake cloud on this machine; nobody is told, and no dollar is real")
        screen, settings = Screen(simulated=True), settings_module.load()
        simulation = simulated.Simulation(world, screen, accept_stale=False)
        try:
            for number, ticked in enumerate(rehearsal.night(options, settings, screen, simulation), 1):
                print_message(f"\ntick {number}: {ticked.tick.outcome}: {ticked.tick.message}")
                show_night(open_store(settings.state), ticked)
            simulation.check_nothing_left()
            print_message("the fake cloud's ledger is empty: nothing exists, nothing costs money")
        except BaseException as error:
            raise simulation.explain(error, settings.state) from None


def places(provider: str, options: UpOptions) -> tuple[str, ...]:
    """Where the simulation takes place. Raises UsageError for what makes no sense in one."""
    for option, wanted in (("detach", options.detach), ("machine-only", options.machine_only)):
        if wanted:
            raise UsageError(
                f"--{option} leaves something running, and a simulation ends with its command",
                "leave one of the two out",
            )
    if options.row:
        if options.row.partition("/")[0].lower() != provider:
            raise UsageError(f"--row {options.row} is not on {provider}", f"--simulate {provider} simulates it alone")
        return options.infra
    other = next((place for place in options.infra if place.partition("/")[0] != provider), None)
    if other:
        raise UsageError(f"--infra {other} is not on {provider}", f"--simulate {provider} simulates {provider} alone")
    return options.infra or (provider,)


def fake_world(provider: str, engine: dict[str, str]) -> World:
    """The fake cloud, to be opened. Raises UsageError when what it is made of is not installed."""
    from importlib.util import find_spec

    absent = next((name for name in FAKES_NEED if find_spec(name) is None), None)
    if absent:
        raise UsageError(
            f"a simulation needs the fake clouds, and their package `{absent}` is not installed",
            "install this program with its extra `simulate`; in a checkout: pip install '.[simulate]'",
        )
    from cloudtrain.simulator.environment import World

    sources = (load("pricing", name, PriceSource) for name in names("pricing"))
    keys = {variable for each in sources for variable in (*each.credentials, *each.price_credentials)}
    return World(provider, cache_folder().absolute(), engine, keys)


def show_account(run: Run, simulation: simulated.Simulation) -> None:
    """The account in simulated dollars, and the proof that nothing is left. Raises TeardownIncomplete if there is."""
    from cloudtrain.cli.report import one
    from cloudtrain.report.cost_report import report

    print_message("\nthe account, in simulated dollars (`cloudtrain report` shows it for a real run):")
    one.show(report(run), "table")
    simulation.check_nothing_left()
    log = simulation.check_log(run)
    print_message(
        f"\nlog: {log.bytes:,} bytes, {'the same' if log.same else 'NOT the same'} on the machine and in the bucket"
    )
    print_message("the fake cloud's ledger is empty: nothing exists, nothing costs money")


@contextlib.contextmanager
def asked_to_end() -> Iterator[None]:
    """SIGTERM and a closed terminal end a simulation like Ctrl-C: with everything that belongs to it."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
