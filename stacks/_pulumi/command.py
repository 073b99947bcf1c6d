"""Pulumi's command line: where it is, and running it so that neither our end nor a Ctrl-C ends it.

The SDK reads the CLI through pipes; when our process dies, the CLI dies of SIGPIPE at its next line, and what it was
making is lost (pulumi/pulumi issue 9103 and our own kill tests). So it gets files, and a session of its own.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from cloudtrain.errors import UsageError
from cloudtrain.settings import cache_folder

VERSION = "3.259.0"  # what every test of ours ran with; the SDK works with any 3.x
POLL_S = 0.02


def find() -> Path:
    """The folder that holds `bin/pulumi`: CLOUDTRAIN_PULUMI_ROOT, PATH, or ours. Raises UsageError."""
    import shutil

    named = os.environ.get("CLOUDTRAIN_PULUMI_ROOT")
    if named:
        if os.access(Path(named) / "bin" / "pulumi", os.X_OK):
            return Path(named).absolute()
        raise UsageError(f"CLOUDTRAIN_PULUMI_ROOT is `{named}`, which has no bin/pulumi", "unset it or install there")
    ours = installed_root()
    if os.access(ours / "bin" / "pulumi", os.X_OK):
        return ours
    on_path = shutil.which("pulumi")
    if on_path and Path(on_path).parent.name == "bin":
        return Path(on_path).parent.parent
    raise UsageError(
        "Pulumi's command line, which makes rented machines, is not installed",
        f"`cloudtrain doctor --install-pulumi` installs version {VERSION}",
    )


def installed_root() -> Path:
    """Where `doctor --install-pulumi` puts it."""
    return cache_folder() / "pulumi" / f"v{VERSION}"


def safe_command(root: Path, folder: Path) -> Any:
    """An `auto.PulumiCommand` that writes to files in `folder` and can be stopped. Needs the SDK."""
    from pulumi import automation as auto
    from pulumi.automation._cmd import CommandResult
    from pulumi.automation.errors import create_command_error

    class SafeCommand(auto.PulumiCommand):
        """The SDK's command with files for pipes, a session of its own, and `stop`."""

        process: subprocess.Popen[bytes] | None = None
        interrupted = False

        def __init__(self) -> None:  # the SDK's own would ask for the version each time
            self.command, self.version = str(root / "bin" / "pulumi"), version_of(root)

        def run(
            self,
            args: list[str],
            cwd: str,
            additional_env: Mapping[str, str],
            on_output: Callable[[str], Any] | None = None,
            on_error: Callable[[str], Any] | None = None,
        ) -> CommandResult:
            argv = args if "--non-interactive" in args else ["--non-interactive", *args]
            env = {**os.environ, **additional_env, "PULUMI_AUTOMATION_API": "true"}
            with tempfile.TemporaryFile(dir=folder) as out, tempfile.TemporaryFile(dir=folder) as err:
                self.process = process = subprocess.Popen(
                    [self.command, *argv],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    cwd=cwd,
                    env=env,
                    start_new_session=True,
                )
                while process.poll() is None:
                    time.sleep(POLL_S)
                texts = [whole(out), whole(err)]
            for text, callback in zip(texts, (on_output, on_error), strict=True):
                if callback:
                    for line in text.splitlines():
                        callback(line)
            result = CommandResult(texts[0], texts[1], process.returncode)
            if process.returncode:
                raise create_command_error(result)
            return result

        def stop(self) -> None:
            """Ask the running command, once, to make nothing more and to finish what it has begun."""
            if self.process is not None and self.process.poll() is None and not self.interrupted:
                self.interrupted = True
                self.process.send_signal(signal.SIGINT)

    return SafeCommand()


def version_of(root: Path) -> Any:
    """The version of the command line in `root`. Raises the SDK's InvalidVersionError for one that it cannot drive.

    Our own installation has said it when it was moved to the folder that is named after it; another is asked once.
    """
    from semver import VersionInfo

    return VersionInfo.parse(VERSION) if root == installed_root() else _asked(root)


@functools.cache
def _asked(root: Path) -> Any:
    from pulumi import automation as auto

    return auto.PulumiCommand(root=str(root)).version


def whole(file: IO[bytes]) -> str:
    """Everything that was written to an open file."""
    file.seek(0)
    return file.read().decode(errors="replace")


def in_worker(work: Callable[[], Any], stop: Callable[[], None]) -> Any:
    """Do `work` in a thread; Ctrl-C and SIGTERM call `stop`, once, and the work comes to its own end.

    A second Ctrl-C leaves it: KeyboardInterrupt. Returns or raises what the work does.
    """
    outcome: list[Any] = []
    failure: list[BaseException] = []
    done = threading.Event()  # an interrupted Thread.join of Python 3.11 takes a thread at work for an ended one

    def target() -> None:
        try:
            outcome.append(work())
        except BaseException as error:  # it is raised again below, in the caller's thread
            failure.append(error)
        finally:
            done.set()

    stopped = False
    with counted_interrupts() as interrupts:
        threading.Thread(target=target, daemon=True).start()
        while not done.wait(0.05):
            if interrupts and not stopped:
                stopped = True
                stop()
            elif len(interrupts) > 1:
                raise KeyboardInterrupt
    if interrupts:
        raise KeyboardInterrupt
    if failure:
        raise failure[0]
    return outcome[0]


@contextlib.contextmanager
def counted_interrupts() -> Iterator[list[int]]:
    """The numbers of the signals that asked for an end while the block ran: noted there, and nothing raised.

    An exception could come anywhere, between the start of a thread and the wait for it too. SIGTERM, as CI sends it, is
    noted in any case, Ctrl-C and a closed terminal where something would hear them; only the main thread can.
    """
    noted: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield noted
        return
    numbers = [number for number in (signal.SIGINT, signal.SIGHUP) if callable(signal.getsignal(number))]
    before: dict[int, Any] = {}
    try:
        for number in (*numbers, signal.SIGTERM):
            before[number] = signal.getsignal(number)
            signal.signal(number, lambda came, _: noted.append(came))
        yield noted
    finally:
        for number in reversed(before):  # Ctrl-C last: it may raise again from then on
            signal.signal(number, before[number])


@contextlib.contextmanager
def terminated_as_interrupt() -> Any:
    """Treat SIGTERM, as CI sends it, like Ctrl-C while the block runs; only the main thread can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
