"""The machines of a fake cloud that really run, their doors to it, and a ticker that looks at the clock for them."""

from __future__ import annotations

import itertools
import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from cloudtrain.simulator.network import Link, Server
from cloudtrain.simulator.sandbox import Sandbox

MACHINE_PATH = "/.machine/"
TICK_S = 0.1


class PowerRequest(NamedTuple):
    """What a power program asks for, and in how many seconds."""

    what: Literal["off", "restart", "cancel"]
    seconds: float


class MachineRoom:
    """Empty and without a thread until a machine runs. `environment` is what every machine sees besides its own."""

    def __init__(self) -> None:
        self.environment: dict[str, str] = {}
        self.network = False  # whether every machine has a cable of its own (`link.available()`), which can be cut
        self.reached: list[Server] = []  # the fakes that machines with cables reach, the one that makes them first
        self.restart_s = 0.2  # from the end of a container's process to its next start
        self.running: dict[str, Sandbox] = {}
        self.ended: dict[str, list[Sandbox]] = {}
        self._timers: dict[str, int] = {}
        self._numbers = itertools.count(1)
        self._root: Path | None = None
        self._closed = threading.Event()
        self._ticker: threading.Thread | None = None

    def watch(self, look: Callable[[], None]) -> None:
        """From now on call `look` every tick, until the room is closed: machines do not wait for a client's call."""
        if self._ticker is not None:
            return
        self._closed = closed = threading.Event()

        def tick() -> None:
            while not closed.wait(TICK_S):
                look()

        self._ticker = threading.Thread(target=tick, name="machine room", daemon=True)
        self._ticker.start()

    def make(self, id: str, url: str, environment: Mapping[str, str]) -> Sandbox:  # noqa: A002
        """A cold machine in a fresh folder; `url` is the fake cloud's. One that ran under the name is cut off."""
        self.cut(id)
        if self._root is None:
            self._root = Path(tempfile.mkdtemp(prefix="cloudtrain-machines-"))
        folder = self._root / f"{id}.{next(self._numbers)}"
        link = Link(self.reached) if self.network else None
        board = machine_url(f"http://{link.board[0]}:{self.reached[0].port}" if link else url, id)
        environment = {key: value.replace(machine_url(url, id), board) for key, value in environment.items()}
        sandbox = Sandbox(folder, board, {**self.environment, **environment}, self.restart_s)
        sandbox.link = link
        self.running[id] = sandbox
        return sandbox

    def cut(self, id: str) -> None:  # noqa: A002
        """No process of that machine is left; unknown or cut off before is fine."""
        self._timers.pop(id, None)
        sandbox = self.running.pop(id, None)
        if sandbox is not None:
            sandbox.cut()
            if sandbox.link:
                sandbox.link.remove()
            self.ended.setdefault(id, []).append(sandbox)

    def console(self, id: str) -> str:  # noqa: A002
        """What the machine of that id has printed, dead or alive."""
        all_of_it = [*self.ended.get(id, []), *([self.running[id]] if id in self.running else [])]
        return "".join(each.console() for each in all_of_it)

    def set_timer(self, id: str) -> int:  # noqa: A002
        """A new shutdown timer takes the place of an older one; the number by which it is known."""
        self._timers[id] = next(self._numbers)
        return self._timers[id]

    def timer_holds(self, id: str, number: int) -> bool:  # noqa: A002
        """Whether the machine runs and this timer is still the one that counts."""
        return id in self.running and self._timers.get(id) == number

    def close(self) -> None:
        """Cut everything off, forget it, and remove its folders."""
        self._closed.set()
        ticker, self._ticker = self._ticker, None
        if ticker is not None and ticker is not threading.current_thread():
            ticker.join()
        for id_ in list(self.running):
            self.cut(id_)
        self.ended.clear()
        if self._root is not None:
            shutil.rmtree(self._root, ignore_errors=True)
            self._root = None


def machine_url(url: str, id: str) -> str:  # noqa: A002
    """Where a machine asks for its own affairs: the fake's address in place of the link-local one of a real cloud."""
    return f"{url}{MACHINE_PATH}{id}"


def understood(command: Sequence[str]) -> PowerRequest | None:
    """What `shutdown -h +5` and its like mean; None for what a machine of the fake cannot do."""
    program, *arguments = command
    if program == "shutdown":
        return _of_shutdown(arguments)
    if program in ("init", "telinit"):
        return {"0": PowerRequest("off", 0.0), "6": PowerRequest("restart", 0.0)}.get("".join(arguments))
    if program == "systemctl":
        verbs = [each for each in arguments if not each.startswith("-")]
        program = verbs[0] if len(verbs) == 1 else ""
    if program in ("poweroff", "halt"):
        return PowerRequest("off", 0.0)
    return PowerRequest("restart", 0.0) if program == "reboot" else None


def _of_shutdown(arguments: Sequence[str]) -> PowerRequest | None:
    options = [each for each in arguments if each.startswith("-")]
    times = [each for each in arguments if not each.startswith("-")]
    if "-c" in options:
        return PowerRequest("cancel", 0.0)
    if set(options) - {"-h", "-P", "-H", "-r", "--poweroff", "--halt", "--reboot", "--no-wall"}:
        return None
    what: Literal["off", "restart"] = "restart" if {"-r", "--reboot"} & set(options) else "off"
    time = times[0].removeprefix("+") if times else "1"
    if time == "now":
        return PowerRequest(what, 0.0)
    return PowerRequest(what, 60.0 * int(time)) if time.isdecimal() else None
