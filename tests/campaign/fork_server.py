"""Commands of the product as processes that need not start Python: forked from one process that has imported all of it.

    python -m tests.campaign.fork_server SOCKET [LIBRARY...] pulumi-fake-engine

It imports the libraries too, and listens on a Unix socket and ends when its standard input closes, with everything that it has forked. A request is
one JSON line: `{words, folder, environment, output, errors}` for a command, `{engine: {...}, environment}` for an
operation of the fake engine. Answers are JSON lines: `{pid}`, whatever an engine has to say, and `{exit}`. A process of
a request can be killed like any other.
"""

from __future__ import annotations

import contextlib
import json
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from tests import thrift
from tests.campaign import fake_engine

ROOT = Path(__file__).parent.parent.parent
# The last word makes a forked engine look like one, for who ends it: by number and by command line.
NAME = "pulumi-fake-engine"
MACHINE = "CAMPAIGN_MACHINE"  # the variable that names the machine of a person
SHORT_LEASE = "CAMPAIGN_SHORT_LEASE"  # the one that lets a lease on a run die soon after its holder
LIBRARIES = ("boto3", "botocore.session", "obstore", "obstore.store", "requests", "google.auth", "yaml", "tabulate")
AWS_SERVICES = ("ec2", "iam", "pricing", "scheduler", "service-quotas", "ssm", "sts")
# Fakes, what is loaded by the name of a provider, what is shipped to machines, and what runs at its import.
LEFT_OUT = {f"cloudtrain.{name}" for name in ("simulator", "pricing", "stacks", "templates", "__main__")}


