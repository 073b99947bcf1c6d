"""The `cloudtrain` command."""

from __future__ import annotations

import os
import sys


def bear_closed_streams() -> None:
    """Give a process that was started without stdin, stdout or stderr the null device in its place.

    Otherwise the next file that is opened would get its number, and be written to by whatever is started from here.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            handle = os.open(os.devnull, os.O_RDWR)
            os.dup2(handle, number)  # inherited, as the real one would be
            if handle > 2:
                os.close(handle)
            os.set_inheritable(number, True)
            setattr(sys, name, open(number, "r" if number == 0 else "w", closefd=False))  # noqa: SIM115


def main() -> None:
    """Run the command line and end the process with its exit code."""
    import contextlib

    bear_closed_streams()
    if sys.argv[1:] in (["--version"], ["-V"]):  # answered before click is imported: scripts ask this a lot
        with contextlib.suppress(OSError):  # what cannot be told is told below, or its reader has gone
            from cloudtrain import __version__

            print(f"cloudtrain {__version__}", flush=True)
            return
    import gc

    gc.set_threshold(100_000, 50, 50)  # a command lives for a moment: collecting while it imports only costs time
    from cloudtrain.cli import run

    code = run(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # a reader that has gone away
            stream.flush()
    os._exit(code)  # nothing is left to do: taking the interpreter apart would cost a tenth of a quote


if __name__ == "__main__":
    main()
