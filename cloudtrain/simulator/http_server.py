"""The HTTP front of a fake cloud: a real server on loopback that performs, refuses, loses or delays what it is sent."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qs, urlsplit

from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.faults import TRANSPORT, Faults, FaultTable
from cloudtrain.simulator.guests import MACHINE_PATH, MachineRoom, understood
from cloudtrain.simulator.ledger import Ledger

if TYPE_CHECKING:
    from cloudtrain.simulator.sandbox import Sandbox


class Request(NamedTuple):
    """What arrived. Header names are in lower case."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes
    target: str  # the path with its query, as it was sent


class Reply(NamedTuple):
    """What is sent back."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = {}
    cut: bool = False  # whether the connection drops in the middle of it
    seconds_a_byte: float = 0.0  # how slowly its second half comes; 0: at once


class Fake:
    """What every fake cloud has, whatever it speaks: a clock, a ledger, faults, the list of calls it got."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.fault_table: FaultTable = []  # (call, faults that a campaign may let happen at it)
        self.clock = clock or Clock()
        self.ledger = Ledger(self.clock)
        self.faults = Faults()
        self.calls: list[str] = []
        self.slow_s = 0.0  # from "sent" to "exists", for every mutating call
        self.machines_run = False  # whether machines are real processes; say so before one is made
        self.room = MachineRoom()

    def environment(self) -> dict[str, str]:
        """The variables with which a client finds this cloud, planted credentials included."""
        raise NotImplementedError

    def stop(self) -> None:
        """Close the doors."""
        raise NotImplementedError

    def leftovers(self) -> list[str]:
        """Everything that still exists or costs money, described: the ledger's and what is free but ours."""
        return [f"{entry.what} {entry.id}" for entry in self.ledger.running()]


