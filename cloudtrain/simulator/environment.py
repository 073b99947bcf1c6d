"""The world of one simulation: a fake cloud with machines that run, a bucket, an environment that leads nowhere else.

While it is open, the variables of this process point to it, real credentials are out of reach, and everything that is
written for a while lies in one folder. When it is closed, no process, no folder and no variable of it is left.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Collection, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

BUCKET = "simulation"
MARK = "CLOUDTRAIN_SIMULATOR_WORLD"
# Where clients of the clouds find an account, or another way to it, beside the providers' own credentials.
OF_ACCOUNTS = ("AWS_", "GOOGLE_", "GCLOUD_", "GCE_", "CLOUDSDK_", "PULUMI_", "BOTO_")
TIMING = "10,12,0.5,0.1"  # request, in-flight, consistency, poll in seconds: a busy machine answers late
PATIENCE_S = 10.0


class World:
    """A context manager; `both` is the cloud with its bucket, `folder` what vanishes with it."""

    def __init__(self, provider: str, cache: Path, more: Mapping[str, str], keys: Collection[str] = ()) -> None:
        """`cache` has the trainer's environments, which machines use too; `more` are variables of the client.

        `keys` are the variables in which credentials of providers are: out of reach meanwhile.
        """
        self.provider, self.keys = provider, keys
        self.cache, self.more, self.mark = cache, more, uuid.uuid4().hex
        self.both: Any = None
        self.folder = Path(tempfile.mkdtemp(prefix="cloudtrain-simulation-"))
        self._before, self._temporary = dict(os.environ), tempfile.tempdir

    def __enter__(self) -> World:
        try:
            self._open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def _open(self) -> None:
        for name in ("tmp", "cache", "gcloud"):
            (self.folder / name).mkdir()
        (self.cache / "environments").mkdir(parents=True, exist_ok=True)
        (self.folder / "cache" / "environments").symlink_to(self.cache / "environments")
        tempfile.tempdir = str(self.folder / "tmp")
        for name in [name for name in os.environ if name.startswith(OF_ACCOUNTS) or name in self.keys]:
            del os.environ[name]  # before the fake is imported: what it is made of looks for a profile at once
        from cloudtrain.simulator.cloud_with_bucket import Together

        self.both = Together(account(self.provider))
        state = self.both.bucket(BUCKET)
        self.both.fake.machines_run = True
        self.both.fake.room.environment.update(self._of_machines())
        os.environ.update(self._of_client(state))

    def _of_machines(self) -> dict[str, str]:
        """What every machine sees: the trainers of the cache, this Python and its `uv`, and no model hub."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH') or os.defpath}"
        return {"CLOUDTRAIN_CACHE": str(self.cache), "PATH": path, "HF_HUB_OFFLINE": "1"}

    def _of_client(self, state: str) -> dict[str, str]:
        nothing = str(self.folder / "nothing")
        past_proxies = ",".join(filter(None, (os.environ.get("NO_PROXY") or os.environ.get("no_proxy"), "127.0.0.1")))
        return {
            "AWS_CONFIG_FILE": nothing,
            "AWS_SHARED_CREDENTIALS_FILE": nothing,
            "CLOUDSDK_CONFIG": str(self.folder / "gcloud"),
            "NO_GCE_CHECK": "true",
            "NO_PROXY": past_proxies,
            "no_proxy": past_proxies,
            "TMPDIR": str(self.folder / "tmp"),
            "CLOUDTRAIN_CACHE": str(self.folder / "cache"),
            "CLOUDTRAIN_STATE": state,
            "CLOUDTRAIN_SIMULATOR_TIMING": TIMING,
            "HF_HUB_OFFLINE": "1",
            MARK: self.mark,
            **self.both.environment(),
            **self.more,
        }

    def keep(self, source: Path, key: str) -> None:
        """Put the files of a folder into the bucket, below `key`."""
        from cloudtrain.simulator.aws.wire import backend

        for path in sorted(each for each in source.rglob("*") if each.is_file()):
            name = f"{key}/{path.relative_to(source).as_posix()}"
            backend("s3", self.both.buckets.account, "aws").put_object(BUCKET, name, path.read_bytes())

    def pretend(self, accelerator: str) -> None:
        """Let the processor play this accelerator on every machine."""
        self.both.fake.room.environment["CLOUDTRAIN_PRETEND_ACCELERATOR"] = accelerator

    def leftovers(self) -> list[str]:
        """What still exists at the fake cloud."""
        found: list[str] = self.both.leftovers()
        return found

    def machine_log(self) -> bytes:
        """What the trainers have written on the machines, in the order in which these were made."""
        room = self.both.fake.room
        boxes = [box for each in room.ended.values() for box in each] + list(room.running.values())
        return b"".join(path.read_bytes() for box in boxes for path in sorted(box.folder.glob("**/run/log/*")))

    def close(self) -> None:
        """End everything. A Ctrl-C meanwhile is ignored: half of it would leave something running."""
        with deaf():
            if self.both is not None:
                self.both.stop()
                self.both = None
            self._end_processes()
            os.environ.clear()
            os.environ.update(self._before)
            tempfile.tempdir = self._temporary
            shutil.rmtree(self.folder, ignore_errors=True)

    def _end_processes(self) -> None:
        """Processes of the client that an interrupt has left behind: the engine, its plugin."""
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until and (found := list(self._processes())):
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)

    def _processes(self) -> Iterator[int]:
        mark = f"{MARK}={self.mark}".encode()
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    yield int(entry.name)


def account(provider: str) -> Any:
    """A fake account with room, made by the provider's own folder of this package."""
    return import_module(f"cloudtrain.simulator.{provider}").roomy()


@contextlib.contextmanager
def deaf() -> Iterator[None]:
    """Ignores signals that ask for an end; only the main thread can do that."""
    before = {}
    with contextlib.suppress(ValueError):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            before[number] = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
