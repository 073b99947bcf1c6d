"""The agent on a machine with a fake trainer, against a bucket on loopback."""

from __future__ import annotations

import contextlib
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from cloudtrain import backends
from tests.patience import at_some_pace, until
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
    yield from a_machine(tmp_path, box)


def a_machine(folder: Path, box: Mailbox) -> Generator[Machine]:
    """A machine that has its environment, and is off afterwards."""
    made = Machine(folder, box)
    made.make_environment()
    try:
        yield made
    finally:
        made.off()


def knobs(**more: object) -> str:
    return json.dumps(more)


def test_a_run_comes_home_whole_and_its_exit_record_last(machine: Machine, box: Mailbox) -> None:
    machine.ticket["heartbeat_s"] = 5  # so that the last piece of log goes because it is the last
    machine.start()
    assert machine.ends() == 0
    record = box.document("exit.json")
    assert (record["reason"], record["code"], record["attempt"], record["step"]) == ("done", 0, 1, 20)
    assert hashlib.sha256(box.log()).digest() == hashlib.sha256(machine.local_log()).digest()
    assert record["log_bytes"] == len(box.log())
    assert box.last_but_heartbeats() == "exit.json"
    assert {"output/adapter_config.json", "output/metrics.json", "ckpt/LATEST"} <= set(box.order)
    assert box.get("ckpt/LATEST") == b"20\n"
    assert box.rewritten == []


def test_heartbeats_tell_the_phase_and_events_are_separate_objects(machine: Machine, box: Mailbox) -> None:
    machine.start(FAKE_TRAINER=knobs(pause_s=0.05))
    until(lambda: (box.document("hb.json") or {}).get("step"))
    beat = box.document("hb.json")
    assert (beat["phase"], beat["preempted"], beat["attempt"]) == ("training", False, 1)
    assert machine.ends() == 0
    lines = [json.loads(box.get(name) or b"") for name in box.order if name.startswith("events.jsonl.d/")]
    assert [line["event"] for line in lines if line["actor"] == "supervisor"] == ["started", "ended"]


def test_bytes_of_earlier_attempts_come_before_this_ones(machine: Machine, box: Mailbox) -> None:
    machine.ticket["log_bytes"] = 1000
    machine.start()
    assert machine.ends() == 0
    assert box.log(1000) == machine.local_log()
    assert box.document("exit.json")["log_bytes"] == 1000 + len(machine.local_log())


def test_a_mailbox_that_is_down_for_a_while_loses_nothing(machine: Machine, box: Mailbox) -> None:
    machine.start(FAKE_TRAINER=knobs(pause_s=0.02))
    until(lambda: box.get("hb.json"))
    until(box.log)
    box.down = True
    until((machine.place() / "run" / "exit.json").exists)
    assert box.get("exit.json") is None
    box.down = False
    assert machine.ends() == 0
    assert box.log() == machine.local_log()
    assert box.document("exit.json")["reason"] == "done"


@pytest.mark.parametrize("moment", ["log", "ckpt", "late"])
def test_an_agent_that_is_killed_goes_on_where_it_was(machine: Machine, box: Mailbox, moment: str) -> None:
    words = knobs(pause_s=0.05)
    machine.start(FAKE_TRAINER=words)
    if moment == "late":
        until(lambda: list(machine.home.glob("*/run/exit.json")))
    else:
        until(lambda: any(name.startswith(moment) for name in box.order))
    machine.kill()
    machine.start(FAKE_TRAINER=words)
    assert machine.ends() == 0
    assert box.log() == machine.local_log()
    assert box.log().count(b'"event": "start"') == 1
    assert box.rewritten == []
    assert box.document("exit.json")["reason"] == "done"
    machine.start()
    assert machine.ends() == 0, "there is nothing left to do"
    assert box.order.count("exit.json") == 1


def test_a_dead_supervisor_is_restarted_and_the_trainer_resumes(machine: Machine, box: Mailbox) -> None:
    machine.start(FAKE_TRAINER=knobs(pause_s=0.05, every=2))
    until(lambda: box.get("ckpt/LATEST"))
    machine.kill("supervisor")
    assert machine.ends() == 0
    assert box.document("exit.json")["reason"] == "done"
    assert box.log() == machine.local_log()
    assert box.log().count(b'"event": "start"') == 2


def test_a_stop_request_in_the_mailbox_leaves_a_checkpoint(machine: Machine, box: Mailbox) -> None:
    machine.start(FAKE_TRAINER=knobs(steps=10000, pause_s=0.02))
    until(box.log)
    box.put("state/runs/r/kill", b"")
    assert machine.ends() == 0
    assert box.document("exit.json")["reason"] == "cancelled"
    assert b'"stopped"' in box.log()
    last = json.loads(box.log().splitlines()[-2])
    assert box.get("ckpt/LATEST") == f"{last['step']}\n".encode()


