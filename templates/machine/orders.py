"""The orders of one attempt: the job with this machine's paths, what the supervisor is told, and its start.

Standard library only, Python 3.9 to 3.14.
"""

import os
import subprocess
import sys
import threading
import time

import bucket
from shipping import write_json


def hub_access(address, place):
    """The variables by which a trainer may fetch gated weights: they name a file with the token. Raises Unfetched."""
    if not address:
        return {}
    for wait in (0.0, 1.0, 4.0, 15.0):
        time.sleep(wait)
        status, token = bucket.get(address["url"])
        if status in (200, 403, 404):
            break
    if status != 200 or not token:
        raise bucket.Unfetched(f"the token for gated weights cannot be read ({status})")
    path = os.path.join(place, "hub-token")
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(token)
    return {"HF_TOKEN_PATH": path}


def foresight(rest, ahead_s):
    """By what the supervisor foresees how the run ends, its instants by this machine's clock; None without that."""
    if rest is None:
        return None
    instants = {key: rest[key] - ahead_s for key in ("ends_at", "cap_at") if rest.get(key) is not None}
    return dict(rest, **instants)


def take_at_once(job, most):
    """Split the steps of the optimizer into micro-batches of at most `most` sequences; the steps stay what they are.

    None: as the job has it. Another machine of the run may have room for more, or for fewer. Raises KeyError.
    """
    if most:
        sequences = job["micro_batch"] * job["grad_accum"]
        size = max(size for size in range(1, most + 1) if sequences % size == 0)
        job.update(micro_batch=size, grad_accum=sequences // size)


def write_documents(job, supervision, python, backend, folder):
    """The bundle's job with this machine's paths, and the supervisor's orders with `supervision`. Raises KeyError."""
    bundle = os.path.dirname(backend.folder)
    for key in ("path", "eval_path"):
        if job["data"].get(key):
            job["data"][key] = os.path.join(bundle, job["data"][key])
    job["checkpoint"] = dict(job.get("checkpoint") or {}, folder=os.path.join(folder, "ckpt"))
    job["output"] = os.path.join(folder, "output")
    variables = {"PYTHONUNBUFFERED": "1", "HF_HOME": os.path.join(folder, "hub")}
    path = os.path.join(folder, "job.json")
    write_json(path, job)
    supervision = dict(supervision, run=job["run"], deadline=job["deadline"], grace_s=job["grace_s"], cwd=folder)
    supervision["argv"] = [python, "-u", backend.program("train"), path]
    supervision["env"] = {
        **backend.variables(job.get("accelerator", "cpu")),
        **variables,
        **supervision.get("env", {}),
    }
    write_json(os.path.join(folder, "supervise.json"), supervision)


def supervise(program, folder, log, run, lock):
    """Start a supervisor that holds the lock to its end; returns when it has begun, or has failed to."""
    with open(log, "ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-u", program, folder],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=folder,
            env=dict(os.environ, CLOUDTRAIN_RUN=run),
            start_new_session=True,
            pass_fds=(lock,),
        )
    os.close(lock)
    threading.Thread(target=process.wait, daemon=True).start()  # so that none is left as a zombie
    give_up = time.monotonic() + 20  # the lock ends with the supervisor, and a second agent sees it
    while time.monotonic() < give_up and process.poll() is None:
        if any(os.path.exists(os.path.join(folder, name)) for name in ("processes.json", "exit.json")):
            return
        time.sleep(0.02)
