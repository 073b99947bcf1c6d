"""The first program on a machine, and the scripts that start it: over when it is over, again when it is killed."""

from __future__ import annotations

import ast
import hashlib
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from tests.patience import PATIENCE_S, until
from tests.templates.machine.agent_world import Machine, Mailbox, bundle

pytestmark = pytest.mark.machine


@pytest.fixture
def box() -> Iterator[Mailbox]:
    made = Mailbox()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def machine(tmp_path: Path, box: Mailbox) -> Iterator[Machine]:
    made = Machine(tmp_path, box)
    made.make_environment()
    yield made
    made.off()


def test_a_bundle_with_other_content_is_refused_and_reported(machine: Machine, box: Mailbox) -> None:
    machine.ticket["bundle"]["sha256"] = hashlib.sha256(b"another").hexdigest()
    machine.start()
    assert machine.ends() == 0
    record = box.document("exit.json")
    assert (record["reason"], record["attempt"]) == ("bad_bundle", 1)
    assert not (machine.place() / "bundle").exists()
    machine.start()
    assert machine.ends() == 0
    assert box.order == ["exit.json"]


@pytest.mark.parametrize("lost", ["machine/agent.py", "job.json"])
def test_a_bundle_without_what_it_needs_ends_in_a_word(machine: Machine, box: Mailbox, lost: str) -> None:
    import io
    import tarfile

    made = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(bundle())) as whole, tarfile.open(fileobj=made, mode="w:gz") as part:
        for member in whole.getmembers():
            if member.name != lost:
                part.addfile(member, whole.extractfile(member))
    machine.give(made.getvalue())
    machine.start()
    assert machine.ends() == 0
    assert box.document("exit.json")["reason"] == "bad_bundle"


def test_a_ticket_that_is_late_is_waited_for(machine: Machine, box: Mailbox) -> None:
    box.down = True
    machine.start()
    time.sleep(0.5)
    box.down = False
    assert machine.ends() == 0
    assert box.document("exit.json")["reason"] == "done"


def test_a_machine_that_never_gets_a_ticket_is_over(machine: Machine, box: Mailbox) -> None:
    box.down = True
    machine.start(CLOUDTRAIN_PATIENCE_S="0.5")
    assert machine.ends() == 0


def test_a_second_start_waits_for_the_first(machine: Machine, box: Mailbox) -> None:
    machine.start(FAKE_TRAINER=json.dumps({"pause_s": 0.05}))
    until(box.log)
    first = machine.process
    machine.start()
    assert machine.ends() == 0
    assert first is not None
    assert first.wait(PATIENCE_S) == 0
    assert box.order.count("exit.json") == 1
    assert box.log().count(b'"event": "start"') == 1


