"""What should be gone and what may stay: a thing's own deadline, whose it is, and what the records of a state say."""

from __future__ import annotations

from typing import NamedTuple

from cloudtrain import settings
from cloudtrain.errors import CloudtrainError
from cloudtrain.providers import OwnedResource, run_key, state_of
from cloudtrain.runs.record import Run
from cloudtrain.state import identity
from cloudtrain.state.protocol import Store
from cloudtrain.state.store import open_store


class Leftover(NamedTuple):
    """A thing of ours and why it should not be there any more; `why` is empty for one that should.

    `other` is the id of another state, whose run it is of: that state ends it, or its deadline.
    """

    provider: str
    owned: OwnedResource
    why: str
    other: str = ""


class Records(NamedTuple):
    """What the state says about itself and about runs, as far as it can be read."""

    runs: dict[str, Run]  # run id -> a run whose records can be read
    ended: dict[str, str]  # run key -> id of a run that is ended
    unread: list[str]  # a message for everything that cannot be read
    ids: frozenset[str] = frozenset()  # of the state: its own, and what names of its runs carry

    @property
    def providers(self) -> frozenset[str]:
        """Where runs were begun that are not proven gone."""
        return frozenset(run.intent.provider for run in self.runs.values() if run.begun and run.gone is None)


def state() -> tuple[Store | None, str]:
    """The state by the settings, or None and a message why it cannot be opened. A sweep works without."""
    try:
        return open_store(settings.load().state), ""
    except CloudtrainError as error:
        return None, error.message


def records(store: Store | None) -> Records:
    """Every run as far as its records can be read. Raises nothing: the cloud is asked whatever the state says."""
    known = Records({}, {}, [])
    if store is None:
        return known
    try:
        found = store.children("runs")
    except CloudtrainError as error:
        known.unread.append(error.message)
        return known
    ids = set[str]()
    try:
        ids.add(identity.find(store))
    except CloudtrainError as error:
        known.unread.append(error.message)
    for name in found:
        run = Run(store, name)
        try:
            over = run.gone is not None or run.wanted == "down"
            carried = "" if run.begun is None else run.begun.state
        except CloudtrainError as error:
            known.unread.append(error.message)
            continue
        known.runs[name] = run
        ids.add(carried)
        if over:
            known.ended[run_key(name, carried)] = name
    return known._replace(ids=frozenset(ids - {""}))


def judge(
    provider: str, thing: OwnedResource, known: Records, now: float, everything: bool, all_states: bool
) -> Leftover:
    """A thing with the reason why it should be gone, if there is one.

    What is past its own deadline should be, whoever owns it. What is not, and is of another state, is that state's
    affair, unless `all_states`; of an older version's run nobody knows whose it is, and it counts as this state's.
    """
    whose = state_of(thing.run)
    other = "" if whose in known.ids else whose
    if other and not all_states and not is_past(thing, now):
        return Leftover(provider, thing, "", other)
    return Leftover(provider, thing, reason(thing, known.ended.get(thing.run), now, everything or bool(other)), other)


def is_past(thing: OwnedResource, now: float) -> bool:
    """Whether its own deadline is over: that of its tag, label or name, or the provider's own limit."""
    return thing.expires is not None and thing.expires <= now


def reason(thing: OwnedResource, ended: str | None, now: float, everything: bool) -> str:
    """Why it should be gone; "" for what may stay: unexpired, and not of a run that our records know as ended."""
    if is_past(thing, now):
        return "past its deadline"
    if ended is not None:
        return f"run `{ended}` is ended"
    if everything:
        return "asked for"
    return "" if thing.expires is not None else "without a deadline"
