"""The command line: the group, the one error boundary, and nothing that decides.

A command is a module of this folder with a `command`; it is imported when it is called, so that `quote` never pays for
`up`. Results go to stdout, everything else to stderr.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pkgutil
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import click

from cloudtrain.cli import door
from cloudtrain.errors import EXIT_CODES, CloudtrainError, nearest

ALIASES = {"status": "ps", "cost-report": "report", "stop": "down"}
AS_ASKED = (103, 130)  # stopped on request, by Ctrl-C: what was wanted is no error
STREAM_FAULTS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF}  # of a stdout
# Modules of this folder that are not commands.
PLUMBING = {"door", "options", "output", "live", "first_minutes", "tables", "words"}


class ReaderGone(Exception):
    """`cloudtrain logs | head`: the reader has seen enough. Not as a broken pipe, which click ends with 1."""


@contextlib.contextmanager
def reader_may_go() -> Iterator[None]:
    """Raises ReaderGone in place of BrokenPipeError."""
    try:
        yield
    except BrokenPipeError:
        raise ReaderGone from None


class Commands(click.Group):
    """The folder as a group: `cloudtrain NAME` is `cloudtrain/cli/NAME.py` (or `NAME/__init__.py`)."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(m.name.rstrip("_") for m in pkgutil.iter_modules(__path__) if m.name not in PLUMBING)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        name = ALIASES.get(cmd_name, cmd_name)
        if name not in self.list_commands(ctx):
            return None
        module = import_module(f"{__name__}.{name}")
        command: click.Command = module.command
        return command

    def make_context(self, *args: Any, **more: Any) -> click.Context:
        with reader_may_go():  # `--help` is printed here
            return super().make_context(*args, **more)

    def invoke(self, ctx: click.Context) -> Any:
        with reader_may_go():
            return super().invoke(ctx)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            close = nearest(args[0], self.list_commands(ctx) + list(ALIASES))
            hint = f"did you mean `{close}`?" if close else "`cloudtrain --help` lists the commands"
            raise click.UsageError(f"no command `{args[0]}`\n{hint}")
        return super().resolve_command(ctx, args)


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=f"Exit codes: {', '.join(f'{code} {short}' for code, (short, _) in EXIT_CODES.items())}.",
)
@click.version_option(None, "-V", "--version", package_name="cloudtrain", message="cloudtrain %(version)s")
def root() -> None:
    """Fine-tune a language model without an NVIDIA GPU: what it costs to finish, where it really works, and the run."""


def run(argv: list[str]) -> int:
    """Run one command; every error ends here as `error:` and `hint:` lines on stderr and an exit code."""
    try:
        door.enter(argv)
        result = root.main(args=argv, prog_name="cloudtrain", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except CloudtrainError as error:
        return complain(error.message, error.hint, error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 0
    except click.ClickException as error:
        message, _, hint = error.format_message().partition("\n")
        return complain(message.rstrip("."), hint or usage_of(error), 2)
    except (KeyboardInterrupt, click.Abort):
        return complain("interrupted", "", 130)
    except (ReaderGone, BrokenPipeError):
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - replaces the dead pipe until the process ends
        return 0
    except Exception as error:
        return output_lost(error) or unexpected(error)


def output_lost(error: Exception) -> int:
    """The exit code, once it is told, when stdout takes nothing (a full disk behind it); 0 for any other error.

    What is opened by name has a name in its error, and the state tells its own.
    """
    if not isinstance(error, OSError) or error.filename is not None or error.errno not in STREAM_FAULTS:
        return 0
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - nothing can be printed any more
    return complain(f"the output cannot be written: {error.strerror or error}", "send it to another place", 2)


def usage_of(error: click.ClickException) -> str:
    """The nearest valid value when a wrong one was chosen, and where to look after any usage error."""
    kind = getattr(getattr(error, "param", None), "type", None)
    if isinstance(kind, click.Choice):
        wrong = error.format_message().partition(": '")[2].partition("'")[0]
        if close := nearest(wrong, [str(choice) for choice in kind.choices]):
            return f"did you mean `{close}`?"
    context = getattr(error, "ctx", None)
    return f"`{context.command_path} --help` shows the options" if context else ""


def complain(message: str, hint: str, exit_code: int) -> int:
    """Print an error the way every command does; where nobody can be told, the exit code says it all the same."""
    from cloudtrain.cli.output import print_labelled

    with contextlib.suppress(OSError):
        print_labelled("" if exit_code in AS_ASKED else "error", message)
        for line in filter(None, hint.splitlines()):
            print_labelled("hint", line)
    return exit_code


def unexpected(error: Exception) -> int:
    """A defect of ours: the traceback goes to a file, the user gets one message."""
    import tempfile
    import traceback

    if os.environ.get("CLOUDTRAIN_DEBUG"):
        traceback.print_exc()
        return 1
    try:
        with tempfile.NamedTemporaryFile("w", prefix="cloudtrain-", suffix=".txt", delete=False) as report:
            traceback.print_exc(file=report)
        where = f"the traceback is in `{report.name}`; please report it"
    except OSError:
        where = "set CLOUDTRAIN_DEBUG=1 to see the traceback"
    return complain(f"unexpected {type(error).__name__}: {error}", where, 1)
