"""`cloudtrain doctor`: what stands in the way of a run, and what to do about it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from cloudtrain.cli.options import output_option
from cloudtrain.cli.output import bold, print_json, print_rows, say

if TYPE_CHECKING:
    from cloudtrain.doctor.checks import Noted

HEADERS = ("state", "about", "what", "words", "hint")


@click.command("doctor", short_help="Check credentials, permissions, quotas and leftovers.")
@click.argument("providers", metavar="[PROVIDER]...", nargs=-1)
@click.option(
    "--install-pulumi", is_flag=True, help="First download or build Pulumi's command line, which rents machines."
)
@output_option()
def command(providers: tuple[str, ...], install_pulumi: bool, output: str) -> int:
    """Check credentials, permissions, quotas, prices and leftovers of PROVIDER, or of all, and this machine.

    Makes nothing at a provider. A provider without credentials is `unknown`, and a problem when it is named.

    Exit codes: 0 no problem; 6 something that costs money should be gone; 4 a named PROVIDER lacks credentials, a
    permission or a quota; 1 another problem. The largest counts.
    """
    from cloudtrain import settings
    from cloudtrain.doctor import checks

    first = install() if install_pulumi else []
    noted = [*first, *checks.diagnose(providers, settings.now(), look_busy)]
    show(noted, output)
    problems = sum(line.finding.state == "problem" for line in noted)
    say(f"{problems} problem{'s' if problems > 1 else ''}" if problems else "no problem found")
    return checks.exit_code(noted)


def install() -> list[Noted]:
    """Say what is downloaded and whereto, and do it. Returns the line that tells of a failure, if there is one.

    Where the download fails, as in a network that reaches package indexes only, it is built.
    """
    from cloudtrain.doctor import checks
    from cloudtrain.errors import Unavailable
    from cloudtrain.provisioner import provisioner

    door = provisioner()

    def work() -> None:
        target = door.target()
        say(f"Pulumi {door.version} from {door.source} (about {door.download_mb} MB) into {target}")
        try:
            door.install()
        except Unavailable as error:
            say(error.message)
            say(f"building it from its Go module instead ({door.build_needs})")
            door.build()
        say("installed, and it runs")

    failed = checks.install_engine(work)
    return [failed] if failed else []


def look_busy(subject: str) -> None:
    """What is looked at now: asking every region takes a while, and only a terminal wants to know."""
    if sys.stderr.isatty():
        say(f"checking {subject}")


def show(noted: list[Noted], output: str) -> None:
    """The lines as asked for; in the table the hint follows the words."""
    if output == "json":
        print_json([document(line) for line in noted])
    elif output == "table":
        print_rows(output, HEADERS[:4], [short(line) for line in noted])
    else:
        print_rows(output, HEADERS, [[f.state, subject, f.what, f.words, f.hint] for subject, f, _ in noted])


def document(line: Noted) -> dict[str, Any]:
    """A line for JSON; see `cloudtrain schema doctor`."""
    finding = line.finding
    return {
        "about": line.subject,
        "what": finding.what,
        "state": finding.state,
        "words": finding.words,
        "hint": finding.hint,
        "exit_code": line.exit_code,
    }


def short(line: Noted) -> list[str]:
    """A line for a person."""
    finding = line.finding
    state = bold(finding.state) if finding.state == "problem" else finding.state
    words = f"{finding.words}; {finding.hint}" if finding.hint else finding.words
    return [state, line.subject, finding.what, words]