class ForkServer:
    """The forking process, from outside."""

    def __init__(self, folder: Path, product: str = str(ROOT), libraries: tuple[str, ...] = ()) -> None:
        """`product` is where Python finds the package; `libraries` is what commands of one cloud import besides."""
        self.address = str(folder / "fork-server.sock")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.campaign.fork_server", self.address, *libraries, NAME],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": product},
            cwd=folder,
        )
        assert self.process.stdout is not None
        if not self.process.stdout.readline():
            raise RuntimeError("the fork server did not start")

    def start(
        self, words: tuple[str, ...], folder: Path, environment: Mapping[str, str], output: Path, errors: Path
    ) -> Forked:
        """Begin a command; what it prints is added to the files, which may be one."""
        asked = {"words": words, "folder": str(folder), "environment": dict(environment)}
        return Forked(self.address, {**asked, "output": str(output), "errors": str(errors)})

    def close(self) -> None:
        """End it, and everything that it has forked."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


class Forked:
    """A process of the fork server: its number, what it says, its end; else as a `subprocess.Popen`."""

    def __init__(self, address: str, asked: Mapping[str, Any]) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(address)
        self.socket.sendall(json.dumps(asked).encode() + b"\n")
        self.lines = self.socket.makefile("rb")
        self.pid = int(json.loads(self.lines.readline())["pid"])
        self.code: int | None = None

    def say(self) -> dict[str, Any] | None:
        """The next thing it says; None when it has ended."""
        line = self.lines.readline()
        said: dict[str, Any] = json.loads(line) if line else {"exit": -9}
        if "exit" not in said:
            return said
        self.code = said["exit"]
        self.lines.close()
        self.socket.close()
        return None

    @property
    def returncode(self) -> int | None:
        """Its exit code, as far as it is known."""
        return self.code

    def poll(self) -> int | None:
        """Its exit code once it has ended; negative for a signal."""
        while self.code is None and select.select([self.socket], [], [], 0)[0]:
            self.say()
        return self.code

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, when it has ended. Raises TimeoutExpired when it does not end in so many seconds."""
        while self.code is None:
            if not select.select([self.socket], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(NAME, timeout or 0.0)
            self.say()
        return self.code

    def kill(self) -> None:
        """SIGKILL, if it lives."""
        if self.poll() is None:
            kill(self.pid)


def kill(pid: int) -> bool:
    """SIGKILL to a process of a fork server; whether it was one: numbers are used again."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if NAME.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes():
            return False
        signal.pidfd_send_signal(handle, signal.SIGKILL)  # to the process that was looked at, and to no other
        return True
    except (ProcessLookupError, FileNotFoundError):
        return False
    finally:
        os.close(handle)


def serve(address: str) -> None:
    """Fork on request until the standard input closes."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(64)
    wake, ring = os.pipe()
    os.set_blocking(ring, False)
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(ring)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # meant for whoever started us, whose end is ours
    children: dict[int, socket.socket] = {}
    print("ready", flush=True)
    while True:
        sources: list[Any] = [listener, wake, 0]
        ready = select.select(sources, [], [])[0]
        if listener in ready:
            door = listener.accept()[0]
            with door.makefile("rb") as lines:
                asked = json.loads(lines.readline())
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                for number in (signal.SIGCHLD, signal.SIGTERM):
                    signal.signal(number, signal.SIG_DFL)
                signal.signal(signal.SIGINT, signal.default_int_handler)
                listener.close()
                become(asked, door)
            children[pid] = door
            tell(door, {"pid": pid})
        if wake in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(wake, 4096)
        bury(children)
        if 0 in ready and not os.read(0, 1):
            for pid in children:
                os.kill(pid, signal.SIGKILL)
            return


def bury(children: dict[int, socket.socket]) -> None:
    """Collect what has ended, and tell whoever asked for it."""
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        door = children.pop(pid)
        tell(door, {"exit": os.waitstatus_to_exitcode(status)})
        door.close()


def tell(door: socket.socket, document: Mapping[str, Any]) -> None:
    """A line for who asked, if somebody still listens."""
    with contextlib.suppress(OSError):
        door.sendall(json.dumps(document).encode() + b"\n")


def become(asked: Mapping[str, Any], door: socket.socket) -> None:
    """What a forked process does; it never returns."""
    code = 1
    try:
        os.setsid()
        os.environ.clear()
        os.environ.update(asked["environment"])
        move(asked["environment"][MACHINE], SHORT_LEASE in asked["environment"])
        if "engine" in asked:
            code = fake_engine.work(asked["engine"], lambda document: tell(door, document))
        else:
            os.chdir(asked["folder"])
            output = os.open(asked["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            errors = os.open(asked["errors"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            nothing = os.open(os.devnull, os.O_RDONLY)
            for source, target in ((nothing, 0), (output, 1), (errors, 2)):
                os.dup2(source, target)
            code = import_module("cloudtrain.cli").run(asked["words"])
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def move(machine: str, short_lease: bool) -> None:
    """Let this process be one of another machine: another name, and processes that the others cannot see."""
    from cloudtrain.state import lease

    socket.gethostname = lambda: machine
    values: dict[str, Any] = {
        "this_machine": lambda: machine,
        **({"BEAT_S": 1.0, "LEASE_S": 4.0} if short_lease else {}),
    }
    for name, value in values.items():
        setattr(lease, name, value)


def modules_of(package: str) -> Iterator[str]:
    """Every module of the product that a command may import, but for what is left out."""
    own = import_module(package).__path__[:1]  # behind it, a checkout has all of its folders
    for each in pkgutil.iter_modules(own, f"{package}."):
        if each.name not in LEFT_OUT:
            yield each.name
            yield from modules_of(each.name) if each.ispkg else ()


def warm(address: str, libraries: list[str]) -> None:
    """Import what commands use, put the fake engine in the place of the real one, and let nothing be collected twice."""
    import gc

    from boto3.session import Session

    from cloudtrain.providers import PriceSource, Stack, load, names

    for name in (*LIBRARIES, *libraries, *modules_of("cloudtrain")):
        import_module(name)
    for name in names("stacks"):
        load("stacks", name, Stack)
    for name in names("pricing"):
        load("pricing", name, PriceSource)
    thrift.collect_rarely()
    thrift.read_data_files_once()
    session = Session("nobody", "nothing", region_name="us-east-1")
    for service in AWS_SERVICES:
        session.client(service)  # reads what every client of it reads
    fake_engine.take_place(address)
    gc.freeze()


if __name__ == "__main__":
    warm(sys.argv[1], sys.argv[2:-1])
    serve(sys.argv[1])
