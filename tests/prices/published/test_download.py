"""One file from a loopback server that answers badly: what is too large, slow, short or elsewhere is not taken."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import pytest

from cloudtrain.errors import Unavailable, UsageError
from cloudtrain.prices.published.download import Door
from tests.prices.published.server import Server, redirects, whole

MOST = 5_000_000


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


def door(server: Server, seconds: float = 60.0) -> Door:
    """The server's folder; `files.example` may answer as well."""
    return Door(server.url, ["files.example"], seconds)


def test_a_file_comes_with_its_etag(server: Server) -> None:
    """Asked again with it, nothing comes."""
    server.has({"a": b"some bytes"})
    found = door(server).get("a", MOST)
    assert found is not None
    assert found.data == b"some bytes"
    assert door(server).get("a", MOST, found.etag) is None


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "unannounced"])
def test_a_gigabyte_is_not_read(server: Server, announced: bool) -> None:
    """It stops at the cap, with little memory, whether the length was said or not."""
    sent = []

    def gigabyte(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        if announced:
            handler.send_header("Content-Length", str(1 << 30))
        handler.end_headers()
        block = bytes(1 << 20)
        for _ in range(1 << 10):
            handler.wfile.write(block)
            sent.append(len(block))

    server.files["a"] = gigabyte
    tracemalloc.start()
    try:
        with pytest.raises(UsageError, match="larger than 5 MB"):
            door(server).get("a", MOST)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sum(sent) < 100 << 20  # what the sockets hold is on its way already
    assert peak < 4 * MOST


@pytest.mark.parametrize(
    "to", ["https://elsewhere.example/a", "http://files.example/a", "http://127.0.0.1:9/a", "https://files.example:444/a",
           "https://files.example@elsewhere.example/a", "file:///etc/passwd", "ftp://files.example/a"]
)  # fmt: skip
def test_a_redirect_elsewhere_is_not_followed(server: Server, to: str) -> None:
    """Neither to another host nor over http, nor to another port of this machine; nobody there is asked."""
    server.files["a"] = redirects(to)
    with pytest.raises(UsageError, match=r"not followed|302"):
        door(server).get("a", MOST)


def test_a_redirect_to_an_allowed_host_is_followed(server: Server) -> None:
    """So it ends with who speaks no TLS there, and not with a refusal."""
    server.files["a"] = redirects("https://localhost/a")
    with pytest.raises(Unavailable):
        Door(server.url, ["localhost"], 60.0).get("a", MOST)


def test_a_redirect_within_the_place_is_followed(server: Server) -> None:
    """But not for ever."""
    server.has({"b": b"found"})
    server.files["a"] = redirects(f"{server.url}/b")
    server.files["c"] = redirects(f"{server.url}/c?again")
    server.files["c?again"] = redirects(f"{server.url}/c")
    found = door(server).get("a", MOST)
    assert found is not None
    assert found.data == b"found"
    for number in range(9):
        server.files[f"d{number}"] = redirects(f"{server.url}/d{number + 1}")
    server.has({"d9": b"found"})
    for name in ("c", "d0"):
        with pytest.raises(UsageError, match="302"):
            door(server).get(name, MOST)


def test_a_body_that_is_cut_is_refused(server: Server) -> None:
    """It is shorter than was said."""

    def cut(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b"the beginning")

    server.files["a"] = cut
    with pytest.raises(Unavailable, match="cut short"):
        door(server).get("a", MOST)


@pytest.mark.parametrize("where", ["head", "body"])
def test_a_slow_drip_ends_with_the_time(server: Server, where: str) -> None:
    """A byte now and then never lets a socket time out, so all of it has an end."""

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n" + (b"X: " if where == "head" else b"\r\n"))
        while not server.released.wait(0.05):
            handler.wfile.write(b"a")
            handler.wfile.flush()

    server.files["a"] = drip
    with pytest.raises(Unavailable, match="in time"):
        door(server, 0.4).get("a", MOST)


@pytest.mark.parametrize(
    ("status", "error"), [(404, UsageError), (403, UsageError), (429, Unavailable), (503, Unavailable)]
)
def test_a_status_says_whether_to_try_again(server: Server, status: int, error: type[Exception]) -> None:
    """A wrong address is bad input; a server with a failure answers another time."""
    server.files["a"] = lambda handler: whole(handler, status, b"no")
    with pytest.raises(error, match=str(status)):
        door(server).get("a", MOST)


def test_nobody_there_is_no_answer() -> None:
    """A server that has gone."""
    gone = Server()
    gone.close()
    with pytest.raises(Unavailable, match="does not answer"):
        door(gone).get("a", MOST)


@pytest.mark.parametrize(
    "address", ["http://files.example/x", "ftp://files.example", "files.example/x", "https://me:secret@files.example/x",
                "https://", "https://files.example/a b", "http://127.0.0.1.example/", "https://[::1", "file:///tmp"]
)  # fmt: skip
def test_only_https_or_this_machine_is_asked(address: str) -> None:
    """Anything else is refused before it is resolved."""
    with pytest.raises(UsageError, match="no address that prices are taken from"):
        Door(address, ["files.example"], 1.0)
