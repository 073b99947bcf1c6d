"""The command line: the group, the one error boundary, and nothing that decides.

A command is a module of this folder with a `command`; it is imported when it is called, so that `quote` never pays for
`up`. Results go to stdout, everything else to stderr.
"""

from __future__ import annotations

import os
import pkgutil
import sys
from importlib import import_module
from typing import Any

import click

from cloudtrain.errors import EXIT_CODES, CloudtrainError, nearest

ALIASES = {"status": "ps", "cost-report": "report", "stop": "down"}
PLUMBING = {"options", "output", "live", "first_minutes"}  # modules of this folder that are not commands


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
    except BrokenPipeError:  # `cloudtrain logs | head`: the reader has seen enough
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - replaces the dead pipe until the process ends
        return 0
    except Exception as error:
        return unexpected(error)


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
    """Print an error the way every command does."""
    click.echo(f"error: {message}", err=True)
    for line in filter(None, hint.splitlines()):
        click.echo(f"hint: {line}", err=True)
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