def test_its_time_is_over_before_the_machines(tmp_path: Path, box: Mailbox) -> None:
    def play(factor: float) -> None:
        with contextlib.closing(a_machine(tmp_path / str(factor), box)) as machines:
            machine = next(machines)
            machine.ticket["deadline"] = time.time() + 6 * factor
            machine.start(FAKE_TRAINER=knobs(steps=10**6, pause_s=0.02))
            assert machine.ends() == 0
            record = box.document("exit.json")
            assert record["reason"] == "deadline"
            assert record["step"] > 0
            assert record["ended_at"] < machine.ticket["deadline"]

    at_some_pace(play)


def test_a_trainer_that_makes_no_progress_is_ended(machine: Machine, box: Mailbox) -> None:
    machine.ticket["no_progress_s"] = 0.5
    machine.start(FAKE_TRAINER=knobs(pause_s=600, deaf=True))
    assert machine.ends() == 0
    assert box.document("exit.json")["reason"] == "no_progress"


@pytest.mark.parametrize(
    ("code", "reason"), [(64, "bad_spec"), (65, "bad_data"), (70, "wrong_accelerator"), (1, "failed")]
)
def test_a_trainer_that_fails_is_reported_in_its_own_words(
    machine: Machine, box: Mailbox, code: int, reason: str
) -> None:
    machine.start(FAKE_TRAINER=knobs(fail=code))
    assert machine.ends() == 0
    record = box.document("exit.json")
    assert (record["reason"], record["code"], record["message"]) == (reason, code, "the fake was told to fail")
    assert not any(name.startswith("output/") for name in box.order)


def test_an_attempt_resumes_from_the_checkpoint_of_the_ticket(machine: Machine, box: Mailbox) -> None:
    file = box.put("old/weights", b"w" * 300_000)
    machine.ticket |= {"attempt": 2, "resume": {"step": 15, "files": [{"path": "deep/adapter.bin", **file}]}}
    machine.start()
    assert machine.ends() == 0
    steps = [json.loads(line)["step"] for line in box.log().splitlines() if b'"step", "time"' in line]
    assert steps[0] == 16
    assert (machine.place() / "run" / "ckpt" / "15" / "deep" / "adapter.bin").stat().st_size == 300_000
    assert not any(name.startswith("ckpt/15") for name in box.order)


def test_weights_that_are_cut_again_and_again_arrive_whole(machine: Machine, box: Mailbox) -> None:
    data = hashlib.sha256(b"x").digest() * 8000
    box.cut_after = 60_000
    machine.ticket["model"] = {"folder": "m", "files": [{"path": "model.safetensors", **box.put("m/weights", data)}]}
    machine.start()
    assert machine.ends() == 0
    assert (machine.place() / "models" / "m" / "model.safetensors").read_bytes() == data
    assert box.ranges[:2] == ["bytes=60000-", "bytes=120000-"]
    job = json.loads((machine.place() / "run" / "job.json").read_text())
    assert job["model"] == str(machine.place() / "models" / "m")


@pytest.mark.parametrize("fault", ["another", "absent"])
def test_weights_that_cannot_be_had_end_in_a_word(machine: Machine, box: Mailbox, fault: str) -> None:
    file = box.put("m/weights", b"abc")
    machine.ticket["model"] = {"folder": "m", "files": [{"path": "w", **file}]}
    box.objects["m/weights"] = b"abd"
    if fault == "absent":
        del box.objects["m/weights"]
    machine.start()
    assert machine.ends() == 0
    record = box.document("exit.json")
    assert record["reason"] == "no_weights"
    assert "PLANTED" not in json.dumps(record)


def test_an_environment_that_cannot_be_made_ends_in_a_word(machine: Machine, box: Mailbox, tmp_path: Path) -> None:
    machine.environment["CLOUDTRAIN_CACHE"] = str(tmp_path / "empty")
    (tmp_path / "uv").write_text("#!/bin/sh\necho no index here >&2\nexit 2\n")
    (tmp_path / "uv").chmod(0o755)
    machine.environment["PATH"] = f"{tmp_path}:{machine.environment['PATH']}"
    machine.start()
    assert machine.ends() == 0
    record = box.document("exit.json")
    assert record["reason"] == "no_environment"
    assert "no index here" in record["message"]


def test_the_trainer_gets_no_secret(machine: Machine, box: Mailbox) -> None:
    spy = "import os\nprint(dict(os.environ))\n"
    machine.give(bundle(spy))
    machine.start(RUNPOD_API_KEY="PLANTED-SECRET-RUNPOD")
    assert machine.ends() == 0
    assert b"CLOUDTRAIN_RUN" in box.log()
    assert b"PLANTED" not in box.log()


