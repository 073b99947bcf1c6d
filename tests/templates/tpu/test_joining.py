"""How the hosts of a slice find each other and what they tell each other; in threads, without JAX."""

from __future__ import annotations

import importlib.util
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from failures import Failure
from machine import Host

from tests.patience import PATIENCE_S
from tests.trainer_fixtures import TEMPLATES

Part = Callable[[Any], Any]  # what a joined host does


@pytest.fixture(scope="module")
def hosts() -> Any:
    """The module."""
    spec = importlib.util.spec_from_file_location("hosts", TEMPLATES / "tpu" / "hosts.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def port() -> int:
    """One that is free."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        return int(door.getsockname()[1])


def together(hosts: Any, port: int, of: int, parts: dict[int, Part], join_s: float = PATIENCE_S) -> dict[int, Any]:
    """What each of these hosts comes to, of as many as are expected: its part's value, or the Failure's sentence."""

    def one(number: int) -> Any:
        try:
            return parts[number](hosts.Joined(Host(number, of, f"127.0.0.1:{port}"), join_s))
        except Failure as failure:
            return str(failure)

    with ThreadPoolExecutor(len(parts)) as pool:
        return dict(zip(parts, pool.map(one, parts), strict=True))


def test_every_host_learns_what_every_host_gave(hosts: Any, port: int) -> None:
    """In the order of their numbers, round after round."""

    def two_rounds(joined: Any) -> Any:
        number = joined.here.number
        return joined.share("SIGTERM" if number == 2 else ""), joined.share([number])

    found = together(hosts, port, 4, dict.fromkeys(range(4), two_rounds))
    assert list(found.values()) == [(["", "", "SIGTERM", ""], [[0], [1], [2], [3]])] * 4


def test_one_host_alone_asks_nobody(hosts: Any) -> None:
    """And its exit code is what it is."""
    assert hosts.Hosts().share("SIGTERM") == ["SIGTERM"]
    assert hosts.Hosts().end(75) == 75


@pytest.mark.parametrize("here", [0, 2])
def test_a_host_that_does_not_come_is_named(hosts: Any, port: int, here: int) -> None:
    """By host 0; of the others each waits for host 0 alone."""
    found = together(hosts, port, 3, {here: lambda joined: joined}, join_s=0.3)
    absent = "host 1, 2 of 3 did not come within" if here == 0 else "host 0 of 3 is not at 127.0.0.1"
    assert absent in found[here]


def test_a_lost_host_is_named(hosts: Any, port: int) -> None:
    """By the ones that wait for what it has to say."""

    def leave(joined: Any) -> None:
        for file, link in zip(joined._files.values(), joined._links.values(), strict=True):
            file.close()
            link.close()

    found = together(hosts, port, 2, {0: lambda joined: joined.share(None), 1: leave})
    assert found[0] == "host 1 of 2 is gone: the others cannot go on without it"


def test_strangers_at_the_door_are_sent_away(hosts: Any, port: int) -> None:
    """Somebody who says something else, or nothing, is no host."""

    def stranger() -> None:
        for words in (b"GET / HTTP/1.1\r\n\r\n", b"7\n", b""):
            while True:
                try:
                    with socket.create_connection(("127.0.0.1", port)) as link:
                        link.sendall(words)
                        break
                except ConnectionRefusedError:
                    continue

    with ThreadPoolExecutor(1) as pool:
        host_0 = pool.submit(together, hosts, port, 2, {0: lambda joined: joined.share(0)})
        stranger()
        found = together(hosts, port, 2, {1: lambda joined: joined.share(1)})
        assert (host_0.result()[0], found[1]) == ([0, 1], [0, 1])
