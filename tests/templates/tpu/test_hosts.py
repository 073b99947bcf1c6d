"""Several processes on this machine's loopback that train as one, as the hosts of a slice do; JAX for real."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.patience import PATIENCE_S
from tests.templates.conftest import Bench, Ended

pytestmark = [pytest.mark.trainer, pytest.mark.xdist_group("tpu")]
CHIPS = 4  # of all hosts together, where nothing else is said
STEPS = 5
PROGRAM = Path(__file__).with_name("host.py")


@dataclass
class Slice:
    """Hosts that share the chips; each has a folder of its own, as it has a disk of its own."""

    bench: Bench
    python: Path
    variables: dict[str, str]
    folder: Path
    hosts: int
    chips: int
    changes: dict[str, Any]
    alive: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def at(self, number: int) -> Path:
        """The folder of a host."""
        return self.folder / f"host-{number}"

    def begin(self, attempt: str, sends: dict[int, tuple[int, signal.Signals]] | None = None) -> None:
        """Start all trainers; `sends` is which host gets which signal after which step."""
        with socket.create_server(("127.0.0.1", 0)) as door:
            port = door.getsockname()[1]
        chips = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={self.chips // self.hosts}"}
        for number in range(self.hosts):
            place = {"CLOUDTRAIN_HOST": str(number), "CLOUDTRAIN_HOSTS": str(self.hosts)}
            place["CLOUDTRAIN_COORDINATOR"] = f"127.0.0.1:{port}"
            saves = {"folder": str(self.at(number) / "ckpt"), "every_s": 600, **self.changes.get("checkpoint", {})}
            job = self.bench.job(self.at(number), **{**self.changes, "checkpoint": saves})
            signals = [str(int(each)) for each in (sends or {}).get(number, ())]
            command = [str(self.python), str(PROGRAM), str(job), *signals]
            with (self.at(number) / f"{attempt}.out").open("wb") as out, (self.at(number) / "errors").open("ab") as err:
                variables = {**self.variables, **chips, **place}
                self.alive.append(subprocess.Popen(command, stdout=out, stderr=err, env=variables))

    def end(self, attempt: str) -> list[Ended]:
        """What every host has said, when all have ended."""
        codes = [process.wait(PATIENCE_S) for process in self.alive]
        self.alive.clear()
        found = []
        for number, code in enumerate(codes):
            lines = (self.at(number) / f"{attempt}.out").read_text().splitlines()
            errors = (self.at(number) / "errors").read_text()
            found.append(Ended(code, [json.loads(line) for line in lines], self.at(number), errors))
        return found

    def run(self, attempt: str, **sends: tuple[int, signal.Signals]) -> list[Ended]:
        """Both; host_1=(3, signal.SIGTERM) is who gets a signal."""
        self.begin(attempt, {int(name.removeprefix("host_")): asked for name, asked in sends.items()})
        return self.end(attempt)

    def fetch(self) -> None:
        """What the machines' agents do before another attempt: everybody has the checkpoints of host 0."""
        for number in range(1, self.hosts):
            shutil.rmtree(self.at(number) / "ckpt", ignore_errors=True)
            shutil.copytree(self.at(0) / "ckpt", self.at(number) / "ckpt")


MakeSlice = Callable[..., Slice]


@pytest.fixture
def slice_of(bench: Bench, jax_python: Path, jax_environment: dict[str, str], tmp_path: Path) -> Iterator[MakeSlice]:
    """Hosts, by their number and changes of the job."""
    made: list[Slice] = []

    def call(hosts: int, chips: int = CHIPS, **changes: Any) -> Slice:
        job = {"compute": "fp32", "micro_batch": CHIPS, "max_steps": STEPS, "lora": {"dropout": 0.1}, **changes}
        of_these = Slice(bench, jax_python, jax_environment, tmp_path / f"{hosts}-{len(made)}", hosts, chips, job)
        made.append(of_these)
        return of_these

    yield call
    for process in (process for each in made for process in each.alive):
        process.kill()
        process.wait()


def test_a_slice_stops_together_and_one_machine_goes_on(slice_of: MakeSlice) -> None:
    """Asked to stop, host 1 takes host 0 with it; losses are those of one host with as many chips."""
    alone = slice_of(1, chips=2).run("whole")[0]
    assert alone.code == 0, alone.stderr[-2000:]
    both = slice_of(2, chips=2)
    stopped = both.run("first", host_1=(3, signal.SIGTERM))
    assert [(each.code, each.one("stopped")["reason"]) for each in stopped] == [(75, "SIGTERM")] * 2, stopped[0].stderr
    assert [list(each.losses) for each in stopped] == [[1, 2, 3]] * 2
    assert [len(each.of("checkpoint")) for each in stopped] == [1, 0]
    assert not [path for path in (both.at(1) / "ckpt").iterdir() if path.name.isdigit()]
    assert {(each.one("start")["hosts"], each.one("start")["devices"]["count"]) for each in stopped} == {(2, 2)}
    one = slice_of(1, chips=2)
    shutil.copytree(both.at(0) / "ckpt", one.at(0) / "ckpt")
    resumed = one.run("second")[0]
    assert resumed.one("start")["resumed_from"] == 3
    losses = {**stopped[0].losses, **resumed.losses}
    assert losses == pytest.approx(alone.losses, rel=1e-5)


@pytest.mark.soak
@pytest.mark.parametrize("hosts", [2, 4])
@pytest.mark.parametrize("more", [{}, {"method": "qlora", "lora": {"dropout": 0.0}}], ids=["lora", "qlora"])
@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGKILL], ids=["term", "kill"])
def test_an_interrupted_slice_resumes_to_equal_losses(
    slice_of: MakeSlice, hosts: int, more: dict[str, Any], stop: signal.Signals
) -> None:
    """A host that is asked to stop, or dies, ends all; then every loss is that of a run that nobody disturbed."""
    job = {**more, "eval": {"every_steps": 2}, "checkpoint": {"every_s": 0, "keep": 9}}
    job["data"] = {"path": str(slice_of(1).bench.data), "eval_fraction": 0.2}
    made = slice_of(hosts, **job)
    whole = made.run("whole")
    assert [each.code for each in whole] == [0] * hosts, whole[0].stderr[-2000:]
    assert all(each.losses == whole[0].losses for each in whole)
    assert (made.at(0) / "output" / "adapter_model.safetensors").exists()
    assert not (made.at(1) / "output").exists()
    alone = slice_of(1, **job).run("whole")[0]
    assert whole[0].losses == pytest.approx(alone.losses, rel=1e-5)
    assert whole[0].one("done")["eval_loss"] == pytest.approx(alone.one("done")["eval_loss"], rel=1e-5)
    again = slice_of(hosts, **job)
    first = again.run("first", **{f"host_{hosts - 1}": (3, stop)})
    codes = [each.code for each in first]
    assert codes == [75] * hosts if stop is signal.SIGTERM else 0 not in codes
    again.fetch()
    second = again.run("second")
    assert [each.code for each in second] == [0] * hosts, second[0].stderr[-2000:]
    assert second[0].one("start")["resumed_from"] in (2, 3)
    assert {**first[0].losses, **second[0].losses} == whole[0].losses
