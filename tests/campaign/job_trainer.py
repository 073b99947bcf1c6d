"""The trainer of whole runs: every step depends on the one before, so that a result proves the way to it."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

from cloudtrain.trainer import environment

TRAINER = """
import hashlib, json, os, random, signal, sys, time
from pathlib import Path

job = json.loads(Path(sys.argv[1]).read_text())
knobs = json.loads(os.environ.get("FAKE_TRAINER", "{}"))
folder = Path(job["checkpoint"]["folder"])
folder.mkdir(parents=True, exist_ok=True)
stop, chance = [], random.Random(f"{knobs['seed']}-{os.getpid()}")
signal.signal(signal.SIGTERM, lambda number, frame: stop.append(number))

def write(data):
    while data:
        data = data[os.write(1, data):]

def say(event, **more):
    write(json.dumps({"event": event, "time": time.time(), **more}).encode() + b"\\n")

def save(step, state):
    new = folder / f".{step}"
    new.mkdir(exist_ok=True)
    (new / "state").write_text(state)
    (new / "more").write_bytes(state.encode() * chance.randint(1, 200))
    if not (folder / str(step)).exists():
        os.rename(new, folder / str(step))
    (folder / "LATEST.tmp").write_text(str(step))
    os.replace(folder / "LATEST.tmp", folder / "LATEST")
    say("checkpoint", step=step, seconds=0.0)

def noise():
    kind = chance.randrange(6)
    if kind == 0:
        write(chance.randbytes(chance.randint(1, 3000)))
    elif kind == 1:
        write(b"a warning of some library\\n" * chance.randint(1, 40))
    elif kind == 2:
        write(b"progress 10%\\rprogress 20%\\r")
    elif kind == 3 and chance.random() < 0.2:
        write(b"x" * 200000 + b"\\n")
    else:
        return
    write(b"\\n")

first = int((folder / "LATEST").read_text()) if (folder / "LATEST").exists() else 0
state = (folder / str(first) / "state").read_text() if first else ""
say("start", pid=os.getpid(), resumed_from=first)
say("data", rows=3, tokens=3000, steps=knobs["steps"], tokens_trained=900)
if knobs.get("fail"):
    say("error", code=knobs["fail"], message="the trainer was told to fail")
    sys.exit(knobs["fail"])
for step in range(first + 1, knobs["steps"] + 1):
    time.sleep(knobs["pause_s"])
    state = hashlib.sha256(f"{state}/{step}".encode()).hexdigest()
    say("step", step=step, of=knobs["steps"], loss=3.0 / step, lr=1e-3, tokens=100 * step, tokens_per_second=5000.0)
    noise()
    if stop or step % knobs["every"] == 0:
        save(step, state)
    if stop:
        say("stopped", reason="SIGTERM")
        sys.exit(75)
output = Path(job["output"])
output.mkdir(parents=True, exist_ok=True)
(output / "adapter_config.json").write_text(json.dumps({"state": state}))
(output / "metrics.json").write_text(json.dumps({"steps": knobs["steps"]}))
say("done", steps=knobs["steps"], tokens=100 * knobs["steps"], seconds=1.0, train_seconds=1.0, loss=0.1)
"""


def result(steps: int) -> str:
    """What the adapter of a run of so many steps holds."""
    state = ""
    for step in range(1, steps + 1):
        state = hashlib.sha256(f"{state}/{step}".encode()).hexdigest()
    return json.dumps({"state": state})


def install(cache: Path, flavour: str) -> Path:
    """A cache with an environment of that flavour in which every program is this trainer."""
    python = cache / "environments" / environment._folder(flavour).name / "bin" / "python"
    python.parent.mkdir(parents=True)
    (cache / "trainer.py").write_text(TRAINER)
    python.write_text(
        f'#!/bin/sh\nfor last in "$@"; do :; done\nexec {sys.executable} -ISu {cache}/trainer.py "$last"\n'
    )
    python.chmod(0o755)
    return cache