def test_the_ticket_can_be_read_by_nobody_else(machine: Machine, box: Mailbox) -> None:
    machine.start()
    assert machine.ends() == 0
    assert (machine.place() / "ticket.json").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "name", ["boot", "agent", "bucket", "shipping", "trainer", "flavours", "notice", "runpod_timer"]
)
def test_a_machine_runs_old_python_and_the_standard_library(name: str) -> None:
    folder = files("cloudtrain.templates").joinpath("machine")
    tree = ast.parse(folder.joinpath(f"{name}.py").read_text(), feature_version=(3, 9))
    imported = {a.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    imported |= {str(n.module).split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    ours = {Path(f.name).stem for f in folder.iterdir()}
    assert imported - ours <= set(sys.stdlib_module_names)
    assert not ours & set(sys.stdlib_module_names), "a module of ours would hide one of Python's"


def test_the_environments_key_is_the_one_of_the_clients_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For every flavour: what an image or an earlier job has made is found, and a changed description is another one."""
    import shutil

    from cloudtrain import backends
    from cloudtrain.trainer import environment

    monkeypatch.setenv("CLOUDTRAIN_CACHE", str(tmp_path))
    torch = backends.of_flavour("cpu")
    shutil.copytree(torch.folder, tmp_path / "torch")
    code = (
        f"import sys; sys.path.insert(0, {str(backends.templates() / 'machine')!r}); import trainer\n"
        f"print(trainer.Maker(trainer.BackEnd({str(tmp_path)!r}), '/home', None, None).folder(sys.version_info[:2]))"
    )

    def on_the_machine(flavour: str) -> str:
        (tmp_path / "bundle.json").write_text(json.dumps({"backend": "torch", "flavour": flavour}))
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    for flavour in torch.flavours:
        assert on_the_machine(flavour) == str(environment._folder(flavour))
    described = (tmp_path / "torch" / "backend.json").read_text()
    (tmp_path / "torch" / "backend.json").write_text(described.replace('"build": "rocm7.2"', '"build": "rocm7.3"'))
    assert on_the_machine("rocm") != str(environment._folder("rocm"))
    assert on_the_machine("cpu") == str(environment._folder("cpu"))


def script(kind: str, machine: Machine) -> str:
    """The start script as the stack sends it."""
    url = machine.box.put("state/runs/r/tickets/1.json", json.dumps(machine.ticket).encode())["url"]
    boot = importlib.import_module("cloudtrain.stacks._lifecycle.boot")
    original, boot.ticket_url = boot.ticket_url, lambda given: url
    try:
        if kind == "aws":
            made = importlib.import_module("cloudtrain.stacks.aws.machine")
            text = str(made.user_data(time.time() + 3600, boot.shell({}, "shutdown -h now")))
            assert len(text.encode()) < 14000, "EC2 takes 16 KiB, and an address with a session token has two"
            return text
        nouns: Any = importlib.import_module("cloudtrain.stacks.gcp.kinds")
        inputs = {"disk_gb": 1, "image": "i", "tags": {}, "expires": time.time() + 3600, "model": "STANDARD"}
        inputs["service_account"] = "cloudtrain-machine@p.iam.gserviceaccount.com"
        items = nouns.machine_properties(inputs)["metadata"]["items"]
        return str(next(item["value"] for item in items if item["key"] == "startup-script"))
    finally:
        boot.ticket_url = original


@pytest.mark.parametrize("kind", ["aws", "gcp"])
def test_the_start_script_restarts_the_job_then_ends_the_machine(
    machine: Machine, box: Mailbox, tmp_path: Path, kind: str
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "shutdown").write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/told\n')
    (tmp_path / "bin" / "shutdown").chmod(0o755)
    environment = {
        **machine.environment,
        "PATH": f"{tmp_path}/bin:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "CLOUDTRAIN_PER_BOOT": str(tmp_path / "per-boot"),
        "CLOUDTRAIN_RETRY_S": "0.2",
        "CLOUDTRAIN_WAITS_S": "0",
        "CLOUDTRAIN_METADATA": "http://127.0.0.1:9",
        "CLOUDTRAIN_POWEROFF": "shutdown -h now",
        "FAKE_TRAINER": json.dumps({"pause_s": 0.05}),
    }
    (tmp_path / "part-001").write_text(script(kind, machine))
    machine.process = subprocess.Popen(["sh", str(tmp_path / "part-001")], env=environment, start_new_session=True)
    try:
        until(box.log)
        machine.kill_agent()
        told = tmp_path / "told"
        until(lambda: told.exists() and "-h now" in told.read_text().splitlines())
        assert box.document("exit.json")["reason"] == "done"
        assert box.log().count(b'"event": "start"') == 1
        assert box.log() == machine.local_log()
        if kind == "aws":
            again = tmp_path / "per-boot" / "cloudtrain-deadline"
            assert again.stat().st_mode & 0o077 == 0, "the ticket's address stands in it"
    finally:
        os.killpg(machine.process.pid, signal.SIGKILL)


def test_a_pod_runs_its_job_then_ends_itself(machine: Machine, box: Mailbox, tmp_path: Path) -> None:
    import shlex

    boot = importlib.import_module("cloudtrain.stacks._lifecycle.boot")
    args = importlib.import_module("cloudtrain.stacks.runpod.pods").timer_args(boot.program())
    assert len(args) < 8000
    url = box.put("state/runs/r/tickets/1.json", json.dumps(machine.ticket).encode())["url"]
    environment = {
        **machine.environment,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "CLOUDTRAIN_TICKET": url,
        "CLOUDTRAIN_DEADLINE": str(time.time() + 3600),
        "CLOUDTRAIN_RUNPOD_URL": "http://127.0.0.1:9",
        "CLOUDTRAIN_RETRY_S": "0.1",
        "RUNPOD_POD_ID": "p",
    }
    with open(tmp_path / "out", "wb") as output:
        machine.process = subprocess.Popen(shlex.split(args), env=environment, stdout=output, start_new_session=True)
    until(lambda: "the job is over" in (tmp_path / "out").read_text())
    assert box.document("exit.json")["reason"] == "done"
    assert machine.process.poll() is None, "a container that ends is started again"


@pytest.mark.parametrize("version", ["3.9", "3.10", "3.12", "3.13", "3.14"])
def test_a_machine_with_another_python_carries_a_run_through(machine: Machine, box: Mailbox, version: str) -> None:
    asked = [f"python{version}", "-c", "import sys; print(sys.executable)"]
    try:
        machine.python = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip(f"Python {version} is not on this machine")
    machine.start(FAKE_TRAINER=json.dumps({"steps": 4}))
    assert machine.ends() == 0
    assert box.document("exit.json")["reason"] == "done"


def test_an_old_python_fetches_one_for_the_tpu_trainer() -> None:
    """Google's TPU image has Python 3.10, and JAX 0.10.2 is for 3.11 and later: uv brings one that the locks are for."""
    from cloudtrain import backends

    tpu = backends.of_flavour("tpu")
    code = (
        f"import sys; sys.path.insert(0, {str(backends.templates() / 'machine')!r}); import flavours, trainer\n"
        "sys.version_info = (3, 10, 12); trainer.shutil.which = lambda name: None\n"
        f"print(trainer.chosen(flavours.pythons({tpu.flavours['tpu'].packages!r})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "((3, 12), '3.12')"


METADATA = [
    (
        {"tpu-env": "ZONE: 'x'\nWORKER_ID: '2'\n", "worker-network-endpoints": "ct-a,ct-b,ct-c"},
        (2, ["ct-a", "ct-b", "ct-c"]),
    ),
    (
        {"agent-worker-number": "1", "worker-network-endpoints": "unknown:unknown:10.0.0.2,unknown:unknown:10.0.0.3"},
        (1, ["10.0.0.2", "10.0.0.3"]),
    ),
    ({"worker-network-endpoints": ""}, (None, [])),
]


@pytest.mark.parametrize(("attributes", "found"), METADATA)
def test_a_host_finds_its_number_and_the_others(attributes: dict[str, str], found: object) -> None:
    """In the words of Compute Engine and of the Cloud TPU API."""
    from cloudtrain import backends

    code = (
        f"import sys; sys.path.insert(0, {str(backends.templates() / 'machine')!r}); import slices\n"
        f"slices.attribute = lambda name: {attributes!r}.get(name, '')\n"
        "slices.socket.gethostname = lambda: 'somewhere'\nprint(slices.google())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(found)
