"""Called like a Python interpreter: run its program in a fork of the warm process, and end as it ends.

    python client.py WARM.json [-u] PROGRAM.py ARGUMENT...
    python client.py WARM.json [-u] -c CODE ARGUMENT...

Standard library only, and as little of it as can be: this start is what a test waits for. A signal is handed on; when
this process is killed, the warm process kills the fork. It becomes the real interpreter where a fork could not play it:
other options, or a variable that a library reads when it is loaded and that differs from the warm process's own.
"""

import contextlib
import json
import os
import resource
import select
import signal
import socket
import struct
import sys

LIMITS = [name for name in dir(resource) if name.startswith("RLIMIT_")]
READ_WHEN_LOADED = ("ATEN_", "BNB_", "DNNL_", "GOMP_", "HF_", "KMP_", "LD_", "MALLOC_", "MKL_", "OMP_", "ONEDNN_",
                    "OPENBLAS_", "PYTORCH_", "TORCH_", "TRANSFORMERS_", "XLA_")  # fmt: skip
SET_AFTER_THE_FORK = {"OMP_NUM_THREADS"}
HANDED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def differs(warm, mine):
    """Whether the warm process was loaded with other settings than these."""
    names = [name for name in mine if name.startswith(READ_WHEN_LOADED) and name not in SET_AFTER_THE_FORK]
    return any(mine[name] != warm.get(name) for name in names)


def main(record, words):
    """Ask for a fork, wait for its end; the process's own end is its end."""
    environment = {**record["flavour"], **os.environ}
    options = [word for word in words[:1] if word == "-u"]
    rest = words[len(options) :]
    if not rest or (rest[0].startswith("-") and rest[0] != "-c") or differs(record["variables"], environment):
        os.execv(record["python"], [record["python"], *words])
    wake, ring = os.pipe()
    for each in (wake, ring):
        os.set_blocking(each, False)
    signal.set_wakeup_fd(ring, warn_on_full_buffer=False)
    waiting = []
    for number in HANDED_ON:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda got, frame: waiting.append(got))
    asked = {
        "words": rest,
        "unbuffered": bool(options) or "PYTHONUNBUFFERED" in environment,
        "folder": os.getcwd(),
        "environment": environment,
        "limits": {name: resource.getrlimit(getattr(resource, name)) for name in LIMITS},
        "umask": umask(),
        "ignored": [int(number) for number in HANDED_ON if signal.getsignal(number) == signal.SIG_IGN],
    }
    text = json.dumps(asked).encode()
    with socket.socket(socket.AF_UNIX) as door:
        try:
            door.connect(record["address"])
            socket.send_fds(door, [b"F" + struct.pack("!I", len(text))], [0, 1, 2])
            door.sendall(text)
            pid = int(line(door, wake))
        except (OSError, ValueError) as error:
            with open(record["log"], encoding="utf-8", errors="replace") as log:
                sys.exit(f"the warm process does not answer ({error}); it said: {log.read()[-2000:]}")
        hand_on = handing_on(pid)
        for number in HANDED_ON:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, hand_on)
        while waiting:
            hand_on(waiting.pop(0))
        code = int(line(door, wake) or -9)
    end(code)


def line(door, wake):
    """The next line; signals are handled meanwhile: one that came just before a blocking read would wait for its end."""
    got = b""
    while not got.endswith(b"\n"):
        ready = select.select([door, wake], [], [])[0]
        if wake in ready:
            os.read(wake, 4096)
        if door in ready:
            more = door.recv(1)
            if not more:
                break
            got += more
    return got


def handing_on(pid):
    """A signal handler that sends the fork what arrives here; the fork and nothing else: numbers are used again."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return lambda number, frame=None: None

    def hand_on(number, frame=None):
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, number)

    return hand_on


def end(code):
    """End with this exit code, or by this signal."""
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
        os.kill(os.getpid(), -code)
    os._exit(code)


def umask():
    """This process's mask for new files."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        main(json.load(file), sys.argv[2:])
