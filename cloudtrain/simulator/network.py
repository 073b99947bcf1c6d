"""The cable of a machine that really runs: a network of its own, whose line can be cut or lose everything in silence.

Linux with root, `ip` and `iptables`. The machine finds a fake where everybody does, on 127.0.0.1, because signed
addresses hold that name; its own network leads there over a pair of virtual Ethernet ends. A second pair, the board, is
what needs no cable at a real cloud: metadata and the power switch.
"""

from __future__ import annotations

import itertools
import os
import secrets
import shutil
import subprocess
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Protocol

PREFIX = "ctm"
NOBODY = "02:00:00:00:00:01"  # a hardware address that nothing has
NUMBERS = itertools.count()


class Server(Protocol):
    """A server at a port of 127.0.0.1."""

    @property
    def port(self) -> int:
        """Its number."""

    def listen(self, address: str) -> Callable[[], None]:
        """Answer at the same port of another address too, until what this returns is called."""


class Link:
    """Plugged in when it is made. `remove` takes the network away; processes in it must have ended."""

    def __init__(self, servers: Sequence[Server]) -> None:
        """`servers` are the fakes that it leads to; the first is on the board too. Raises CalledProcessError."""
        forget_dead()
        self.name = f"{PREFIX}{os.getpid()}-{next(NUMBERS)}"
        start, first = free_network()
        self.link, self.board = ((f"{start}{first + n}", f"{start}{first + n + 1}") for n in (1, 5))
        run("ip", "netns", "add", self.name)
        self._inside("ip", "link", "set", "lo", "up")
        for kind, (here, there) in (("cable", self.link), ("board", self.board)):
            near = f"{self.name}{kind[0]}"
            run("ip", "link", "add", near, "type", "veth", "peer", "name", kind, "netns", self.name)
            run("ip", "addr", "add", f"{here}/30", "dev", near)
            run("ip", "link", "set", near, "up")
            self._inside("ip", "addr", "add", f"{there}/30", "dev", kind)
            self._inside("ip", "link", "set", kind, "up")
        self._inside("sh", "-c", "echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet")
        for server in servers:
            leads = ("-d", "127.0.0.1", "-p", "tcp", "--dport", str(server.port), "-j", "DNAT", "--to", self.link[0])
            self._inside("iptables", "-w", "-t", "nat", "-A", "OUTPUT", *leads)
        self.closers = [server.listen(self.link[0]) for server in servers]
        self.closers += [server.listen(self.board[0]) for server in servers[:1]]
        self._inside("iptables", "-w", "-t", "nat", "-A", "POSTROUTING", "-o", "cable", "-j", "MASQUERADE")

    @property
    def command(self) -> tuple[str, ...]:
        """The prefix of a command that is to run in this network."""
        return ("nsenter", f"--net=/run/netns/{self.name}", "--")

    def cut(self) -> None:
        """The cable is out: both ends know."""
        run("ip", "link", "set", f"{self.name}c", "down")

    def repair(self) -> None:
        """It is in again."""
        run("ip", "link", "set", f"{self.name}c", "up")

    def lose(self) -> None:
        """Every packet is lost on its way, in both directions, without an error."""
        run("ip", "neigh", "replace", self.link[1], "lladdr", NOBODY, "dev", f"{self.name}c", "nud", "permanent")
        self._inside("ip", "neigh", "replace", self.link[0], "lladdr", NOBODY, "dev", "cable", "nud", "permanent")

    def find(self) -> None:
        """Packets arrive again."""
        run("ip", "neigh", "del", self.link[1], "dev", f"{self.name}c")
        self._inside("ip", "neigh", "del", self.link[0], "dev", "cable")

    def remove(self) -> None:
        """Nothing of it is left; twice is fine."""
        while self.closers:
            self.closers.pop()()
        remove(self.name)

    def _inside(self, *command: str) -> None:
        run(*self.command, *command)


def run(*command: str) -> None:
    """A command that must succeed."""
    subprocess.run(command, check=True, capture_output=True)


def remove(name: str) -> None:
    """Take a network and its ends away, as far as they are there."""
    for kind in "cb":
        subprocess.run(["ip", "link", "del", f"{name}{kind}"], check=False, capture_output=True)
    subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def forget_dead() -> None:
    """Remove what processes that were killed have left behind."""
    folder = Path("/run/netns")
    for path in folder.glob(f"{PREFIX}*-*") if folder.is_dir() else ():
        owner = path.name.removeprefix(PREFIX).partition("-")[0]
        if owner.isdecimal() and not Path("/proc", owner).exists():
            remove(path.name)


def free_network() -> tuple[str, int]:
    """(198.18.7., 8): the first of eight addresses that nothing here has, out of RFC 2544's for tests."""
    taken = subprocess.run(["ip", "-o", "-4", "addr"], check=True, capture_output=True, text=True).stdout
    while True:
        number = 8 * secrets.randbelow(1 << 14)
        start, first = f"198.{18 + (number >> 16)}.{number >> 8 & 255}.", number & 255
        if f" {start}{first + 1}/" not in taken:
            return start, first


@cache
def available() -> bool:
    """Whether this can be had here."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("ip", "iptables", "nsenter"))):
        return False
    try:
        Link([]).remove()
    except (OSError, subprocess.CalledProcessError):
        return False
    return True
