"""Leftovers at providers, cloud first: found without any record, compared with the records, deleted."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from cloudtrain import settings
from cloudtrain.errors import (
    Cancelled,
    CloudtrainError,
    MissingCredentials,
    NotFound,
    Permission,
    ProviderError,
    TeardownIncomplete,
)
from cloudtrain.providers import Cloud, OwnedResource, PriceSource, Stack, load, names
from cloudtrain.runs.leftovers import lost
from cloudtrain.runs.leftovers.judging import Leftover, Records, judge, records, state
from cloudtrain.state.protocol import Store

PATIENCE_ROUNDS = 144  # polls until something that is still listed is reported as left: 12 min at the usual 5 s


class ProviderAnswer(NamedTuple):
    """What one provider answered: things, and the error that kept it from answering wholly."""

    provider: str
    things: list[Leftover]
    error: ProviderError | None
    meant: bool = True  # credentials are set for it, or were good enough to begin
    rented: bool = True  # a provider; not this machine

    @property
    def absent(self) -> bool:
        """Nobody has credentials for it here: nothing to ask, and nothing to say about it."""
        return isinstance(self.error, MissingCredentials) and not self.meant


class SweepOptions(NamedTuple):
    """`providers`: only there, and an error where one cannot be asked. `everything`: what is not past its deadline too.

    `fail_if_found`: what was left over is a failure, even when it is gone now; so is whoever was not asked and should
    have been, because nothing is known of it. `all_states`: what other states hold is due before its deadline, too.
    """

    providers: tuple[str, ...] = ()
    everything: bool = False
    fail_if_found: bool = False
    all_states: bool = False


class Listed(NamedTuple):
    """What every provider answered, before anything is deleted."""

    answers: list[ProviderAnswer]
    unread: list[str]  # a message for every record that could not be read
    no_cloud: list[str]  # named providers with nothing to sweep
    meant: frozenset[str]  # providers where runs were begun that are not proven gone

    @property
    def due(self) -> list[Leftover]:
        """What should be gone."""
        return [thing for answer in self.answers for thing in answer.things if thing.why]


class Removed(NamedTuple):
    """How many of the things due at a provider are gone."""

    provider: str
    gone: int
    of: int


class FoundLeftovers(CloudtrainError):
    """Something was left over, and is gone now; a failure because it was asked for."""

    exit_code = 1


def sweep(
    options: SweepOptions,
    delete: bool | Callable[[int], bool],
    emit: Callable[[Listed | Removed], None] = lambda event: None,
) -> Listed:
    """Ask every provider for what is ours, and delete what should be gone: if `delete`, or once it says yes to so many.

    Without it nothing is deleted; that is an error only when it was asked and said no. Raises TeardownIncomplete with
    what is left and with who could not be asked, Cancelled after a no, the error of a named provider that cannot be
    asked for want of credentials, FoundLeftovers.
    """
    wanted = clouds(options.providers)
    store, problem = state()
    known, now = records(store), settings.now()
    answers = [
        ProviderAnswer(name, [Leftover(name, owned, lost.REASON) for owned in found], None, rented=False)
        for name, found in lost.find(options.providers).items()
    ]
    more = options.everything, options.all_states
    answers += [look_at(name, cloud, known, now, *more) for name, cloud in wanted.items()]
    unread = [message for message in (problem, *known.unread) if message]
    listed = Listed(answers, unread, sorted(set(options.providers) - set(wanted)), known.providers)
    emit(listed)
    left: list[tuple[Leftover, str]] = []
    if listed.due and delete:
        if callable(delete) and not delete(len(listed.due)):
            raise Cancelled("nothing was deleted; it keeps costing money")
        for name in dict.fromkeys(thing.provider for thing in listed.due):
            due = [thing for thing in listed.due if thing.provider == name]
            if name in wanted:
                remaining = remove(wanted[name], due, time.sleep)
            else:
                remaining = [(thing, "still there") for thing in due if not lost.end(name, thing.owned)]
            emit(Removed(name, len(due) - len(remaining), len(due)))
            left += remaining
    raise_for_rest(options, listed, left)
    return listed


def raise_for_rest(options: SweepOptions, listed: Listed, left: list[tuple[Leftover, str]]) -> None:
    """Raises for what is left, and for what could not be asked."""
    unnamed = [each for each in unasked(listed.answers) if not (options.providers and lacks_credentials(each))]
    rows = [
        f"{t.provider} {t.owned.what} {t.owned.id} ({message}) {t.owned.console_url}".strip() for t, message in left
    ]
    rows += [f"{answer.provider} could not be asked: {answer.error and answer.error.message}" for answer in unnamed]
    if rows:
        raise TeardownIncomplete("; ".join(rows), "cloudtrain sweep --yes")
    for answer in listed.answers:
        if options.providers and lacks_credentials(answer) and answer.error is not None:
            raise answer.error  # it was named: not a note, an error
    if options.fail_if_found:
        raise_for_unasked(listed)
    if listed.due and options.fail_if_found:
        raise FoundLeftovers(
            f"{len(listed.due)} left over; all gone now", "`cloudtrain events` of their runs may say why"
        )


def raise_for_unasked(listed: Listed) -> None:
    """Raises MissingCredentials when nobody could be asked, or not everybody where a run may still stand."""
    hint = "give it the credentials, or name with --provider who is to be asked"
    absent = sorted(answer.provider for answer in listed.answers if answer.absent)
    if missing := [name for name in absent if name in listed.meant]:
        raise MissingCredentials(f"runs were begun at {', '.join(missing)}, which could not be asked", hint)
    if absent and listed.unread:  # and so it is not known whether one was begun there
        raise MissingCredentials(f"{listed.unread[0]}; and {', '.join(absent)} could not be asked", hint)
    if all(answer.error is not None for answer in listed.answers if answer.rented):
        raise MissingCredentials("nobody could be asked, so nothing is known", hint)


def lacks_credentials(answer: ProviderAnswer) -> bool:
    """Whether nothing could be asked for want of credentials."""
    return isinstance(answer.error, MissingCredentials) and not answer.things


def clouds(wanted: Iterable[str] = ()) -> dict[str, Cloud]:
    """Providers with something to provision: those named, else all. Raises UsageError for an unknown name."""
    chosen = list(wanted) or names("stacks")
    found = {name: load("stacks", name, Stack).cloud for name in chosen}
    return {name: cloud for name, cloud in found.items() if cloud is not None}


def look(
    store: Store | None, wanted: Mapping[str, Cloud], now: float, everything: bool = False
) -> list[ProviderAnswer]:
    """Ask each provider for everything of ours, in every region and on every page."""
    known = records(store)
    return [look_at(name, cloud, known, now, everything) for name, cloud in wanted.items()]


def look_at(
    name: str, cloud: Cloud, known: Records, now: float, everything: bool = False, all_states: bool = False
) -> ProviderAnswer:
    """Ask one provider. What it lists before its error counts: it is there, whatever else there may be."""
    things: list[Leftover] = []
    meant = credentials_set(name)
    try:
        cloud.account()
        meant = True
        for thing in cloud.list_owned(None, None):
            things.append(judge(name, thing, known, now, everything, all_states))
    except ProviderError as error:
        return ProviderAnswer(name, things, error, meant)
    return ProviderAnswer(name, things, None)


def credentials_set(name: str) -> bool:
    """Whether the environment holds anything that is meant as credentials for the provider."""
    if name not in names("pricing"):
        return False
    return any(os.environ.get(variable) for variable in load("pricing", name, PriceSource).credentials)


def remove(cloud: Cloud, things: list[Leftover], sleep: Callable[[float], None]) -> list[tuple[Leftover, str]]:
    """Delete them, machines before what they depend on, until the provider lists none of them twice in a row.

    Returns what is still listed after a while, with the provider's last message about it.
    """
    timing = cloud.timing()
    order = list(cloud.drivers)
    wanted = {(t.owned.kind, t.owned.id): t for t in things}
    messages: dict[tuple[str, str], str] = {}
    empty = 0
    left = dict(wanted)
    for _ in range(PATIENCE_ROUNDS):
        for key in sorted(left, key=lambda k: -order.index(k[0]) if k[0] in order else 0):
            messages[key] = delete(cloud, left[key].owned)
        sleep(timing.consistency_s if not left else timing.poll_s)
        try:
            listed = {(o.kind, o.id) for o in cloud.list_owned(None, None)}
        except ProviderError as error:
            messages.update(dict.fromkeys(wanted, error.message))
            empty = 0
            if isinstance(error, MissingCredentials | Permission):
                break  # waiting fixes neither
            continue
        left = {key: thing for key, thing in wanted.items() if key in listed}
        empty = 0 if left else empty + 1
        if empty == 2:
            return []
    return [(thing, messages.get(key) or "still listed") for key, thing in (left or wanted).items()]


def delete(cloud: Cloud, owned: OwnedResource) -> str:
    """Ask once for its end; returns the provider's words when it refuses, else ""."""
    driver = cloud.drivers.get(owned.kind)
    if driver is None:
        return f"this version cannot delete a {owned.kind or 'thing of that kind'}"
    try:
        driver.delete(owned.inputs, owned.id)
    except NotFound:
        return ""
    except CloudtrainError as error:
        return error.message
    return ""


def unasked(answers: Iterable[ProviderAnswer]) -> list[ProviderAnswer]:
    """Providers that could not be asked, or not wholly, and are meant to be: nothing is proven about those."""
    return [answer for answer in answers if answer.error is not None and not answer.absent]
