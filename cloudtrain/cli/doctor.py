"""`cloudtrain doctor`: what would keep a run from starting, and how to fix it."""

from __future__ import annotations

import contextlib
import sys
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cloudtrain.cli import words
from cloudtrain.cli.options import output_option
from cloudtrain.cli.output import bold, print_json, print_message, print_rows, state_cell, terminal_width
from cloudtrain.cli.tables import Column, listed
from cloudtrain.errors import UsageError

if TYPE_CHECKING:
    from cloudtrain.doctor.checks import Entry

COLUMNS = (Column("state"), Column("about"), Column("what"), Column("words"))
HEADERS = (*COLUMNS, Column("hint"))


@click.command("doctor", short_help="Check credentials, permissions, quotas and leftovers.")
@click.argument("providers", metavar="[PROVIDER]...", nargs=-1, shell_complete=words.providers)
@click.option(
    "--install-pulumi", is_flag=True, help="First download or build Pulumi's command line, which rents machines."
)
@click.option("--no-checks", is_flag=True, help="With --install-pulumi: install, and check nothing.")
@click.option("--setup", is_flag=True, help="Write least-rights policies for CI, and check nothing.")
@click.option(
    "--to",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default="cloudtrain-setup",
    help="--setup: target folder.  [default: cloudtrain-setup]",
)
@click.option("--forge", type=click.Choice(["github", "gitlab"]), default="github", help="--setup: whose CI.")
@click.option("--repository", metavar="OWNER/NAME", help="--setup: whose branch.  [default: that of `origin`]")
@click.option("--branch", metavar="BRANCH", default="main", help="--setup: which may act.  [default: main]")
@click.option("--account", metavar="ID", default="", help="--setup: an AWS account, a Google project.")
@output_option()
def command(
    providers: tuple[str, ...], install_pulumi: bool, no_checks: bool, setup: bool, output: str, **named: Any
) -> int:
    """Check credentials, permissions, quotas, prices and leftovers of PROVIDER, or of all, and this machine.

    Makes nothing at a provider. A provider without credentials is `unknown`, and a problem when it is named.

    Exit codes: 0 no problem; 6 something that costs money should be gone; 4 a named PROVIDER lacks credentials, a
    permission or a quota; 1 another problem. The largest counts.

    --setup writes the policies and commands that let one branch of one repository run cloudtrain without a key and with
    least rights, at PROVIDER, or at all whose account is known.
    """
    if setup:
        return write_policies(providers, **named)
    if no_checks and not install_pulumi:
        raise UsageError("--no-checks leaves nothing to do", "it goes with --install-pulumi")
    from cloudtrain import settings
    from cloudtrain.doctor import checks

    first = install() if install_pulumi else []
    if no_checks:
        for line in first:
            print_message(f"error: {line.finding.message}")
        return checks.exit_code(first)
    entries = [*first, *checks.diagnose(providers, settings.now(), show_progress)]
    show(entries, output)
    problems = sum(line.finding.state == "problem" for line in entries)
    print_message(f"{problems} problem{'s' if problems > 1 else ''}" if problems else "no problem found")
    return checks.exit_code(entries)


def write_policies(providers: tuple[str, ...], folder: Path, forge: str, **named: Any) -> int:
    """Write the files, and say what they are for. Raises UsageError, MissingCredentials."""
    from cloudtrain import settings
    from cloudtrain.doctor import setup
    from cloudtrain.nights.schedule import options, place

    here = place.here(Path.cwd())
    repository = options.repository(named["repository"] or here.repository, options.form(forge))
    if not repository:
        raise UsageError("whose branch may act is not known", "--repository OWNER/NAME says it")
    branch = options.branch(named["branch"])
    host = "" if here.host == "github.com" else here.host
    caller = setup.github(repository, branch) if forge == "github" else setup.gitlab(repository, branch, host)
    state = settings.load().state
    texts, left_out = setup.files(providers, caller, state, named["account"])
    for why in left_out:
        print_message(why)
    for path in setup.write(folder, texts):
        print_message(f"wrote {path}")
    for name in texts:
        if name.endswith(".sh"):
            print_message(f"read them, then as an administrator of the account: sh {folder / name}")
    return 0


def install() -> list[Entry]:
    """Print what is downloaded and where to, and do it. Returns the entry of a failure, if there is one.

    Where the download fails, as in a network that reaches package indexes only, it is built.
    """
    from cloudtrain.doctor import checks
    from cloudtrain.errors import Unavailable
    from cloudtrain.provisioner import provisioner

    tool = provisioner()
    with contextlib.suppress(UsageError):
        root, version = tool.find()
        if version == tool.version:
            print_message(f"Pulumi {version} is there already, in {root}")
            return []

    def work() -> None:
        target = tool.target()
        print_message(f"Pulumi {tool.version} from {tool.source} (about {tool.download_mb} MB) into {target}")
        try:
            tool.install()
        except Unavailable as error:
            print_message(error.message)
            print_message(f"building it from its Go module instead ({tool.build_needs})")
            tool.build()
        print_message("installed, and it runs")

    failed = checks.install_engine(work)
    return [failed] if failed else []


def show_progress(subject: str) -> None:
    """Show what is checked now, on a terminal: asking every region takes a while."""
    if sys.stderr.isatty():
        print_message(f"checking {subject}")


def show(entries: list[Entry], output: str) -> None:
    """The lines as asked for; in the table the hint follows the words."""
    if output == "json":
        print_json([document(line) for line in entries])
    elif output == "table" and (width := terminal_width()) is not None:
        print_by_subject(entries, width)
    elif output == "table":
        print_rows(output, COLUMNS, [short(line) for line in entries])
    else:
        print_rows(output, HEADERS, [[f.state, subject, f.what, f.message, f.hint] for subject, f, _ in entries])


def print_by_subject(entries: list[Entry], width: int) -> None:
    """At a terminal: what was found at each provider, then here, a line or more each."""
    for subject, lines in groupby(entries, key=lambda line: line.subject):
        click.echo(bold(subject))
        found = [short(line) for line in lines]
        pairs = ((state, what if words == "" else f"{what}: {words}") for state, _, what, words in found)
        click.echo("\n".join(listed(pairs, width)))


def document(line: Entry) -> dict[str, Any]:
    """A line for JSON; see `cloudtrain schema doctor`."""
    finding = line.finding
    return {
        "about": line.subject,
        "what": finding.what,
        "state": finding.state,
        "words": finding.message,
        "hint": finding.hint,
        "exit_code": line.exit_code,
    }


def short(line: Entry) -> list[str]:
    """A line for a person."""
    finding = line.finding
    message = f"{finding.message}; {finding.hint}" if finding.hint else finding.message
    return [state_cell(finding.state), line.subject, finding.what, message]
