"""A model hub on loopback that answers what it is told to."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "0123456789abcdef" * 2 + "01234567"


class Hub:
    """A hub that answers what it is told to, and remembers what was asked with which token."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, Any]] = {}
        self.asked: list[tuple[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append((self.path, self.headers.get("Authorization", "")))
                status, body = outer.answers.get(self.path, (404, b""))
                self.send_response(status)
                content = body if isinstance(body, bytes) else json.dumps(body).encode()
                if status in (302, 307):
                    self.send_header("Location", body)
                    content = b""
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server.server_port}"

    def close(self) -> None:
        """Away."""
        self.server.shutdown()
        self.server.server_close()

    def has(self, hub_id: str, *files: str, commit: str = COMMIT, gated: object = False) -> None:
        """A repository with these files, whose content is their name."""
        listed = [{"rfilename": name} for name in files]
        self.answers[f"/api/models/{hub_id}/revision/main"] = (200, {"sha": commit, "siblings": listed, "gated": gated})
        for name in files:
            self.answers[f"/{hub_id}/resolve/{commit}/{name}"] = (200, name.encode())
