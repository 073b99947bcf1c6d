"""A bucket on loopback for one machine, and a machine: a folder in which boot.py is started as a provider would."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import Any

from tests.fakes import TRAINER
from tests.patience import PATIENCE_S

PREFIX = "state/runs/r/"
FORM = {"policy": "PLANTED", "x-amz-signature": "PLANTED-SECRET-FORM"}


class Mailbox:
    """Takes forms below the prefix, gives objects away, and can be ill."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.order: list[str] = []
        self.at_work = 0  # requests that have arrived and are not answered yet
        self.rewritten: list[str] = []
        self.down = False
        self.cut_after: int | None = None  # downloads break after so many bytes, each time
        self.ranges: list[str] = []
        self.slow_s = 0.0  # for each file of a checkpoint
        self.arrived: Callable[[str], None] = lambda name: None  # called with what is asked for, before the answer
        self.lock = threading.Lock()
        box = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with box.working():
                    self.answer(*box.take(str(self.headers["Content-Type"]), body))

            def do_GET(self) -> None:
                with box.working():
                    self.give()

            def give(self) -> None:
                key = self.path.lstrip("/").partition("?")[0]
                box.arrived(key)
                if box.down or key not in box.objects:
                    return self.answer(503 if box.down else 403, b"")
                data = box.objects[key]
                wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
                if wanted:
                    box.ranges.append(wanted[0])
                    data = data[int(wanted[1]) :]
                self.answer(206 if wanted else 200, data, box.cut_after if key.endswith("weights") else None)

            def answer(self, code: int, data: bytes, cut: int | None = None) -> None:
                self.send_response(code)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data if cut is None else data[:cut])
                if cut is not None and cut < len(data):
                    self.close_connection = True

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def take(self, kind: str, body: bytes) -> tuple[int, bytes]:
        """One form. As strict as S3: the fields, the key below the prefix, the file last."""
        if self.down:
            return 503, b"SlowDown"
        edge = kind.partition("boundary=")[2].encode()
        parts = body.split(b"--" + edge)
        fields = {}
        for part in parts[1:-1]:
            head, _, value = part[2:-2].partition(b"\r\n\r\n")
            fields[re.search(rb'name="([^"]+)"', head)[1].decode()] = value  # type: ignore[index]
        key = fields["key"].decode()
        asked = {name: fields.get(name, b"").decode() for name in FORM}
        if asked != FORM or not key.startswith(PREFIX) or list(fields)[-1] != "file" or parts[-1] != b"--\r\n":
            return 403, b"AccessDenied"
        name = key.removeprefix(PREFIX)
        self.arrived(name)
        time.sleep(self.slow_s if name.startswith("ckpt/") else 0)
        lasting = name.startswith(("log/", "ckpt/")) and name != "ckpt/LATEST"
        if lasting and self.objects.get(key, fields["file"]) != fields["file"]:
            self.rewritten.append(name)
        self.objects[key] = fields["file"]
        self.order.append(name)
        return 204, b""

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Count a request while it is worked on; one whose sender has died meanwhile is nobody's fault."""
        with self.lock:
            self.at_work += 1
        try:
            with contextlib.suppress(ConnectionError):
                yield
        finally:
            with self.lock:
                self.at_work -= 1

    def last_but_heartbeats(self) -> str:
        """What was written last, heartbeats apart: a second thread of the agent sends those, at any time."""
        return [name for name in self.order if name != "hb.json"][-1]

    def get(self, name: str) -> bytes | None:
        """An object of the run."""
        return self.objects.get(PREFIX + name)

    def document(self, name: str) -> Any:
        """A JSON object of the run, or None."""
        data = self.get(name)
        return None if data is None else json.loads(data)

    def log(self, start: int = 0) -> bytes:
        """The log from a byte on, read as a client does: by the next chunk's known name."""
        data = b""
        while (chunk := self.get(f"log/{start + len(data):016d}")) is not None:
            data += chunk
        return data

    def put(self, key: str, data: bytes) -> dict[str, Any]:
        """Place an object; {"url", "sha256", "bytes"} of it."""
        self.objects[key] = data
        return {"url": f"{self.url}/{key}?sig=PLANTED-SECRET-URL", "sha256": hashlib.sha256(data).hexdigest(),
                "bytes": len(data)}  # fmt: skip