class Front(Fake):
    """A fake cloud that speaks HTTP. A cloud overrides `call_of`, `mutates`, `perform` and `refuse`."""

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__(clock)
        front = self

        class Handler(_Handler):
            cloud = front

        self._handler = Handler
        self._server = self._serve("127.0.0.1", 0)
        self.room.reached = [self]

    def _serve(self, address: str, port: int) -> ThreadingHTTPServer:
        server = ThreadingHTTPServer((address, port), self._handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return server

    @property
    def port(self) -> int:
        """Of 127.0.0.1."""
        return int(self._server.server_address[1])

    def listen(self, address: str) -> Callable[[], None]:
        """Answer at the same port of another address too, until what this returns is called."""
        server = self._serve(address, self.port)

        def close() -> None:
            server.shutdown()
            server.server_close()

        return close

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def stop(self) -> None:
        self.room.close()
        self._server.shutdown()
        self._server.server_close()

    def reset(self, clock: Clock | None = None) -> None:
        """An empty cloud behind the same door, without faults, with another clock."""
        raise NotImplementedError

    def run_due(self) -> None:
        """Let happen what is due; a cloud with more than its clock to look at adds to it."""
        self.clock.run_due()

    def keep_time(self) -> None:
        """From now on what is due happens by itself: machines that run do not wait until somebody calls."""
        if self.machines_run and not self.clock.virtual:
            self.room.watch(self.run_due)

    def run_machine(self, id: str, environment: Mapping[str, str]) -> Sandbox | None:  # noqa: A002
        """A cold machine for an id, or None when machines of this fake do not run."""
        if not self.machines_run:
            return None
        return self.room.make(id, self.url, environment)

    def asked_from_inside(self, id: str, path: str, request: Request) -> Reply:  # noqa: A002
        """What a machine's metadata service answers to a request for `path`, which starts with a slash."""
        return Reply(404)

    def power_off(self, id: str) -> None:  # noqa: A002
        """What the cloud does with a machine that has powered itself off."""
        raise NotImplementedError

    def restart(self, id: str) -> None:  # noqa: A002
        """What the cloud does with a machine that starts itself again."""
        raise NotImplementedError

    def switch_off(self, id: str) -> None:  # noqa: A002
        """Let a machine be off, by whomever: also one that has no switch of its own."""
        self.power_off(id)

    def crash(self, id: str) -> None:  # noqa: A002
        """Let a machine break."""
        raise NotImplementedError

    def call_of(self, request: Request) -> str:
        """The vendor's name of the call, by which faults find it: `RunInstances`, `instances.insert`."""
        raise NotImplementedError

    def mutates(self, call: str) -> bool:
        """Whether the call makes, changes or removes something."""
        raise NotImplementedError

    def perform(self, call: str, request: Request) -> Reply:
        """Do it, under the clock's lock, and answer as the vendor does."""
        raise NotImplementedError

    def refuse(self, kind: str) -> Reply:
        """The vendor's answer for `throttled` and `unavailable`."""
        raise NotImplementedError

    def answer(self, request: Request) -> Reply | None:
        """The reply, or None: drop the connection."""
        if request.path.startswith(MACHINE_PATH):
            return self._answer_inside(request)
        call = self.call_of(request)
        fault = self.faults.take(call, *TRANSPORT)
        self.calls.append(call)
        self.keep_time()
        if fault and fault.kind == "dropped":
            return None
        if fault and fault.kind in ("throttled", "unavailable"):
            return self.refuse(fault.kind)
        if fault and fault.kind == "late":
            self.clock.at(self.clock.now() + fault.seconds, lambda: self._perform_late(call, request))
            return None
        if self.slow_s and self.mutates(call):
            time.sleep(self.slow_s)  # continues when the client dies, as a real request does
        reply = self._perform(call, request)
        if fault and fault.kind == "cut":
            return reply._replace(cut=True)
        return None if fault and fault.kind == "lost_reply" else reply

    def _answer_inside(self, request: Request) -> Reply:
        id_, _, rest = request.path.removeprefix(MACHINE_PATH).partition("/")
        if id_ not in self.room.running:
            return Reply(404)
        if rest != "power":
            return self.asked_from_inside(id_, f"/{rest}", request)
        power_request = understood(json.loads(request.body))
        if power_request is None or type(self).power_off is Front.power_off:
            return Reply(400, b"this machine cannot do that")
        with self.clock.lock:
            number = self.room.set_timer(id_)
            if power_request.what != "cancel":
                act = self.power_off if power_request.what == "off" else self.restart
                due = self.clock.now() + power_request.seconds
                self.clock.at(due, lambda: act(id_) if self.room.timer_holds(id_, number) else None)
            self.clock.run_due()
        return Reply(200)

    def _perform(self, call: str, request: Request) -> Reply:
        with self.clock.lock:
            self.clock.run_due()
            return self.perform(call, request)

    def _perform_late(self, call: str, request: Request) -> None:
        self._perform(call, request)


class _Handler(BaseHTTPRequestHandler):
    cloud: Front
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self._body(headers)
        query = parse_qs(parts.query, keep_blank_values=True)
        reply = self.cloud.answer(Request(self.command, parts.path, query, headers, body, self.path))
        if reply is None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            if name.lower() not in ("content-length", "connection", "server", "date"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        if self.command != "HEAD":
            self._write(reply)
        self.close_connection |= reply.cut

    def _write(self, reply: Reply) -> None:
        middle = len(reply.body) // 2 if reply.cut or reply.seconds_a_byte else len(reply.body)
        self.wfile.write(reply.body[:middle])
        if reply.seconds_a_byte:
            for byte in reply.body[middle:]:
                time.sleep(reply.seconds_a_byte)
                self.wfile.write(bytes([byte]))

    def _body(self, headers: Mapping[str, str]) -> bytes:
        """What was sent, in one piece or in chunks, as Go's clients do."""
        if headers.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(int(headers.get("content-length") or 0))
        chunks = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _serve  # noqa: N815

    def handle(self) -> None:
        try:
            super().handle()
        except (ConnectionError, OSError, ValueError):
            self.close_connection = True  # the client, or we, went away in the middle

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Nothing on the terminal."""
