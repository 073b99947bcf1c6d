"""The warm process: imports modules, as far as its environment has them, then forks for whoever asks.

    python server.py LISTENING_DESCRIPTOR SOCKET MODULE...

Runs in a trainer's environment, with the standard library and that environment's packages. It ends, with all that it has
forked, when nobody holds a lease any more. A request is one byte: `L`, a lease, for as long as the connection lasts; or
`F` with three descriptors and a document (see `client.py`), answered by two lines, the process's number and how it ended.
"""

import contextlib
import ctypes
import gc
import importlib
import io
import json
import os
import resource
import selectors
import shutil
import signal
import socket
import struct
import sys
import types

DIE_WITH_PARENT = 1


def main(descriptor, address, modules):
    """Import, then serve."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # meant for whoever started us, whose end is ours
    gc.disable()
    for name in modules:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    bind_submodules()
    gc.enable()
    gc.collect()
    gc.freeze()
    threads = os.listdir("/proc/self/task")
    if len(threads) > 1:
        sys.exit(f"{len(threads)} threads run after the imports: a fork would lose them")
    try:
        Server(socket.socket(fileno=descriptor)).serve()
    finally:
        shutil.rmtree(os.path.dirname(address), ignore_errors=True)


def bind_submodules():
    """Let packages have their imported modules as attributes again: transformers replaces its own while it is imported."""
    for name, module in list(sys.modules.items()):
        package, _, child = name.rpartition(".")
        with contextlib.suppress(Exception):
            if package in sys.modules and not hasattr(sys.modules[package], child):
                setattr(sys.modules[package], child, module)


class Server:
    """Forks on request, tells the end, and ends with the last lease."""

    def __init__(self, listener):
        self.listener = listener
        self.doors = selectors.DefaultSelector()
        self.leases = set()
        self.forked = {}  # process number: connection

    def serve(self):
        """Until the last lease has gone."""
        wake, ring = os.pipe()
        for end in (wake, ring):
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(ring)
        self.doors.register(self.listener, selectors.EVENT_READ)
        self.doors.register(wake, selectors.EVENT_READ)
        begun = False
        while self.leases or not begun:
            ready = [key.fileobj for key, _ in self.doors.select()]
            if wake in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(wake, 4096)
            for door in ready:  # before new requests: a killed training has ended when the next one of its job begins
                if door not in (wake, self.listener):
                    self.closed(door)
            if self.listener in ready:
                self.receive(self.listener.accept()[0])
            begun = begun or bool(self.leases)
            self.bury()
        for pid in self.forked:
            os.kill(pid, signal.SIGKILL)

    def receive(self, door):
        """A new connection: a lease or a request."""
        with contextlib.suppress(OSError, ValueError, struct.error):
            head, descriptors, _, _ = socket.recv_fds(door, 5, 3)
            if head == b"L":
                self.leases.add(door)
                self.doors.register(door, selectors.EVENT_READ)
                return
            with door.makefile("rb") as file:
                asked = json.loads(file.read(struct.unpack("!I", head[1:])[0]))
            sys.stdout.flush()
            sys.stderr.flush()
            pid = os.fork()
            if pid == 0:
                become(asked, descriptors, [self.doors, self.listener, door, *self.leases, *self.forked.values()])
            for each in descriptors:
                os.close(each)
            self.forked[pid] = door
            self.doors.register(door, selectors.EVENT_READ)
            door.sendall(b"%d\n" % pid)
            return
        door.close()

    def closed(self, door):
        """A connection on which nothing more is said has ended: the lease is over, or whoever asked was killed."""
        self.doors.unregister(door)
        door.close()
        self.leases.discard(door)
        for pid, asker in list(self.forked.items()):
            if asker is door:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                del self.forked[pid]

    def bury(self):
        """Collect what has ended, and tell whoever asked for it."""
        while self.forked:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            door = self.forked.pop(pid)
            with contextlib.suppress(OSError):
                door.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
            self.doors.unregister(door)
            door.close()


def become(asked, descriptors, others):
    """What a forked process does; it never returns."""
    code = 1
    try:
        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)
        signal.set_wakeup_fd(-1)
        for other in others:
            other.close()
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number in asked["ignored"]:
            signal.signal(number, signal.SIG_IGN)
        os.setsid()
        move_in(asked, descriptors)
        code = run(asked["words"])
    except SystemExit as ended:
        code = exit_code(ended.code)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        code = leave(code)
        os._exit(code)


def move_in(asked, descriptors):
    """Take over the asker's descriptors, folder, variables, limits and threads."""
    for target, source in enumerate(descriptors):
        os.dup2(source, target)
        os.close(source)
    through = asked["unbuffered"]
    sys.stdin = sys.__stdin__ = io.TextIOWrapper(io.FileIO(0, "r", closefd=False), encoding="utf-8")
    for name, number in (("stdout", 1), ("stderr", 2)):
        raw = io.FileIO(number, "w", closefd=False)
        lines = number == 2 or os.isatty(number)
        stream = io.TextIOWrapper(
            raw if through else io.BufferedWriter(raw),
            encoding="utf-8",
            errors="backslashreplace" if number == 2 else "strict",
            line_buffering=lines,
            write_through=through,
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    os.chdir(asked["folder"])
    os.umask(asked["umask"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    for name, (soft, hard) in asked["limits"].items():
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(getattr(resource, name), (soft, hard))
    if "torch" in sys.modules:
        wanted = os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0))
        sys.modules["torch"].set_num_threads(int(wanted))


def run(words):
    """A program, or code after `-c`, as `__main__`, with the path that the interpreter would give it."""
    added = [place for place in os.environ.get("PYTHONPATH", "").split(os.pathsep) if place]
    program = types.ModuleType("__main__")
    if words[0] == "-c":
        sys.argv = ["-c", *words[2:]]
        code, first = compile(words[1], "<string>", "exec"), ""
    else:
        sys.argv = words
        program.__file__ = words[0]
        with open(words[0], "rb") as file:
            code, first = compile(file.read(), words[0], "exec"), os.path.dirname(os.path.realpath(words[0]))
    sys.path[:] = [first, *added, *sys.path[1:]]
    program.__builtins__ = __builtins__
    sys.modules["__main__"] = program
    exec(code, program.__dict__)
    return 0


def exit_code(said):
    """The exit code of a SystemExit, whose words are printed as the interpreter prints them."""
    if said is None:
        return 0
    if isinstance(said, int):
        return said & 0xFF
    print(said, file=sys.stderr)
    return 1


def leave(code):
    """Run what was registered for the end; the exit code after it."""
    import atexit
    import threading

    try:
        threading._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        return code or 120
    return code


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
