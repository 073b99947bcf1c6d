"""`cloudtrain schedule`: the file that a CI system, cron or systemd runs every night."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cloudtrain.cli.options import Dollars, Duration
from cloudtrain.cli.output import print_message
from cloudtrain.errors import UsageError

if TYPE_CHECKING:
    from cloudtrain.nights.schedule.options import Schedule
    from cloudtrain.nights.schedule.place import Place

NEEDED = ("ci", "at", "timezone")


@click.command("schedule", short_help="Write the file that trains SPEC every night from CI, cron or systemd.")
@click.argument("spec", type=click.Path(path_type=Path), required=False)
@click.option("--ci", type=click.Choice(["github", "gitlab", "cron", "systemd"]), help="What runs it.")
@click.option("--at", metavar="HH:MM", help="When a night is due, in local time; off the full and the half hour.")
@click.option("--timezone", metavar="ZONE", help="The zone of that time, such as Europe/Berlin.")
@click.option("--latest", metavar="TIME", help="How late a night may begin; later it is missed.  [default: 6h]")
@click.option("--max-cost", type=Dollars(), help="The most that one night may cost.")
@click.option("--stop-above-cap", is_flag=True, help="As `up` takes it: stop once --max-cost may not do.")
@click.option("--budget-month", type=Dollars(), help="The most that a month may cost.")
@click.option("--infra", multiple=True, help="Only this place: provider[/region[/zone]]; may be repeated.")
@click.option("--hardware", multiple=True, help="Only this hardware: KEY or KEY:COUNT; may be repeated.")
@click.option("--spot/--on-demand", default=None, help="Only spot, or nothing on spot.")
@click.option("--max-hours", type=Duration(), help="End a run after this long at the latest.")
@click.option("--experimental", is_flag=True, help="An experimental row may be chosen.")
@click.option("--accept-risk", is_flag=True, help="As `up` takes it; RunPod needs it.")
@click.option("--accept-stale", is_flag=True, help="As `up` takes it.")
@click.option("--hub-token-from", metavar="VARIABLE", help="As `up` takes it: a secret, for gated models.")
@click.option("--name", help="What the schedule is called.  [default: after SPEC]")
@click.option("--comment", type=click.Choice(["issue", "pr"]), help="Keep one issue, or one comment, up to date.")
@click.option("--notify-from", metavar="VARIABLE", help="The variable with an address that gets each outcome.")
@click.option("--branch", metavar="BRANCH", help="The branch that nights are run from.  [default: main]")
@click.option("--repository", metavar="OWNER/NAME", help="The repository at its forge.  [default: that of `origin`]")
@click.option("--secret", "secrets", metavar="NAME", multiple=True, help="A secret that a tick gets; repeatable.")
@click.option("--install", metavar="PACKAGE", help="What pip installs there as cloudtrain, pinned.")
@click.option("--write", is_flag=True, help="Write the file instead of printing it.")
@click.option("--check", is_flag=True, help="Exit 1 when the file is not what would be written.")
def command(spec: Path | None, write: bool, check: bool, **given: Any) -> int:
    """Print the one thin file that trains SPEC every night, and what a person does once for it.

    It calls `cloudtrain night tick` every half hour, in a window after --at. With --check and without --at, the files
    that are there are compared with what their own heads ask for; with SPEC, those of it alone.

    Exit codes: 0; 1 with --check, when a file differs; 2 for bad input, and nothing is written.
    """
    from cloudtrain.nights.schedule import place

    if write and check:
        raise UsageError("--check writes nothing", "omit one of --write and --check")
    where = place.here(Path.cwd())
    if check and not any(value for key, value in given.items() if key != "name"):
        return check_all(spec, given["name"], where)
    if spec is None or any(given[name] is None for name in NEEDED):
        raise UsageError("SPEC, --ci, --at and --timezone are needed", "`cloudtrain schedule --help` shows all options")
    schedule = asked(spec, given, where)
    return show_differences(schedule, where) if check else show(schedule, where, write)


def asked(spec: Path, given: dict[str, Any], where: Place) -> Schedule:
    """The schedule of the command line. Raises UsageError."""
    from cloudtrain.nights.schedule import options, place

    local = given["ci"] not in options.BY_FORGE
    known = "" if local else where.repository
    repository = given["repository"] or (known if options.REPOSITORY.fullmatch(known) else "")
    return options.checked(**{**given, "spec": place.inside(spec, where, "the spec"), "repository": repository})


def show(schedule: Schedule, where: Place, write: bool) -> int:
    """Check all that a tick will need; print or write; say what is left to a person."""
    from cloudtrain import settings
    from cloudtrain.nights.schedule import files, once, options, place
    from cloudtrain.nights.schedule import spec as specs

    loaded = settings.load()
    once.refuse_without_bucket(schedule, loaded.state)
    place.refuse_taken(schedule, where)
    if schedule.install.endswith(".whl"):
        place.inside(where.root / schedule.install, where, "--install")
    doubts = specs.check(schedule, where) + options.warnings(schedule, settings.now())
    texts = files.texts(schedule, where)
    if write:
        changed = files.write(schedule, where)
        for path in texts:
            print_message(f"wrote {path}" if path in changed else f"{path} is as it would be written")
    else:
        click.echo("\n".join(f"# {path}\n{text}" if len(texts) > 1 else text for path, text in texts.items()), nl=False)
    if not where.in_git:
        print_message(f"no git repository is here: {where.root} counts as its root")
    for doubt in doubts:
        print_message(f"warning: {doubt}")
    print_message("\nonce, by a person:")
    by_environment = loaded.origin("state") == "environment"
    for number, step in enumerate(once.steps(schedule, where, loaded.state, by_environment), 1):
        print_message(f"{number}. " + step.replace("\n", "\n   "))
    return 0


def check_all(spec: Path | None, name: str | None, where: Place) -> int:
    """Compare the files that are there with what their own heads ask for. 1 when one differs."""
    from cloudtrain.nights.schedule import place

    only = None if spec is None else place.inside(spec, where, "the spec")
    found = [
        (path, each)
        for path, each in place.written(where)
        if each is None or (only in (None, each.spec) and name in (None, each.name))
    ]
    if not found:
        raise UsageError("there is no schedule here", "`cloudtrain schedule SPEC --ci github ... --write` writes one")
    worst = 0
    for path, schedule in found:
        if schedule is None:
            print_message(f"{path}: its head is not one that `cloudtrain schedule` wrote")
            worst = 1
    for each in dict.fromkeys(schedule for _, schedule in found if schedule is not None):
        if not (where.root / each.spec).is_file():
            print_message(f"{each.title}: its spec `{each.spec}` is not there")
            worst = 1
        worst = max(worst, show_differences(each, where))
    return worst


def show_differences(schedule: Schedule, where: Place) -> int:
    """1, with a short diff, when a file is not what would be written."""
    from cloudtrain.nights.schedule import files

    found = files.differences(schedule, where)
    for line in found:
        click.echo(line)
    if found:
        print_message(f"{schedule.title} is not what would be written; `{schedule.again} --write` writes it")
        return 1
    print_message(f"{schedule.title} is what would be written")
    return 0
