"""The warm interpreter is called like the real one and cannot be told from it, but for what it has imported already."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.patience import PATIENCE_S, until
from tests.warm_python import WarmPython

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it forks on Linux alone")
SHOWS = """
import json, os, resource, sys
print(json.dumps([__name__, sys.argv, sys.path[:3], os.getcwd(), os.environ.get("HELLO"), sys.stdin.read(),
    resource.getrlimit(resource.RLIMIT_FSIZE)[0], os.umask(0), sys.executable, sys.modules["__main__"].__dict__ is globals()]))
print("an error", file=sys.stderr)
"""
LIMITED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (12345678, 12345678))
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmPython]:
    """This interpreter, with one module imported that nothing else imports."""
    made = WarmPython(Path(sys.executable), tmp_path_factory.mktemp("warm"), {"GOMP_SPINCOUNT": "1"}, ["colorsys"])
    yield made
    made.lease.close()


def run(
    python: object, *words: object, more: Mapping[str, str] | None = None, given: str = ""
) -> subprocess.CompletedProcess[str]:
    """A program to its end, with a limit on the size of files.

    Another program sets the limit: a fork of this process could meet what threads of earlier tests (gRPC's) left in it.
    """
    return subprocess.run(
        [sys.executable, "-Sc", LIMITED, str(python), *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        input=given,
        env={**os.environ, **(more or {})},
        timeout=PATIENCE_S,
    )


def lives(pid: int) -> bool:
    """Whether the process is there and has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def was_warm(warm: WarmPython, *options: str, **more: str) -> bool:
    """Whether a program begins with the module that the warm process has imported."""
    done = run(warm.program, *options, "-c", "import sys; print('colorsys' in sys.modules)", more=more)
    assert done.returncode == 0, done.stderr
    return done.stdout == "True\n"


@pytest.mark.parametrize("code", [True, False])
def test_a_program_sees_what_the_real_interpreter_shows_it(warm: WarmPython, tmp_path: Path, code: bool) -> None:
    """Arguments, path, folder, variables, standard input, limits, mask."""
    (tmp_path / "program.py").write_text(SHOWS)
    words = ["-c", SHOWS, "a", "b c"] if code else [tmp_path / "program.py", "a", "b c"]
    more = {"HELLO": "you", "PYTHONPATH": str(tmp_path / "more")}
    seen, real = (run(python, *words, more=more, given="said") for python in (warm.program, sys.executable))
    assert json.loads(seen.stdout) == json.loads(real.stdout)
    assert (seen.stderr, seen.returncode) == (real.stderr, real.returncode) == ("an error\n", 0)


@pytest.mark.parametrize(
    "code",
    [
        "pass",
        "raise SystemExit(75)",
        "import sys; sys.exit('in words')",
        "1 / 0",
        "import os; os.kill(os.getpid(), 9)",
        "import os; os.kill(os.getpid(), 15)",
        "import os; os._exit(3)",
        "import atexit; atexit.register(print, 'at the end')",
        "import threading, time; threading.Thread(target=lambda: (time.sleep(0.1), print('a thread'))).start()",
    ],
)
def test_it_ends_as_the_real_interpreter_ends(warm: WarmPython, code: str) -> None:
    """Exit codes, words, signals, what is registered for the end, threads that are waited for."""
    seen, real = run(warm.program, "-c", code), run(sys.executable, "-c", code)
    assert (seen.returncode, seen.stdout) == (real.returncode, real.stdout)
    assert seen.stderr.splitlines()[-1:] == real.stderr.splitlines()[-1:]


def test_signals_reach_the_program(warm: WarmPython) -> None:
    """SIGTERM and SIGINT, handled there."""
    code = "import signal, sys, time\nfor each in (2, 15): signal.signal(each, lambda number, frame: sys.exit(100 + number))\nprint('up', flush=True); time.sleep(3600)"
    for number in (signal.SIGINT, signal.SIGTERM):
        with subprocess.Popen([warm.program, "-c", code], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            process.send_signal(number)
            assert process.wait(PATIENCE_S) == 100 + number


def test_killing_the_one_kills_the_other(warm: WarmPython) -> None:
    """And the fork is dead before the next one begins."""
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(3600)"
    with subprocess.Popen([warm.program, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        process.kill()
    done = run(warm.program, "-c", f"import os; print(os.path.exists('/proc/{pid}'))")
    assert done.stdout == "False\n"


def test_what_a_fork_could_not_play_the_real_interpreter_does(warm: WarmPython) -> None:
    """Other options, and variables that libraries read when they are loaded; the warm process's own are given."""
    assert was_warm(warm)
    assert was_warm(warm, "-u")
    assert was_warm(warm, GOMP_SPINCOUNT="1", OMP_NUM_THREADS="7")
    assert not was_warm(warm, "-E")
    assert not was_warm(warm, GOMP_SPINCOUNT="2")
    assert not was_warm(warm, MALLOC_TOP_PAD_="1")
    done = run(warm.program, "-c", "import os; print(os.environ['GOMP_SPINCOUNT'])")
    assert done.stdout == "1\n"


def test_it_ends_with_the_last_that_needs_it(tmp_path: Path) -> None:
    """Two share one; when both have gone, so has it, with all that it has forked."""
    first, second = (WarmPython(Path(sys.executable), tmp_path, {}, []) for _ in range(2))
    code = "import os, time; print(os.getppid(), os.getpid(), flush=True); time.sleep(3600)"
    with subprocess.Popen([first.program, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        pids = process.stdout.readline().split()
        first.lease.close()
        assert run(second.program, "-c", "print(1)").stdout == "1\n"
        second.lease.close()
        assert process.wait(PATIENCE_S) != 0
    until(lambda: not any(lives(int(pid)) for pid in pids))
    assert "does not answer" in run(second.program, "-c", "pass").stderr