def bundle(trainer: str = TRAINER, **job: Any) -> bytes:
    """A bundle with a trainer of its own, as a client packs it."""
    templates = files("cloudtrain.templates")
    held = {
        f"machine/{f.name}": f.read_bytes() for f in templates.joinpath("machine").iterdir() if f.name[-3:] == ".py"
    }
    for name in ("torch/requirements.lock", "torch/torch.lock", "torch/backend.json", "supervisor/supervisor.py"):
        held[name] = templates.joinpath(*name.split("/")).read_bytes()
    document = {"model": "hub/model", "data": {"path": "data/d.jsonl"}, "accelerator": "cpu", **job}
    document["checkpoint"] = {"every_s": 300, "keep": 2}
    held |= {"torch/train.py": trainer.encode(), "job.json": json.dumps(document).encode(), "data/d.jsonl": b"{}\n"}
    held["bundle.json"] = b'{"backend": "torch", "flavour": "cpu"}'
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        for name, data in held.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return made.getvalue()


class Machine:
    """Starts boot.py, again whenever it is killed, and takes everything with it when it is switched off."""

    def __init__(self, folder: Path, box: Mailbox, python: str = sys.executable) -> None:
        self.home, self.box, self.python = folder / "home", box, python
        self.cache = folder / "cache"
        self.environment = {
            "PATH": os.environ["PATH"],
            "CLOUDTRAIN_HOME": str(self.home),
            "CLOUDTRAIN_PATIENCE_S": str(PATIENCE_S),
        }
        self.environment |= {"CLOUDTRAIN_CACHE": str(self.cache)}
        self.process: subprocess.Popen[bytes] | None = None
        now = time.time()
        post = {"url": box.url + "/", "fields": FORM, "prefix": PREFIX}
        self.ticket: dict[str, Any] = {
            **{
                "version": 1,
                "run": f"r-{os.getpid()}-{folder.name}",
                "attempt": 1,
                "deadline": now + 3600,
                "grace_s": 2,
            },
            **{"heartbeat_s": 0.2, "no_progress_s": 60, "model": None, "resume": None, "log_bytes": 0},
            **{"post": post, "kill": {"url": f"{box.url}/{PREFIX}kill"}, "end": {"kind": "runpod"}},
        }
        self.give(bundle())

    def give(self, packed: bytes) -> None:
        """Put a bundle into the ticket."""
        self.ticket["bundle"] = self.box.put("bundles/b.tar.gz", packed)

    def make_environment(self) -> None:
        """The trainer's environment as an image brings it: here it is this Python."""
        from cloudtrain.trainer import environment

        with contextlib.ExitStack() as stack:
            before = os.environ.get("CLOUDTRAIN_CACHE")
            os.environ["CLOUDTRAIN_CACHE"] = str(self.cache)
            stack.callback(restore, before)
            folder = environment._folder("cpu") / "bin"
        folder.mkdir(parents=True)
        (folder / "python").symlink_to(sys.executable)

    def start(self, **more: str) -> None:
        """Switch it on."""
        url = self.box.put("state/runs/r/tickets/1.json", json.dumps(self.ticket).encode())["url"]
        boot = files("cloudtrain.templates").joinpath("machine", "boot.py").read_text()
        self.process = subprocess.Popen(
            [self.python, "-u", "-c", boot],
            env={**self.environment, "CLOUDTRAIN_TICKET": url, **more},
            stdout=subprocess.DEVNULL if "QUIET" in more else None,
            start_new_session=True,
        )

    def ends(self) -> int:
        """The exit code of the agent."""
        assert self.process is not None
        return self.process.wait(PATIENCE_S)

    def place(self) -> Path:
        """Where the agent keeps the run."""
        return next(path for path in self.home.iterdir() if path.is_dir() and path.name != "cache")

    def local_log(self) -> bytes:
        """The log as the trainer wrote it."""
        return b"".join(path.read_bytes() for path in sorted((self.place() / "run" / "log").iterdir()))

    def kill(self, name: str = "") -> None:
        """kill -9 of the agent, or of the supervisor or trainer."""
        assert self.process is not None
        if name:
            os.kill(json.loads((self.place() / "run" / "processes.json").read_text())[name], signal.SIGKILL)
        else:
            self.process.kill()
            self.process.wait()

    def kill_agent(self) -> None:
        """kill -9 of the agent where something else started it."""
        words = f"agent.py\0{self.place()}".encode()
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if folder.name.isdigit() and words in (folder / "cmdline").read_bytes():
                    os.kill(int(folder.name), signal.SIGKILL)

    def off(self) -> None:
        """Power off."""
        tag = f"CLOUDTRAIN_RUN={self.ticket['run']}".encode()
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if folder.name.isdigit() and tag in (folder / "environ").read_bytes().split(b"\0"):
                    os.kill(int(folder.name), signal.SIGKILL)


def restore(before: str | None) -> None:
    """Put CLOUDTRAIN_CACHE back."""
    os.environ.pop("CLOUDTRAIN_CACHE", None)
    if before is not None:
        os.environ["CLOUDTRAIN_CACHE"] = before
