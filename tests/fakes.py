"""A trainer without a model: the same job file, events, checkpoints, signals and exit codes, at any speed.

FAKE_TRAINER in its environment is JSON: `steps`, `pause_s` between two, `every` so many steps a checkpoint, `fail` with
a code, `deaf` to SIGTERM; `hold` at a step until it is told to stop or the file `release` is there; `until` a file is
there, which makes the step its last one.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

TRAINER = """
import json, os, signal, sys, time
from pathlib import Path

job = json.loads(Path(sys.argv[1]).read_text())
knobs = json.loads(os.environ.get("FAKE_TRAINER", "{}"))
steps, pause = knobs.get("steps", 20), knobs.get("pause_s", 0.02)
folder = Path(job["checkpoint"]["folder"])
folder.mkdir(parents=True, exist_ok=True)
stop = []
if not knobs.get("deaf"):
    signal.signal(signal.SIGTERM, lambda number, frame: stop.append(number))
else:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)

def say(event, **more):
    print(json.dumps({"event": event, "time": time.time(), **more}), flush=True)

def save(step):
    (folder / str(step)).mkdir(exist_ok=True)
    (folder / "LATEST.tmp").write_text(str(step))
    os.replace(folder / "LATEST.tmp", folder / "LATEST")
    say("checkpoint", step=step, seconds=0.0)

say("start", pid=os.getpid())
if knobs.get("fail"):
    say("error", code=knobs["fail"], message="the fake was told to fail")
    sys.exit(knobs["fail"])
first = int((folder / "LATEST").read_text()) if (folder / "LATEST").exists() else 0
say("data", rows=3, tokens=3000, steps=steps, tokens_trained=900)
held, released, until = knobs.get("hold"), knobs.get("release", ""), knobs.get("until", "")
for step in range(first + 1, steps + 1):
    time.sleep(pause)
    say("step", step=step, of=steps, loss=3.0 / step, lr=1e-3, tokens=100 * step, tokens_per_second=5000.0, peak_bytes=10**8)
    if step % knobs.get("every", 5) == 0:
        save(step)
    while step == held and not stop and not os.path.exists(released):
        time.sleep(0.02)  # until the machine is taken away or the file is there, whenever that is
    if stop:
        save(step)
        say("stopped", reason="signal")
        sys.exit(75)
    if os.path.exists(until):
        steps = step
        break
output = Path(job["output"])
output.mkdir(parents=True, exist_ok=True)
(output / "adapter_config.json").write_text("{}")
(output / "metrics.json").write_text(json.dumps({"steps": steps}))
say("done", steps=steps, tokens=100 * steps, seconds=1.0, train_seconds=1.0, peak_bytes=10**8, loss=0.1)
"""

COUNTED = {
    "rows": 4, "tokens": 400, "tokens_p50": 100, "tokens_max": 100, "steps": 20, "truncated_percent": 0.0,
    "tokens_processed": 400,
}  # fmt: skip
# A trainer's environment in which the trainer and the token counter are fakes and the supervisor is the real one.
PYTHON = f"""#!/bin/sh
case "$*" in
  */check_data.py*) echo '{json.dumps(COUNTED)}' ;;
  */train.py*) for last in "$@"; do :; done; exec {sys.executable} -u "$CLOUDTRAIN_CACHE/trainer.py" "$last" ;;
  *) exec {sys.executable} "$@" ;;
esac
"""
SPEC = (
    "model: HuggingFaceTB/SmolLM2-135M-Instruct\nmethod: lora\ndata: data.jsonl\nmax_steps: 20\nsequence_length: 128\n"
)
ROW = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}


def desk_with_fake_trainer(folder: Path) -> Path:
    """A folder with a spec and data, and `folder/cache`, in which CLOUDTRAIN_CACHE (set to it) has a fake trainer."""
    environment_with_fake_trainer(folder)
    (folder / "cloudtrain.yaml").write_text(SPEC)
    (folder / "data.jsonl").write_text((json.dumps(ROW) + "\n") * 4)
    return folder


def environment_with_fake_trainer(folder: Path) -> Path:
    """The Python of a trainer's environment in `folder/cache`, which CLOUDTRAIN_CACHE names: trainer and counter are fakes."""
    from cloudtrain.trainer import environment

    python = environment._folder("cpu") / "bin" / "python"
    assert folder in python.parents, "CLOUDTRAIN_CACHE is not this folder's"
    python.parent.mkdir(parents=True)
    python.write_text(PYTHON)
    python.chmod(0o755)
    (folder / "cache" / "trainer.py").write_text(TRAINER)
    return python
