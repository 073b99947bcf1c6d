"""The startup script of a Google machine, run for real against a pretended metadata server and API."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path

import pytest

from tests.patience import until

METADATA = {
    "instance/service-accounts/default/token": '{"access_token":"PLANTED-SECRET-SA","expires_in":3599}',
    "project/project-id": "p",
    "instance/zone": "projects/123/zones/us-central1-a",
    "instance/name": "ct-1",
}


class Google:
    """Answers metadata and takes deletes."""

    def __init__(self) -> None:
        self.metadata = dict(METADATA)
        self.deleted: list[tuple[str, str]] = []
        self.allowed = True
        google = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                text = google.metadata.get(self.path.removeprefix("/computeMetadata/v1/"))
                flavoured = self.headers.get("Metadata-Flavor") == "Google"
                self._answer(200 if text and flavoured else 404, text or "")

            def do_DELETE(self) -> None:
                google.deleted.append((self.path, str(self.headers.get("Authorization"))))
                self._answer(200 if google.allowed else 403, "{}")

            def _answer(self, code: int, text: str) -> None:
                self.send_response(code)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def google() -> Iterator[Google]:
    made = Google()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def boot(google: Google, tmp_path: Path) -> Iterator[object]:
    started: list[subprocess.Popen[bytes]] = []

    def run(deadline: float, **more: str) -> Path:
        text = files("cloudtrain.templates").joinpath("machine", "gcp_startup.sh").read_text()
        script = tmp_path / "startup.sh"
        script.write_text(text.replace("@DEADLINE@", str(int(deadline))))
        url = f"http://127.0.0.1:{google.server.server_address[1]}"
        environment = {
            "CLOUDTRAIN_METADATA": url,
            "CLOUDTRAIN_COMPUTE": url,
            "CLOUDTRAIN_POWEROFF": f"touch {tmp_path}/off",
            "CLOUDTRAIN_WAITS_S": "0 0",
            **more,
        }
        started.append(subprocess.Popen(["sh", str(script)], env={**os.environ, **environment}, start_new_session=True))
        return tmp_path / "off"

    yield run
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_machine_past_its_deadline_asks_for_its_own_deletion_and_keeps_the_power_meanwhile(
    google: Google, boot: object
) -> None:
    off = boot(time.time() - 121)  # type: ignore[operator]
    until(lambda: google.deleted)
    path, token = google.deleted[0]
    assert path == "/compute/v1/projects/p/zones/us-central1-a/instances/ct-1"
    assert token == "Bearer PLANTED-SECRET-SA"
    assert not off.exists()


def test_a_member_of_a_group_asks_for_the_end_of_the_group(google: Google, boot: object) -> None:
    google.metadata["instance/attributes/created-by"] = "projects/123/zones/z/instanceGroupManagers/g"
    boot(time.time() - 121)  # type: ignore[operator]
    until(lambda: google.deleted)
    assert google.deleted[0][0] == "/compute/v1/projects/123/zones/z/instanceGroupManagers/g"


def test_where_it_may_not_delete_itself_it_powers_off_in_the_end(google: Google, boot: object) -> None:
    google.allowed = False
    off = boot(time.time() - 121)  # type: ignore[operator]
    until(off.exists)
    assert len(google.deleted) == 2


def test_before_googles_own_limit_and_its_slack_it_does_nothing(google: Google, boot: object) -> None:
    off = boot(time.time() - 60)  # type: ignore[operator]
    time.sleep(0.5)
    assert not google.deleted
    assert not off.exists()
