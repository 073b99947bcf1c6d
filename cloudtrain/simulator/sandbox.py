"""One machine of a fake cloud that really runs: processes with a folder of their own and a power switch that works.

Linux with root, or with user namespaces: a pid namespace, so that nothing survives. Elsewhere a process group, and
every process that carries the machine's mark in its environment.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

from cloudtrain.simulator.network import Link

MARK = "CLOUDTRAIN_SIMULATOR_MACHINE"
POWER_PROGRAMS = ("shutdown", "poweroff", "halt", "reboot", "init", "telinit", "systemctl", "systemd-run")
# The keeper holds the switch: when our end of its input closes, because we say so or because we are dead, all goes.
_MACHINE = '"$@" </dev/null >>"$CONSOLE" 2>&1 & read -r _; kill -9 0'
_CONTAINER = (
    'while :; do "$@" </dev/null >>"$CONSOLE" 2>&1; echo "$?" >>"$EXITS"; sleep "$RESTART_S"; done & '
    "read -r _; kill -9 0"
)
# What the first process of a machine does: start the script, and be there for its orphans.
_FIRST = '"$@" & while :; do wait; sleep 5; done'
_STUB = """#!{python} -IS
import http.client, json, os, sys
program = os.path.basename(sys.argv[0])
try:
    door = http.client.HTTPConnection("{host}", {port}, timeout=30)
    door.request("POST", "{path}", json.dumps([program, *sys.argv[1:]]), {{"Content-Type": "application/json"}})
    answer = door.getresponse()
except OSError:
    sys.exit(program + ": nobody holds the power switch of this machine")
words = answer.read().decode()
sys.exit(0 if answer.status == 200 else program + ": " + words)
"""
PATIENCE_S = 10.0


def played_tpu(chips: int) -> dict[str, str]:
    """The variables of a machine whose TPU chips the processor plays: JAX finds as many devices."""
    return {
        "CLOUDTRAIN_PRETEND_ACCELERATOR": "tpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={chips}",
    }


class Sandbox:
    """Made cold; `boot` or `run` starts it, `cut` ends it for good. `folder` stays for who wants to look."""

    link: Link | None = None  # its network, where it has one of its own

    def __init__(self, folder: Path, url: str, environment: Mapping[str, str], restart_s: float = 0.2) -> None:
        """`url` is the machine's own door at the fake cloud, below which its power programs ask."""
        self.folder = folder
        self._mark = uuid.uuid4().hex
        self._keeper: subprocess.Popen[bytes] | None = None
        for name in ("bin", "home", "tmp", "per-boot"):
            (folder / name).mkdir(parents=True)
        self.environment = {
            "LANG": "C.UTF-8",
            "HOME": str(folder / "home"),
            "TMPDIR": str(folder / "tmp"),
            "CLOUDTRAIN_HOME": str(folder / "cloudtrain"),
            "CLOUDTRAIN_PER_BOOT": str(folder / "per-boot"),
            **environment,
            MARK: self._mark,
        }
        # Always first on the path: the real `shutdown` would be that of the machine that simulates.
        path = environment.get("PATH") or os.environ.get("PATH") or os.defpath
        self.environment["PATH"] = f"{folder / 'bin'}:{path}"
        self._keeping = {
            "PATH": os.environ.get("PATH") or os.defpath,
            "CONSOLE": str(folder / "console"),
            "EXITS": str(folder / "exits"),
            "RESTART_S": str(restart_s),
        }
        address, _, path = url.removeprefix("http://").partition("/")
        host, _, port = address.rpartition(":")
        text = _STUB.format(python=sys.executable, host=host, port=port, path=f"/{path}/power")
        for name in POWER_PROGRAMS:
            _write_program(folder / "bin" / name, text.encode())

    def boot(self, script: bytes) -> None:
        """Start as a virtual machine whose first boot runs this script."""
        _write_program(self.folder / "startup-script", script)
        self._start(_MACHINE, ["sh", "-c", _FIRST, "first", str(self.folder / "startup-script")])

    def boot_again(self, with_script: bool) -> None:
        """Start it once more on the same disk: what lies in per-boot, and the script where the cloud does that."""
        self.cut()
        programs = [str(each) for each in sorted((self.folder / "per-boot").iterdir())]
        programs += [str(self.folder / "startup-script")] if with_script else []
        self._start(
            _MACHINE, ["sh", "-c", f'for each in "$@"; do "$each"; done; set -- true; {_FIRST}', "x", *programs]
        )

    def run(self, arguments: Sequence[str]) -> None:
        """Start as a container with this process; it is started again whenever it ends."""
        self._start(_CONTAINER, arguments)

    def cut(self) -> None:
        """Cut the power: when this returns, no process of it is left."""
        keeper, self._keeper = self._keeper, None
        if keeper is None:
            return
        assert keeper.stdin
        keeper.stdin.close()
        try:
            keeper.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(keeper.pid, signal.SIGKILL)
            keeper.wait()
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until and self.tell(signal.SIGKILL):
            time.sleep(0.005)

    def tell(self, number: signal.Signals, first_only: bool = False) -> int:
        """Send a signal to every process of it, or to the first; to how many."""
        found = [pid for pid in self.processes() if not first_only or _is_first(pid)]
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return len(found)

    def processes(self) -> Iterator[int]:
        """The processes that carry its mark."""
        mark = f"{MARK}={self._mark}".encode()
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    yield int(entry.name)

    def console(self) -> str:
        """What it has printed so far."""
        path = self.folder / "console"
        return path.read_text(errors="replace") if path.exists() else ""

    def exits(self) -> list[int]:
        """With which codes the container's process has ended so far."""
        path = self.folder / "exits"
        return [int(line) for line in path.read_text().splitlines()] if path.exists() else []

    def _start(self, keeper: str, arguments: Sequence[str]) -> None:
        self._keeper = subprocess.Popen(
            # env -i: the machine sees nothing of the keeper's variables, nor of ours.
            ["sh", "-c", keeper, "keeper", *self._network(), *namespace(), *self._clean(), *arguments],
            env=self._keeping,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self.folder,
            start_new_session=True,
        )

    def _network(self) -> tuple[str, ...]:
        return self.link.command if self.link else ()

    def _clean(self) -> list[str]:
        return [sys.executable, "-IS", "-c", _EXEC, str(self._environment_file())]

    def _environment_file(self) -> Path:
        # By a file: an argument could be read by everybody, and there are keys in it.
        path = self.folder / "environment"
        path.touch(mode=0o600)
        path.write_bytes("\0".join(f"{key}={value}" for key, value in self.environment.items()).encode())
        return path


_EXEC = (
    "import os,sys;"
    "e=dict(x.split('=',1) for x in open(sys.argv[1]).read().split(chr(0)));"
    "os.execvpe(sys.argv[2],sys.argv[2:],e)"
)


@cache
def namespace() -> tuple[str, ...]:
    """The words in front of a command that give it a pid namespace of its own; none where that cannot be had."""
    base = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
    for command in (base, (*base, "--user", "--map-root-user")):
        try:
            tried = subprocess.run([*command, "true"], capture_output=True, timeout=PATIENCE_S, check=False)
        except (OSError, subprocess.TimeoutExpired):
            continue
        if tried.returncode == 0:
            return command
    return ()


def _is_first(pid: int) -> bool:
    """Whether it is process 1 of its namespace; without namespaces any is."""
    if not namespace():
        return True
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("NSpid:"):
                return line.split()[-1] == "1"
    return False


def _write_program(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o755)
