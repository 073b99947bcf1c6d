"""The first process of a container: starts one command, hands signals on, collects orphans, ends with its exit code.

    entrypoint.py train JOB.json | check_data JOB.json | ask ... | merge ... | supervise RUN_FOLDER | any other command

Standard library only, Python 3.9 to 3.14. The kernel gives the first process no default signal handling and all
orphans; `--init` would do the same, but not every place that runs containers has it.
"""

import contextlib
import json
import os
import signal
import sys

ROOT = os.path.dirname(os.path.abspath(__file__))
HANDED_ON = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2")


def read(*names):
    """A JSON file below the root."""
    with open(os.path.join(*names), encoding="utf-8") as file:
        return json.load(file)


def backend_of(root):
    """The folder of the image's back end, and its description."""
    folder = os.path.join(root, "trainer", read(root, "image.json")["backend"])
    return folder, read(folder, "backend.json")


def command_of(arguments, root=ROOT):
    """The command line that `arguments` name: one of the trainer's programs, or themselves."""
    folder, about = backend_of(root)
    programs = {name: os.path.normpath(os.path.join(folder, program)) for name, program in about["programs"].items()}
    programs["supervise"] = os.path.join(root, "trainer", "supervisor", "supervisor.py")
    if arguments and arguments[0] in programs:
        return [os.path.join(root, "environment", "bin", "python"), "-u", programs[arguments[0]], *arguments[1:]]
    return list(arguments)


def variables_of(arguments, root=ROOT):
    """The environment variables that the trainer of this flavour is started with; others stay as they are."""
    about = backend_of(root)[1]
    if not arguments or arguments[0] not in about["programs"]:
        return {}  # the supervisor's own document has them
    accelerator = read(root, "image.json")["accelerator"]
    return {**about["accelerators"][accelerator].get("variables", {}), **os.environ}


def start(command, variables):
    """Start `command` with signals as a program expects them; returns its process id."""
    numbers = {getattr(signal, name) for name in HANDED_ON}
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)  # none may fall between the start and the handlers
    child = os.fork()
    if child == 0:
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
            os.execvpe(command[0], command, {**os.environ, **variables})  # noqa: S606 - the container's command
        except OSError as error:
            sys.stderr.write(f"error: `{command[0]}` cannot be started: {error.strerror}\n")
        finally:
            os._exit(127)
    for number in numbers:
        signal.signal(number, lambda received, frame: hand_on(child, received))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
    return child


def hand_on(child, number):
    """Send a signal on to the command, if it is still there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, number)


def wait(child):
    """Collect whatever ends until it is `child`; returns the exit code, 128 + number after a signal."""
    while True:
        process, status = os.wait()
        if process == child:
            return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def main(arguments):
    """Run the command to its end. Without one, or with `help`, say what there is."""
    if not arguments or arguments[0] in ("help", "--help", "-h"):
        sys.stdout.write(f"{__doc__}\n")
        return 0
    return wait(start(command_of(arguments), variables_of(arguments)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
