"""What whole runs need around them: a cloud whose machines run, a bucket, people with homes; emptied for each trial."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.cloud_with_bucket import Together
from tests.campaign.clouds import TARGETS, WHOLE_RUNS
from tests.campaign.fork_server import MACHINE, SHORT_LEASE, Forked, ForkServer
from tests.campaign.forked_client import ForkedClient
from tests.campaign.job_trainer import install

BUCKET = "bucket-state"
QUICK_S = 0.1  # until a slice is granted, until it is ready, until it is gone: Google takes minutes
STATE = f"s3://{BUCKET}/team?region=us-east-1"


class Rental(NamedTuple):
    """The words for `up` that lead to a machine for a job, the markets to choose from, the trainer's flavour.

    `libraries` are what its commands take long to import.
    """

    words: tuple[str, ...]
    markets: tuple[str, ...]
    flavour: str
    libraries: tuple[str, ...] = ()


RENTALS = {
    "aws": Rental(
        ("--infra", "aws/us-east-1", "--infra", "aws/us-west-2", "--hardware", "cpu-amx"),
        ("--spot", "--on-demand"),
        "cpu",
    ),
    "gce": Rental(("--infra", "gcp/us-central1", "--hardware", "cpu-amx"), ("--spot", "--on-demand"), "cpu"),
    "runpod": Rental(("--infra", "runpod", "--hardware", "mi300x", "--accept-risk"), ("--on-demand",), "rocm"),
    "digitalocean": Rental(
        ("--infra", "digitalocean", "--hardware", "mi350x", "--hardware", "mi325x", "--accept-risk"),
        ("--spot", "--on-demand"),
        "rocm",
    ),
    # On both the processor plays the chips, and what trains is a fake of the TPU trainer: a step of JAX takes longer.
    # us-west4-a has flex-start, the others are rented without a limit on the run.
    "tpu": Rental(
        ("--infra", "gcp/us-west4", "--infra", "gcp/us-central1", "--hardware", "tpu-v5e:1"),
        ("--spot", "--on-demand"),
        "jax",
        libraries=("google.cloud.tpu_v2.services.tpu.transports", "google.protobuf.json_format"),
    ),
    "v6e": Rental(("--infra", "gcp/us-central1", "--hardware", "tpu-v6e:1"), ("--spot", "--on-demand"), "jax"),
}


class Command:
    """A command that somebody has given, until it ends."""

    def __init__(self, person: Person, words: tuple[str, ...]) -> None:
        self.person, self.words = person, words
        with open(person.output, "ab") as output:
            output.write(f"$ cloudtrain {' '.join(words)}\n".encode())
        self.begin_byte = person.output.stat().st_size
        self.process: Forked = person.begin(*words)
        self.began = time.monotonic()
        self.killed = False
        self.begun = False  # whether there was a record of the run before
        self.alone = True  # whether nobody else has done anything meanwhile
        self.troubles = 0  # how many faults had happened when it began

    @property
    def said(self) -> str:
        """What has been printed at this person's since it began."""
        with open(self.person.output, "rb") as file:
            file.seek(self.begin_byte)
            return file.read().decode(errors="replace")


class Person(ForkedClient):
    """Somebody with a home of their own, who gives commands."""

    def __init__(self, folder: Path, world: JobWorld, machine: str) -> None:
        home = folder / "home"
        home.mkdir(parents=True)
        own = {
            MACHINE: machine,
            SHORT_LEASE: "1",
            "HOME": str(home),
            "CLOUDTRAIN_CACHE": str(home / "cache"),
            "CLOUDTRAIN_DEBUG": "1",
        }
        both = world.both
        super().__init__(world.fork_server, folder, both.fake, **both.environment(), **own, CLOUDTRAIN_STATE=STATE)
        self.output = folder / "output.txt"
        self.output.touch()

    def give(self, *words: str) -> Command:
        """Begin a command."""
        return Command(self, words)


class JobWorld:
    """One cloud, for many trials."""

    def __init__(self, name: str, server: ForkServer | None = None) -> None:
        """Commands are forked by `server`, which stays; without one, by one of its own."""
        self.name, self.rental = name, RENTALS[name]
        self.target = WHOLE_RUNS[name]
        self.folder = Path(tempfile.mkdtemp(prefix="cloudtrain-campaign-"))
        self.cache = install(self.folder / "image", self.rental.flavour)
        made: Any = TARGETS[self.target].fake(Clock())
        self.both = Together(made)
        self.fake = made
        self.people = 0
        self.own_server = ForkServer(self.folder, libraries=self.rental.libraries) if server is None else None
        self.fork_server = server or self.own_server

    def begin(self) -> None:
        """Everything empty."""
        self.both.reset()
        self.both.bucket(BUCKET)
        self.fake.machines_run = True
        if self.name == "tpu":
            tpu = self.fake.tpu
            tpu.wait_s = tpu.boot_s = tpu.delete_s = QUICK_S
        self.fake.room.environment.clear()
        self.fake.room.environment.update(
            CLOUDTRAIN_CACHE=str(self.cache), CLOUDTRAIN_RETRY_S="0.2", CLOUDTRAIN_PATIENCE_S="15"
        )

    def person(self, machine: str = "") -> Person:
        """Somebody new, at a machine of this name or at one of their own."""
        self.people += 1
        return Person(self.folder / f"person-{self.people}", self, machine or f"machine-{self.people}")

    def end(self) -> None:
        """Let nothing of a trial live on."""
        self.both.reset()  # the name of the bucket is free again
        for each in self.folder.glob("person-*"):
            shutil.rmtree(each, ignore_errors=True)

    def close(self) -> None:
        """Everything away."""
        if self.own_server is not None:
            self.own_server.close()
        self.both.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def objects(self) -> dict[str, bytes]:
        """What lies in the bucket."""
        return self.both.objects(BUCKET)

    def faults(self) -> list[Any]:
        """The lists of faults, of the cloud and of the bucket where that is another one."""
        return list({id(each): each for each in (self.fake.faults, self.both.buckets.faults)}.values())

    def happened(self) -> int:
        """How many faults have happened."""
        return sum(len(each.happened) for each in self.faults())
