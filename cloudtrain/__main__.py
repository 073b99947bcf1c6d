"""The `cloudtrain` command."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line and end the process with its exit code."""
    if sys.argv[1:] in (["--version"], ["-V"]):  # answered before click is imported: scripts ask this a lot
        from cloudtrain import __version__

        print(f"cloudtrain {__version__}")
        return
    import contextlib
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
