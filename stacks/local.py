"""This machine as a stack: the supervisor in a session of its own, found again by its tag, ended with proof."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloudtrain import backends
from cloudtrain.errors import TeardownIncomplete, Unavailable
from cloudtrain.providers import DeletionProof, Guard, Lost, OwnedResource, Stack, StopOptions
from cloudtrain.state import layout
from cloudtrain.trainer.keyless import without_keys

from ._lifecycle import processes

if TYPE_CHECKING:
    import subprocess

    from cloudtrain.plan import Plan
    from cloudtrain.records import MachineRecord
    from cloudtrain.state.protocol import Store

START_PATIENCE_S = 20.0
GUARDS = (
    Guard("supervisor deadline", alone=True),
    Guard("second clock in a process of its own", alone=True),
    Guard("trainer's own clock", alone=True),
    Guard("client teardown", alone=False),
)


def template(*parts: str) -> Path:
    """A file of `templates/`, in a checkout and in a wheel."""
    return backends.templates().joinpath(*parts)


def start(plan: Plan, store: Store, log: Callable[[str], None]) -> MachineRecord:
    """Start the supervisor detached from this terminal. Raises Unavailable when it does not come up."""
    import subprocess  # a quote reads this module, and needs no process

    from cloudtrain.records import MachineRecord
    from cloudtrain.trainer import environment, quantised

    place = layout.machine_folder(plan.run, layout.of_run(store, plan.run))
    folder = store.folder(place)
    kill = store.folder(layout.run_key(plan.run, "kill"))
    python = environment.find(plan.flavour)
    if python is None:
        raise Unavailable("the trainer's environment is not there", "repeat the command; it is made on first use")
    for path in (folder / "processes.json", folder / "exit.json", kill):
        path.unlink(missing_ok=True)
    if "quantised" in plan.job:
        quantised.forget_unused(time.time())
    orders = {**supervise_document(plan, folder, python), "kill": str(kill)}
    for name, document in (("job.json", plan.job), ("supervise.json", orders)):
        store.write(f"{place}/{name}", json.dumps(document, indent=1).encode())
    with open(folder / "supervisor.log", "ab", opener=owners_alone) as output:
        process = subprocess.Popen(
            [str(python), "-u", str(template("supervisor", "supervisor.py")), str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=folder,
            env={**without_keys(os.environ), **marks(plan)},
            start_new_session=True,
            umask=0o077,  # log, heartbeat, checkpoints, output: the owner's alone
        )
    machine = MachineRecord(
        provider="local",
        id=str(process.pid),
        pid=process.pid,
        start=processes.start_of(process.pid),
        place="this machine",
        created=time.time(),
        usd_per_hour=plan.line.price_usd_per_hour,
    )
    await_start(process, folder, plan)
    return machine


def owners_alone(path: str, flags: int) -> int:
    """Open a file that nobody else may read."""
    return os.open(path, flags, 0o600)


def supervise_document(plan: Plan, folder: Path, python: Path) -> dict[str, Any]:
    """The supervisor's orders. Threads and memory settings come from the back end's own description."""
    backend = backends.of_flavour(plan.flavour)
    return {
        "run": plan.run,
        "argv": [str(python), "-u", str(template(backend.name, backend.programs["train"])), str(folder / "job.json")],
        "env": {**backend.variables(plan.job.get("accelerator", "cpu")), "PYTHONUNBUFFERED": "1"},
        "cwd": str(folder),
        "deadline": plan.deadline,
        "grace_s": plan.grace_s,
        "heartbeat_s": plan.heartbeat_s,
        "attempt": plan.attempt,
        "rest": None if plan.rest is None else dict(plan.rest),
    }


def marks(plan: Plan) -> dict[str, str]:
    """What every process of the run carries in its environment."""
    return {processes.TAG: plan.run, processes.STATE_TAG: plan.state}


def await_start(process: subprocess.Popen[bytes], folder: Path, plan: Plan) -> None:
    """Wait for the supervisor's first sign of life; without one, end whatever it has begun."""
    give_up = time.monotonic() + START_PATIENCE_S
    while time.monotonic() < give_up:
        if (folder / "processes.json").exists() or (folder / "exit.json").exists():
            return
        if process.poll() is not None:
            break
        time.sleep(0.02)
    last = (folder / "supervisor.log").read_text(errors="replace").strip().splitlines()[-1:]
    processes.end(plan.run, (plan.state,), 0.0)
    raise Unavailable(
        f"the supervisor did not start: {' '.join(last) or 'no output'}", f"see `{folder}/supervisor.log`"
    )


def alive(machine: MachineRecord) -> bool:
    """Whether the supervisor of this machine still runs."""
    return machine.pid is not None and processes.is_alive(machine.pid, machine.start or "")


def stop(run: str, store: Store, stopping: StopOptions) -> DeletionProof:
    """End every process of the run; its records are not needed for that. Raises TeardownIncomplete when one is left."""
    from cloudtrain.state import identity

    states = identity.carried_by(store, run)
    left = processes.end(run, states, stopping.grace_s)
    if left:
        listed = "; ".join(f"process {p.pid} ({p.command[:60]})" for p in left)
        raise TeardownIncomplete(
            f"run `{run}` still has on this machine (no price per hour): {listed}", f"cloudtrain down {run}"
        )
    whose = " or ".join(f"{processes.STATE_TAG}={state}" for state in states if state)
    mark = f"{processes.TAG}={run}" + (f" with {whose}" if whose else "")
    return DeletionProof("the operating system", f"no process carries {mark}", time.time())


def list_owned() -> Iterator[OwnedResource]:
    """Every process of ours, whatever the records say."""
    for process in processes.tagged():
        yield OwnedResource(process.run, str(process.pid), process.command, inputs={"state": process.state})


def list_lost() -> Iterator[OwnedResource]:
    """Processes of runs whose folder or record has been removed under them: nothing names them any more.

    What a run of theirs has started that works in another folder goes with it, unless a supervisor watches over that
    run. Without the id of a state (an older version's) only what a lost supervisor says counts.
    """
    everybody = processes.tagged()
    lost = [p for p in everybody if processes.has_lost_folder(p) or (p.state and processes.has_lost_record(p))]
    watched = {(p.run, p.state) for p in everybody if p not in lost and is_supervisor(p)}
    runs = {(p.run, p.state) for p in lost if p.state or is_supervisor(p)}
    for process in everybody:
        whose = process.run, process.state
        if whose in runs and (process in lost or (process.state and whose not in watched)):
            inputs = {"start": process.start}
            yield OwnedResource(process.run, str(process.pid), process.command, inputs=inputs, bills=False)


def is_supervisor(process: processes.Process) -> bool:
    """Whether it watches over a run, by its command line."""
    return "supervisor.py" in process.command


def end_lost(owned: OwnedResource) -> bool:
    """Kill such a process; whether it is gone. There is nothing that it could save."""
    pid, start = int(owned.id), str(owned.inputs["start"])
    for _ in range(50):
        if not processes.is_alive(pid, start):
            return True
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)
    return not processes.is_alive(pid, start)


provider = Stack(
    name="local",
    guards=lambda offer, market: GUARDS,
    backends=frozenset({"torch-cpu"}),
    direct=True,
    start=start,
    alive=alive,
    stop=stop,
    list_owned=list_owned,
    lost=Lost(list_lost, end_lost),
)
