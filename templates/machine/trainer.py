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
import time

import flavours
from shipping import read_json

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
        named = about.get("device_file") or ()
        files = [named] if isinstance(named, str) else named  # drivers of several generations have one each
        if files and not any(map(os.path.exists, files)):
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