def test_a_large_log_comes_in_small_pieces(machine: Machine, box: Mailbox) -> None:
    machine.give(bundle("for i in range(60000): print('x' * 40, i)\n"))
    machine.start()
    assert machine.ends() == 0
    assert box.log() == machine.local_log()
    assert max(len(box.get(name) or b"") for name in box.order if name.startswith("log/")) == 65536


def test_a_checkpoint_removed_meanwhile_is_never_half_there(machine: Machine, box: Mailbox) -> None:
    trainer = """
import json, os, shutil, sys, time
from pathlib import Path
job = json.loads(Path(sys.argv[1]).read_text())
folder = Path(job["checkpoint"]["folder"])
for step in range(1, 200):
    part = folder / ".partial"
    part.mkdir(parents=True)
    for number in range(8):
        (part / f"{number}.bin").write_bytes(bytes([step]) * 20000)
    part.rename(folder / str(step))
    (folder / ".LATEST").write_text(f"{step}\\n")
    os.replace(folder / ".LATEST", folder / "LATEST")
    shutil.rmtree(folder / str(step - 1), ignore_errors=True)
    time.sleep(0.02)
"""
    machine.give(bundle(trainer))
    box.slow_s = 0.05
    machine.start()
    assert machine.ends() == 0
    assert box.get("ckpt/LATEST") == b"199\n"
    sent = [name for name in box.order if name.startswith("ckpt/")]
    for position, name in enumerate(sent):
        if name == "ckpt/LATEST":
            assert len({each.split("/")[1] for each in sent[position - 8 : position]}) == 1
    assert sent.count("ckpt/LATEST") * 9 == len(sent), "every checkpoint that was begun was finished"
    assert 3 <= sent.count("ckpt/LATEST") < 199, "some are passed over, none starves"
    assert len([name for name in box.order if name.startswith("ckpt/199/")]) == 8


def test_a_token_for_gated_weights_reaches_the_trainer_alone(machine: Machine, box: Mailbox) -> None:
    """As a file that only its user reads, named by a variable; in no document, no log, no event."""
    token = "hf_PlantedSecretOfTheHub"
    machine.ticket["hub_token"] = {"url": box.put("state/runs/r/hub-token", token.encode())["url"]}
    machine.start()
    assert machine.ends() == 0
    assert box.document("exit.json")["reason"] == "done"
    kept = machine.place() / "hub-token"
    assert (kept.read_text(), kept.stat().st_mode & 0o777) == (token, 0o600)
    supervise = json.loads((machine.place() / "run" / "supervise.json").read_text())
    assert supervise["env"]["HF_TOKEN_PATH"] == str(kept)
    holding = [path.name for path in machine.home.rglob("*") if path.is_file() and token.encode() in path.read_bytes()]
    assert holding == ["hub-token"]
    assert [key for key, data in box.objects.items() if token.encode() in data] == ["state/runs/r/hub-token"]


def test_a_token_that_is_gone_ends_the_attempt(machine: Machine, box: Mailbox) -> None:
    """Nothing is trained; the reason is said without an address."""
    machine.ticket["hub_token"] = {"url": f"{box.url}/state/runs/r/hub-token?sig=PLANTED-SECRET-URL"}
    machine.start()
    assert machine.ends() == 0
    record = box.document("exit.json")
    assert record["reason"] == "no_weights"
    assert record["message"] == "the token for gated weights cannot be read (403)"


def test_what_is_foreseen_is_by_the_machines_own_clock(machine: Machine, box: Mailbox) -> None:
    """Instants of the ticket are the bucket's; a rest that will not do stops the job with a checkpoint."""
    machine.ticket["rest"] = {
        **{"along": 0.0, "after_s": 0.0, "ends_at": time.time() + 3600, "cap_at": time.time() + 600},
        "stop_above_cap": True,
    }
    machine.start(FAKE_TRAINER=knobs(steps=100_000, pause_s=0.02, every=10_000))
    assert machine.ends() == 0
    record = box.document("exit.json")
    assert record["reason"] == "over_cap"
    assert box.get("ckpt/LATEST") == f"{record['step']}\n".encode()
    assert record["paced"]["left_s"][0] > 600
    asked = "import sys; sys.path.insert(0, sys.argv[1]); import orders; print(orders.foresight({'ends_at': 9}, 2))"
    program = [sys.executable, "-c", asked, str(backends.templates() / "machine")]
    assert subprocess.check_output(program, text=True) == "{'ends_at': 7}\n"
