"""The trainer's Python environment on a rented machine: found by its key, else made with uv from the bundle's locks.

Key and layout are those of the client's cache, so an environment that an image brings is used as it is.
Standard library only, Python 3.9 to 3.14.
"""

import contextlib
import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import threading
import time

from shipping import read_json, write_json

INDEX_PATIENCE_S = 10  # for PyTorch's own package index, which not every network reaches
PYTHONS = ((3, 13), (3, 12), (3, 11), (3, 14))  # in this order where the machine has several
MANAGED = (3, 12)  # what uv fetches where the machine has none
LOCKS = {"cpu": "requirements.lock", "longcat": "requirements-longcat.lock", "rocm": "requirements.lock",
         "xpu": "requirements.lock", "mps": "requirements.lock"}  # fmt: skip
BUILDS = {"cpu": "cpu", "longcat": "cpu", "rocm": "rocm7.2", "xpu": "xpu", "mps": "cpu"}
DEVICE_FILES = {"rocm": "/dev/kfd", "xpu": "/dev/dri"}  # of a flavour's driver: without it the rest is in vain
ANY_BUILD = ("cpu", "longcat", "mps")  # PyPI's build of PyTorch does too


class NoEnvironment(Exception):
    """It cannot be made, and why."""


class WrongAccelerator(Exception):
    """The machine has not what it was rented for, and how that shows."""


class Maker:
    """Finds or makes the environment of a flavour."""

    def __init__(self, flavour, bundle, home, check, say):
        if flavour not in LOCKS:
            raise NoEnvironment(f"this bundle's trainer has no flavour `{flavour}`")
        # A simulation's machine has no accelerator: the CPU plays it, and the trainer says so.
        self.flavour = "cpu" if flavour == os.environ.get("CLOUDTRAIN_PRETEND_ACCELERATOR") else flavour
        self.torch = os.path.join(bundle, "torch")
        self.tools = os.path.join(home, "tools")
        self.cache = os.environ.get("CLOUDTRAIN_CACHE") or os.path.join(home, "cache")
        self.check = check  # raises when it is time to stop
        self.say = say

    def key(self, version):
        """The key of runs/environment.py, for a version of Python like (3, 12)."""
        about = (
            f"Flavour(lock={LOCKS[self.flavour]!r}, torch_backend={BUILDS[self.flavour]!r}, "
            f"any_build={self.flavour in ANY_BUILD})"
        )
        key = hashlib.sha256(f"{about} {tuple(version)} {sys.platform} {platform.machine()}".encode())
        for name in (LOCKS[self.flavour], "torch.lock"):
            with open(os.path.join(self.torch, name), "rb") as file:
                key.update(file.read())
        return key.hexdigest()[:16]

    def folder(self, version):
        """Where the environment of that version is or will be."""
        return os.path.join(self.cache, "environments", f"{self.flavour}-{self.key(version)}")

    def python(self):
        """The Python of the environment. Raises NoEnvironment, WrongAccelerator, and what `check` raises."""
        try:
            for version in (sys.version_info[:2], *PYTHONS):
                if os.path.exists(python_of(self.folder(version))):
                    return python_of(self.folder(version))
            look_for_driver(self.flavour)
            version, interpreter = chosen()
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
        try:
            self.say("making the trainer's environment")
            self.call([uv, "venv", "--relocatable", "--python", interpreter, building])
            install = [uv, "pip", "install", "--python", python_of(building), "--no-deps"]
            self.install_torch(install)
            self.say("installing the trainer's packages")
            self.call([*install, "--require-hashes", "--requirements", os.path.join(self.torch, LOCKS[self.flavour])])
            os.rename(building, folder)
        finally:
            shutil.rmtree(building, ignore_errors=True)

    def install_torch(self, install):
        """PyTorch's own build for the accelerator, else PyPI's where that one does too."""
        lock = os.path.join(self.torch, "torch.lock")
        with open(lock, encoding="utf-8") as file:
            wanted = next(line.split()[0] for line in file if line.startswith("torch=="))
        self.say(f"installing {wanted} for {BUILDS[self.flavour]}")
        patience = {"UV_HTTP_TIMEOUT": str(INDEX_PATIENCE_S), "UV_HTTP_RETRIES": "0"}
        try:
            self.call([*install, "--torch-backend", BUILDS[self.flavour], wanted], **patience)
        except NoEnvironment:
            if self.flavour not in ANY_BUILD:
                raise
            self.say(f"PyTorch's own index cannot be reached: installing PyPI's larger build of {wanted}")
            self.call([*install, "--require-hashes", "--requirements", lock])

    def uv(self):
        """The uv program: on PATH, else installed aside with pip, which the system's packages may have to bring."""
        own = os.path.join(self.tools, "bin", "uv")
        found = shutil.which("uv") or (own if os.path.exists(own) else None)
        if found:
            return found
        self.say("installing uv")
        locked = os.path.join(self.torch, "image-tools.lock")
        what = ["--require-hashes", "-r", locked] if os.path.exists(locked) else ["uv"]
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


def write_documents(job, told, python, bundle, folder):
    """The bundle's job with this machine's paths, and what the supervisor is told beside `told`. Raises KeyError."""
    for key in ("path", "eval_path"):
        if job["data"].get(key):
            job["data"][key] = os.path.join(bundle, job["data"][key])
    job["checkpoint"] = dict(job.get("checkpoint") or {}, folder=os.path.join(folder, "ckpt"))
    job["output"] = os.path.join(folder, "output")
    environments = read_json(os.path.join(bundle, "torch", "environment.json")) or {}
    variables = {"PYTHONUNBUFFERED": "1", "HF_HOME": os.path.join(folder, "hub")}
    path = os.path.join(folder, "job.json")
    write_json(path, job)
    told = dict(told, run=job["run"], deadline=job["deadline"], grace_s=job["grace_s"], cwd=folder)
    told["argv"] = [python, "-u", os.path.join(bundle, "torch", "train.py"), path]
    told["env"] = {**environments.get(job.get("accelerator", "cpu"), {}), **variables}
    write_json(os.path.join(folder, "supervise.json"), told)


def look_for_driver(flavour):
    """Raise WrongAccelerator when the driver's device file is absent: known before gigabytes are fetched for it."""
    path = DEVICE_FILES.get(flavour)
    if path and not os.path.exists(path):
        raise WrongAccelerator(f"this machine has no {flavour} driver ({path} is absent)")


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


def chosen():
    """(version, interpreter) to make an environment with."""
    own = sys.version_info[:2]
    if own in PYTHONS:
        return own, sys.executable
    for version in PYTHONS:
        found = shutil.which("python{}.{}".format(*version))
        if found:
            return version, found
    return MANAGED, "{}.{}".format(*MANAGED)
