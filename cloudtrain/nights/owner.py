"""Whose a schedule's name is: one spec of one repository, and a state that outlives the tick."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cloudtrain.errors import UsageError, visible
from cloudtrain.nights import book
from cloudtrain.nights.options import TickOptions
from cloudtrain.state.protocol import AlreadyThere, Store
from cloudtrain.state.store import write_record

if TYPE_CHECKING:
    from cloudtrain.records import ScheduleRecord
    from cloudtrain.settings import Settings

REPOSITORY: Final = ("GITHUB_REPOSITORY", "CI_PROJECT_PATH")  # GitHub, GitLab: owner/name
CI: Final = ("GITHUB_ACTIONS", "GITLAB_CI")


def repository(environment: Mapping[str, str]) -> str:
    """The repository that this runs for, owner/name; "" where no CI system says so."""
    return next((environment[name] for name in REPOSITORY if environment.get(name)), "")


def spec_path(spec: Path) -> str:
    """The spec's path in its repository, the same in every clone; on this machine where it is in none."""
    absolute = spec.absolute()
    root = next((folder for folder in absolute.parents if (folder / ".git").exists()), None)
    return absolute.as_posix() if root is None else absolute.relative_to(root).as_posix()


def refuse_lost_state(settings: Settings, environment: Mapping[str, str]) -> None:
    """Raises UsageError where the state would vanish with a CI job: every tick would be the first, and start a run."""
    if "://" in settings.state or not any(environment.get(name) for name in CI):
        return
    hosted = environment.get("RUNNER_ENVIRONMENT", "github-hosted") == "github-hosted" and environment.get(CI[0])
    if hosted or settings.origin("state") == "default":
        raise UsageError(
            f"a schedule needs a state that outlives a CI job, and `{settings.state}` is a folder of it",
            "set CLOUDTRAIN_STATE to s3://BUCKET/PREFIX or gs://BUCKET/PREFIX, the same in every job",
        )


def claimed(store: Store, options: TickOptions, environment: Mapping[str, str], now: float) -> ScheduleRecord:
    """The schedule's record, made by its first tick; its hour may change, its spec and repository may not.

    Raises UsageError when the name is another's: of another spec, or of the repository that this is a fork of.
    """
    from cloudtrain.records import ScheduleRecord

    wanted = ScheduleRecord(
        name=options.name,
        spec=spec_path(options.spec),
        repository=repository(environment),
        at=options.at,
        timezone=options.timezone,
        latest_s=options.latest_s,
        made=now,
    )
    there = book.schedule(store, options.name)
    if there is None:
        try:
            store.create(book.key(options.name, "schedule.json"), wanted.as_bytes())
            return wanted
        except AlreadyThere:
            there = book.schedule(store, options.name) or wanted
    refuse_another(there, wanted, store)
    changed = there.replace(
        repository=wanted.repository or there.repository,
        at=wanted.at,
        timezone=wanted.timezone,
        latest_s=wanted.latest_s,
    )
    if changed != there:
        write_record(store, book.key(options.name, "schedule.json"), changed)
    return changed


def refuse_another(there: ScheduleRecord, wanted: ScheduleRecord, store: Store) -> None:
    """Raises UsageError when the name belongs to somebody else."""
    place = store.place(book.key(there.name, "schedule.json"))
    moved = f"if it has moved: delete `{place}`"
    if there.repository and wanted.repository and there.repository != wanted.repository:
        raise UsageError(
            f"schedule `{there.name}` belongs to the repository {visible(there.repository)}, and this is "
            f"{visible(wanted.repository)}: a fork or a copy, whose nights would be run twice",
            f"switch the workflow off here, or give it a name and a state of its own (--name); {moved}",
        )
    if there.spec != wanted.spec:
        raise UsageError(
            f"schedule `{there.name}` runs the spec {visible(there.spec)}, and this is {visible(wanted.spec)}",
            f"give one of the two another --name; {moved}",
        )
