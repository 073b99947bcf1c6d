"""A line that is cut at random bytes, for tests of what goes over it."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading


class Cutter:
    """A line to a server that resets connections after a random number of bytes, in either direction."""

    def __init__(self, port: int, cuts: int, seed: int) -> None:
        self.port, self.left, self.random = port, cuts, random.Random(seed)
        self.armed = True
        self.lock = threading.Lock()
        self.door = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.door.getsockname()[1]}"
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while True:
            try:
                near, _ = self.door.accept()
                far = socket.create_connection(("127.0.0.1", self.port))
            except OSError:
                return
            side = self.random.choice((0, 1))
            until = int(10 ** self.random.uniform(0, 4.5))
            for number, (source, target) in enumerate(((near, far), (far, near))):
                limit = until if number == side else None
                threading.Thread(target=self.pump, args=(source, target, limit), daemon=True).start()

    def pump(self, source: socket.socket, target: socket.socket, limit: int | None) -> None:
        passed = 0
        try:
            while data := source.recv(65536):
                if limit is not None and passed + len(data) > limit and self.takes_one():
                    target.sendall(data[: limit - passed])
                    for each in (source, target):
                        each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    break
                target.sendall(data)
                passed += len(data)
        except OSError:
            pass
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        source.close()

    def takes_one(self) -> bool:
        with self.lock:
            took = self.armed and self.left > 0
            self.left -= took
            return took
