"""A server on loopback that hands out a catalogue, well or badly."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Badly = Callable[[BaseHTTPRequestHandler], None]  # writes the whole answer itself


class Server:
    """`files`: name -> its bytes, or who answers in their place. `asked`: name -> how often, with what etag."""

    def __init__(self) -> None:
        self.files: dict[str, bytes | Badly] = {}
        self.asked: list[tuple[str, str]] = []
        self.released = threading.Event()  # of those who answer slowly
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.answer(self)

            def log_message(self, *words: object) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                pass  # a client that goes away in the middle is what is tested

        self._server = Quiet(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        """The folder."""
        return f"http://127.0.0.1:{self._server.server_port}/releases"

    def close(self) -> None:
        """Away."""
        self.released.set()
        self._server.shutdown()
        self._server.server_close()

    def has(self, files: Mapping[str, bytes]) -> None:
        """Hand out these files from now on, beside those of before."""
        self.files.update(files)

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """One request."""
        name = handler.path.removeprefix("/releases/")
        etag = handler.headers.get("If-None-Match", "")
        self.asked.append((name, etag))
        found = self.files.get(name)
        if callable(found):
            return found(handler)
        if found is None:
            return whole(handler, 404, b"nothing here")
        own = f'"{hashlib.sha256(found).hexdigest()[:16]}"'
        if etag == own:
            return whole(handler, 304, b"")
        return whole(handler, 200, found, ETag=own)


def whole(handler: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
    """An answer as it should be."""
    handler.send_response(status)
    for name, value in {**headers, "Content-Length": str(len(body))}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


def redirects(to: str) -> Badly:
    """Sends on to another address."""
    return lambda handler: whole(handler, 302, b"", Location=to)
