"""The trainer's Python environment on a rented machine: found by its key, else made with uv from the bundle's locks.

Key and layout are those of the client's cache, so an environment that an image brings is used as it is.
Standard library only, Python 3.9 to 3.14.
"""

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import threading
import time

import bucket
import flavours
from shipping import read_json, write_json

MANAGED = (3, 12)  # what uv fetches where the machine has none, unless the packages want another


class NoEnvironment(Exception):
    """It cannot be made, and why."""


class WrongAccelerator(Exception):
    """The machine has not what it was rented for, and how that shows."""


class BackEnd:
    """What the bundle's trainer says of itself, and which of its flavours is wanted. Raises NoEnvironment."""

    def __init__(self, bundle):
        supervision = read_json(os.path.join(bundle, "bundle.json")) or {}
        self.folder = os.path.join(bundle, supervision.get("backend", ""))
        try:
            self.about = flavours.read(self.folder)
        except (OSError, ValueError):
            raise NoEnvironment(
                f"the bundle has no description of its trainer `{supervision.get('backend')}`"
            ) from None
        self.flavour = supervision.get("flavour")
        if self.flavour not in self.about["flavours"]:
            raise NoEnvironment(f"this bundle's trainer has no flavour `{self.flavour}`")
        # A simulation's machine has no accelerator: the CPU plays it, and the trainer says so.
        if self.accelerator == os.environ.get("CLOUDTRAIN_PRETEND_ACCELERATOR"):
            self.flavour = flavours.flavour_on(self.about["flavours"], "cpu") or self.flavour

    @property
    def packages(self):
        """What the environment holds."""
        return self.about["flavours"][self.flavour]["packages"]

    @property
    def accelerator(self):
        """What the flavour computes on."""
        return self.about["flavours"][self.flavour]["accelerator"]

    def variables(self, accelerator):
        """The environment variables that a trainer on that accelerator is started with."""
        return self.about["accelerators"].get(accelerator, {}).get("variables", {})

    def program(self, name):
        """The path of one of its programs. Raises KeyError."""
        return os.path.normpath(os.path.join(self.folder, self.about["programs"][name]))

    def look_for_driver(self):
        """Raise WrongAccelerator when the driver's device file is absent: known before gigabytes are fetched for it."""
        about = self.about["accelerators"].get(self.accelerator, {})
        path = about.get("device_file")
        if path and not os.path.exists(path):
            raise WrongAccelerator(about["absent"])


class Maker:
    """Finds or makes the environment of a back end's flavour."""

    def __init__(self, backend, home, check, emit):
        self.backend = backend
        self.tools = os.path.join(home, "tools")
        self.cache = os.environ.get("CLOUDTRAIN_CACHE") or os.path.join(home, "cache")
        self.check = check  # raises when it is time to stop
        self.emit = emit

    def folder(self, version):
        """Where the environment of that version is or will be."""
        name = flavours.folder_name(self.backend.folder, self.backend.flavour, version)
        return os.path.join(self.cache, "environments", name)

    def python(self):
        """The Python of the environment. Raises NoEnvironment, WrongAccelerator, and what `check` raises."""
        try:
            versions = flavours.pythons(self.backend.packages)
            for version in (sys.version_info[:2], *versions):
                if os.path.exists(python_of(self.folder(version))):
                    return python_of(self.folder(version))
            self.backend.look_for_driver()
            version, interpreter = chosen(versions)
            folder = self.folder(version)
            os.makedirs(os.path.dirname(folder), exist_ok=True)
            with open(folder + ".lock", "w", encoding="ascii") as lock:
                self.wait_for(lock)
                if not os.path.exists(python_of(folder)):
                    self.build(folder, interpreter)
            return python_of(folder)
        except OSError as error:
            raise NoEnvironment(f"the environment could not be written: {error.strerror}") from None

    def wait_for(self, lock):
        """Take the lock; another process that makes the same environment is waited for."""
        while True:
            try:
                return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.check()
                time.sleep(0.25)

    def build(self, folder, interpreter):
        """Make it aside and rename it into place."""
        building = folder + ".building"
        shutil.rmtree(building, ignore_errors=True)
        uv = self.uv()
        title = self.backend.about["title"]
        try:
            self.emit(f"making the {title}'s environment")
            self.call([uv, "venv", "--relocatable", "--python", interpreter, building])
            for step in flavours.steps(self.backend.folder, self.backend.packages, title):
                self.install([uv, "pip", "install", "--python", python_of(building), "--no-deps"], step)
            os.rename(building, folder)
        finally:
            shutil.rmtree(building, ignore_errors=True)

    def install(self, uv, step):
        """One step, or what does in its place where it fails."""
        self.emit(step.message)
        try:
            self.call([*uv, *step.arguments], **step.variables)
        except NoEnvironment:
            if step.instead is None:
                raise
            self.install(uv, step.instead)

    def uv(self):
        """The uv program: on PATH, else installed aside with pip, which the system's packages may have to bring."""
        own = os.path.join(self.tools, "bin", "uv")
        found = shutil.which("uv") or (own if os.path.exists(own) else None)
        if found:
            return found
        self.emit("installing uv")
        locked = os.path.join(os.path.dirname(os.path.abspath(__file__)), "uv.lock")
        what = ["--require-hashes", "-r", locked]
        pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--target", self.tools]
        try:
            self.call([*pip, *what])
        except NoEnvironment:
            for manager in ("apt-get", "dnf"):
                if shutil.which(manager):
                    with contextlib.suppress(NoEnvironment):
                        self.call([manager, "-qq" if manager == "apt-get" else "-q", "update"])
                    patience = ["-o", "DPkg::Lock::Timeout=300"] if manager == "apt-get" else []
                    self.call([manager, *patience, "install", "-y", "python3-pip"], DEBIAN_FRONTEND="noninteractive")
            self.call([*pip, *what])
        return own

    def agrees(self, python, program, *arguments):
        """Whether one of the back end's programs ends with 0; not, if it has none of that name."""
        try:
            self.call(
                [python, self.backend.program(program), *arguments], **self.backend.variables(self.backend.accelerator)
            )
        except (KeyError, NoEnvironment):
            return False
        return True

    def call(self, command, **more):
        """Run a program, which ends with us when `check` raises. NoEnvironment with the last of what it said."""
        inherited = {key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "PYTHONPATH")}
        path = os.path.join(self.cache, "environments", "output")
        with open(path, "w+b") as output:
            process = subprocess.Popen(
                command,
                cwd=os.path.dirname(path),
                env=dict(inherited, UV_NO_PROGRESS="1", **more),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
            try:
                while process.poll() is None:
                    self.check()
                    time.sleep(0.1)
            finally:
                process.kill()
                process.wait()
            output.seek(0)
            lines = [line.strip() for line in output.read().decode("utf-8", "replace").splitlines() if line.strip()]
        if process.returncode:
            said = " ".join(lines[-3:])[:400] or f"it ended with {process.returncode}"
            raise NoEnvironment(f"{os.path.basename(command[0])} failed: {said}")


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


def python_of(folder):
    """The Python of an environment."""
    return os.path.join(folder, "bin", "python")


def chosen(versions):
    """(version, interpreter) of one of the versions to make an environment with."""
    own = sys.version_info[:2]
    if own in versions:
        return own, sys.executable
    for version in versions:
        found = shutil.which("python{}.{}".format(*version))
        if found:
            return version, found
    fetched = MANAGED if MANAGED in versions else versions[0]
    return fetched, "{}.{}".format(*fetched)
