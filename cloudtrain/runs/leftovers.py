"""What providers hold of ours, cloud first: found without any record, compared with the records, deleted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from cloudtrain.errors import CloudtrainError, MissingCredentials, NotFound, ProviderError
from cloudtrain.runs.record import Run, all_runs
from cloudtrain.runs.store import Store
from cloudtrain.seams import Cloud, Owned, Stack, load, names, run_key

PATIENCE_ROUNDS = 40  # polls until something that goes on being listed is told as left


class Leftover(NamedTuple):
    """A thing of ours and why it should not be there any more; `why` is empty for one that should."""

    provider: str
    owned: Owned
    why: str


class Looked(NamedTuple):
    """What one provider answered: things, or the error that kept it from answering."""

    provider: str
    things: list[Leftover]
    error: ProviderError | None


def clouds(wanted: Iterable[str] = ()) -> dict[str, Cloud]:
    """Providers with something to provision: those named, else all. Raises UsageError for an unknown name."""
    chosen = list(wanted) or names("stacks")
    found = {name: load("stacks", name, Stack).cloud for name in chosen}
    return {name: cloud for name, cloud in found.items() if cloud is not None}


def look(store: Store, wanted: Mapping[str, Cloud], now: float, everything: bool = False) -> list[Looked]:
    """Ask each provider for everything of ours, in every region and on every page."""
    runs = {run_key(run.id): run for run in all_runs(store)}
    answers = []
    for name, cloud in wanted.items():
        try:
            cloud.account()
            owned = list(cloud.list_owned(None, None))
        except ProviderError as error:
            answers.append(Looked(name, [], error))
            continue
        things = [Leftover(name, thing, reason(thing, runs.get(thing.run), now, everything)) for thing in owned]
        answers.append(Looked(name, things, None))
    return answers


def reason(thing: Owned, run: Run | None, now: float, everything: bool) -> str:
    """Why it should be gone; "" for what may stay: unexpired, and not of a run that our records know as ended."""
    if thing.expires is not None and thing.expires <= now:
        return "past its deadline"
    if run is not None and (run.intent.get("wanted") == "down" or run.gone is not None):
        return f"run `{run.id}` is ended"
    if everything:
        return "asked for"
    return "" if thing.expires is not None else "without a deadline"


def remove(cloud: Cloud, things: list[Leftover], sleep: Callable[[float], None]) -> list[tuple[Leftover, str]]:
    """Delete them, machines before what they stand on, until the provider lists none of them twice in a row.

    Returns what is still listed after a while, with the provider's last words about it.
    """
    timing = cloud.timing()
    order = list(cloud.drivers)
    wanted = {(t.owned.kind, t.owned.id): t for t in things}
    words: dict[tuple[str, str], str] = {}
    empty = 0
    left = dict(wanted)
    for _ in range(PATIENCE_ROUNDS):
        for key in sorted(left, key=lambda k: -order.index(k[0]) if k[0] in order else 0):
            words[key] = delete(cloud, left[key].owned)
        sleep(timing.consistency_s if not left else timing.poll_s)
        try:
            listed = {(o.kind, o.id) for o in cloud.list_owned(None, None)}
        except ProviderError as error:
            words.update(dict.fromkeys(wanted, error.message))
            empty = 0
            continue
        left = {key: thing for key, thing in wanted.items() if key in listed}
        empty = 0 if left else empty + 1
        if empty == 2:
            return []
    return [(thing, words.get(key, "still listed")) for key, thing in (left or wanted).items()]


def delete(cloud: Cloud, owned: Owned) -> str:
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


def unasked(answers: Iterable[Looked]) -> list[Looked]:
    """Providers that could not be asked although there are credentials for them: nothing is proven about those."""
    return [a for a in answers if a.error is not None and not isinstance(a.error, MissingCredentials)]
