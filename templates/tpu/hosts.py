"""Several hosts that train as one: they find each other, agree at every step's end, and notice that one is lost.

Every host has a connection to host 0, beside those of JAX: by it a stop that one of them was asked for is known to all
at the same step, and the end of a host in a second. What computes together is JAX's.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

import machine
from failures import Failure, one_line

JOIN_S = 600.0  # within which all trainers of a slice have started: their agents have waited for each other
GREETING_S = 10.0  # within which who has come says its number
HEARTBEAT_S = 60  # JAX ends a process that has heard nothing of the others for so long
LAST_WORDS_S = 5.0  # for a host that is about to end by itself, and can say more than that another one is gone


class Hosts:
    """One host alone: what it knows is all there is to know."""

    here = machine.Host()

    def share(self, value: Any) -> list[Any]:
        """What each host gave, by their numbers; all have to call it. Raises Failure when one of them is gone."""
        return [value]

    def watch(self, lost: Callable[[Failure], None]) -> None:
        """From now on end this process, after `lost`, when another host's has ended."""

    def part(self) -> None:
        """Every host is here, and none needs another one any more."""

    def end(self, code: int) -> int:
        """The exit code of a run that has ended; a host that ends alone does not wait for the others."""
        return code


class Joined(Hosts):
    """One of several."""

    def __init__(self, here: machine.Host, join_s: float = JOIN_S) -> None:
        self.here = here
        self._parted = False
        self._links = _welcome(here, join_s) if here.number == 0 else {0: _knock(here, join_s)}
        self._files = {number: link.makefile("rw") for number, link in self._links.items()}
        self.share(None)  # the door is shut now: its port is JAX's

    def share(self, value: Any) -> list[Any]:
        """As JSON has it."""
        if self.here.number:
            self._say(0, value)
            return list(self._hear(0))
        values = [value, *(self._hear(number) for number in range(1, self.here.hosts))]
        for number in self._files:
            self._say(number, values)
        return values

    def _say(self, number: int, value: Any) -> None:
        try:
            self._files[number].write(json.dumps(value) + "\n")
            self._files[number].flush()
        except OSError:
            raise self._gone(number) from None

    def _hear(self, number: int) -> Any:
        try:
            line = self._files[number].readline()
        except OSError:
            line = ""
        if not line.endswith("\n"):
            raise self._gone(number)
        return json.loads(line)

    def _gone(self, number: int) -> Failure:
        return Failure(f"host {number} of {self.here.hosts} is gone: the others cannot go on without it")

    def watch(self, lost: Callable[[Failure], None]) -> None:
        """In a thread: a step that waits for a lost host does not return."""
        poll = select.poll()
        numbers = {link.fileno(): number for number, link in self._links.items()}
        for each in numbers:
            poll.register(each, select.POLLRDHUP)

        def look() -> None:
            ended = poll.poll()
            if self._parted:
                return
            time.sleep(LAST_WORDS_S)
            if not self._parted:
                lost(self._gone(numbers[ended[0][0]]))
                _leave(1)

        threading.Thread(target=look, name="hosts", daemon=True).start()

    def part(self) -> None:
        """JAX's connections are closed by all at once: by one alone, the others would be ended."""
        import jax

        if not self._parted:
            self._parted = True
            self.share(None)
            jax.distributed.shutdown()

    def end(self, code: int) -> int:
        """Ends the process where others may be left that wait for it: JAX would let it wait for them."""
        if code == 0:
            self.part()
        return code if self._parted else _leave(code)


_joined = Hosts()


def join() -> Hosts:
    """All hosts of this machine as one, before JAX looks for devices. Raises Failure that names who did not come."""
    global _joined  # noqa: PLW0603  # a process is of one machine
    here = machine.this_host()
    if here.hosts == 1 or _joined.here == here:
        return _joined
    _joined = Joined(here)
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.config.update("jax_enable_preemption_service", False)  # it would take the signals from `stop.py`
    try:
        jax.distributed.initialize(
            here.coordinator,
            here.hosts,
            here.number,
            cluster_detection_method="deactivate",
            coordinator_bind_address=f"0.0.0.0:{here.coordinator.rpartition(':')[2]}",
            heartbeat_timeout_seconds=HEARTBEAT_S,
        )
    except (RuntimeError, ValueError) as error:
        raise Failure(f"the {here.hosts} hosts cannot compute together: {one_line(error)}") from None
    return _joined


def joined() -> Hosts:
    """Those that `join` has joined; one alone without."""
    return _joined


def _welcome(here: machine.Host, join_s: float) -> dict[int, socket.socket]:
    """Host 0: the connections of all others, in their order. Raises Failure that names those who did not come."""
    links: dict[int, socket.socket] = {}
    give_up = time.monotonic() + join_s
    with socket.create_server(("", int(here.coordinator.rpartition(":")[2]))) as door:
        while len(links) < here.hosts - 1:
            try:
                door.settimeout(max(0.01, give_up - time.monotonic()))
                link = door.accept()[0]
            except TimeoutError:
                absent = [str(number) for number in range(1, here.hosts) if number not in links]
                raise Failure(
                    f"host {', '.join(absent)} of {here.hosts} did not come within {join_s:.0f} s to {here.coordinator}"
                ) from None
            number = _number(link)
            if 0 < number < here.hosts and number not in links:
                links[number] = link
            else:
                link.close()  # somebody who does not belong to us
    return dict(sorted(links.items()))


def _knock(here: machine.Host, join_s: float) -> socket.socket:
    """Another host: the connection to host 0. Raises Failure when that is not there."""
    address, _, port = here.coordinator.rpartition(":")
    give_up = time.monotonic() + join_s
    while True:
        try:
            link = socket.create_connection((address, int(port)), timeout=max(0.01, give_up - time.monotonic()))
            link.sendall(f"{here.number}\n".encode())
        except OSError:
            if time.monotonic() > give_up:
                raise Failure(f"host 0 of {here.hosts} is not at {here.coordinator} after {join_s:.0f} s") from None
            time.sleep(0.1)
            continue
        link.settimeout(None)
        return link


def _number(link: socket.socket) -> int:
    """Who has come; -1 for who does not say. No byte behind the line is read: more follows at once."""
    found = b""
    try:
        link.settimeout(GREETING_S)
        while not found.endswith(b"\n") and len(found) < 16 and (byte := link.recv(1)):
            found += byte
        link.settimeout(None)
        return int(found)
    except (OSError, ValueError):
        return -1


def _leave(code: int) -> NoReturn:
    """End the process now, whatever its threads do."""
    sys.stderr.flush()
    os._exit(code)
