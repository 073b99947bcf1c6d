"""The crash protocol's second half: end a run after any crash, and prove that nothing of it is left.

Plain `cancel` and `destroy` forget a machine whose create was killed. So everything that may exist is looked for three
times over: in the engine's state with its pending creates, in the journal, and in the cloud by tag; until two empty
answers are a consistency delay apart and no call without an answer can still be in flight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import chain
from typing import Any, NamedTuple, Protocol

from cloudtrain.errors import CloudtrainError, MissingCredentials, Permission, ProviderError, TeardownIncomplete
from cloudtrain.providers import DeletionProof, ResourceState, run_key
from cloudtrain.units import money

from . import crud
from .crud import World

ROUNDS = 20  # consistency delays after which what is left is reported instead of waited for


class State(Protocol):
    """What recovery asks of the engine that made the run."""

    def take_lock(self) -> None:
        """End the processes that work on the run. Raises TeardownIncomplete when that is not possible from here."""

    def pending(self) -> list[tuple[str, dict[str, Any]]]:
        """(kind, inputs) of every create that was begun and not recorded as ended."""

    def destroy(self) -> None:
        """Delete what the state knows, and drop pending creates from it."""

    def forget(self) -> None:
        """Remove the state."""


class FoundResource(NamedTuple):
    """Something that exists, and how to delete it."""

    kind: str
    inputs: Mapping[str, Any]
    id: str
    bills: bool = True
    price: str = ""
    console_url: str = ""


def recover(world: World, state: State, attempt: int) -> DeletionProof:
    """End everything of the run's attempts up to this one. Safe to repeat, and after a crash anywhere, also of itself.

    Raises TeardownIncomplete with a list of what is, or may be, left.
    """
    notes: list[str] = []
    try_step(notes, lambda: world.journal.mark_cancelled(attempt))  # may be impossible on a full disk
    state.take_lock()
    for kind, inputs in try_step(notes, state.pending) or ():
        try_step(notes, partial(delete_found, world, kind, inputs))
    try_step(notes, state.destroy)
    proof = sweep(world, notes)
    try_step(notes, state.forget)
    return proof


def try_step(notes: list[str], step: Callable[[], Any]) -> Any:
    """Do a step whose failing is no reason to stop: the proof at the end does not hang on it."""
    try:
        return step()
    except CloudtrainError as error:
        notes.append(error.message)
    except Exception as error:  # a record of a shape that nobody foresaw: the provider is asked all the same
        notes.append(f"{type(error).__name__}: {error}")
    return None


def delete_found(world: World, kind: str, inputs: Mapping[str, Any]) -> None:
    """Delete what exists for these inputs."""
    if kind in world.cloud.drivers and not world.driver(kind).shared:
        for seen in world.driver(kind).find(inputs):
            if seen.state != "deleting":
                crud.delete(world, kind, inputs, seen.id)


def sweep(world: World, notes: list[str]) -> DeletionProof:
    """Look by journal and by tag, delete what is seen, until the stop rule holds. Raises TeardownIncomplete."""
    timing = world.cloud.timing()
    begin = world.now()
    give_up = begin + ROUNDS * timing.consistency_s + timing.in_flight_s
    empty_since: float | None = None
    in_flight, strangers = InFlight(world), set[str]()
    if not creates(world) and not in_flight.lost:
        return DeletionProof("the journal", f"{world.provider} was never asked for anything", world.now())
    while True:
        left, last_error = look(world, notes, strangers, in_flight.lost)
        if left or last_error:
            empty_since = None
        elif empty_since is None:
            empty_since = world.now()
            world.log(f"{world.provider} lists nothing of it; asking again in {timing.consistency_s:.0f} s")
        now = world.now()
        if empty_since is not None and now - empty_since >= timing.consistency_s and now >= in_flight.at():
            times = f"twice, {now - empty_since:.0f} s apart{named(strangers)}"
            return DeletionProof(world.provider, f"{world.provider} lists nothing of it, {times}", now)
        if now > give_up or isinstance(last_error, MissingCredentials | Permission):
            raise incomplete(world, left, last_error, notes)
        for thing in left:
            try_step(notes, partial(crud.delete, world, thing.kind, thing.inputs, thing.id))
        world.sleep(timing.poll_s)


def creates(world: World) -> list[Any]:
    """The journal's intents to make something that is not shared."""
    return [
        intent
        for intent in world.journal.intents()
        if intent.call == "create" and intent.kind in world.cloud.drivers and not world.driver(intent.kind).shared
    ]


class InFlight:
    """When no create without an answer can still make something, or have made something that is not listed yet.

    Each counts from the age that it has when it is first seen here; one from the future, and whatever a damaged
    journal no longer records, from now on.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.lost = not world.journal.whole
        self.sent = {"": world.now()} if self.lost else {}
        self.at()

    def at(self) -> float:
        """That instant, on the world's clock; 0.0 when every create has its answer."""
        timing, now = self.world.cloud.timing(), self.world.now()
        unanswered = [intent for intent in creates(self.world) if not intent.answer]
        for intent in unanswered:
            self.sent.setdefault(intent.number, now - max(0.0, self.world.journal.age_s(intent)))
        open_ones = {"", *(intent.number for intent in unanswered)}
        waiting = [sent for number, sent in self.sent.items() if number in open_ones]
        return max(waiting) + timing.in_flight_s + timing.consistency_s if waiting else 0.0


def look(
    world: World, notes: list[str], strangers: set[str], lost: bool = False
) -> tuple[list[FoundResource], ProviderError | None]:
    """What exists of the run, machines before what they depend on; and the error that kept the list incomplete.

    To `strangers` is added what the journal names and is not the run's.
    """
    found: dict[tuple[str, str], FoundResource] = {}
    last_error: ProviderError | None = None
    places: list[Mapping[str, str]] = []
    for intent in creates(world):
        place = dict(intent.inputs.get("place", {}))
        if place not in places:
            places.append(place)
        try:
            for seen in sightings(world, intent, strangers):
                found[intent.kind, seen.id] = thing(world, intent, seen)
        except ProviderError as error:
            last_error = error
    try:
        where = None if lost else places  # what is lost of the journal may have been anywhere
        for owned in chain.from_iterable(world.cloud.list_owned(key, where) for key in keys(world)):
            price = "" if owned.usd_per_hour is None else f"{money(owned.usd_per_hour)}/h"
            found.setdefault(
                (owned.kind, owned.id),
                FoundResource(owned.kind, owned.inputs, owned.id, owned.bills, price, owned.console_url),
            )
    except ProviderError as error:
        last_error = error
    if last_error is not None and last_error.message not in notes:
        notes.append(last_error.message)
    order = list(world.cloud.drivers)
    return sorted(found.values(), key=lambda t: -order.index(t.kind) if t.kind in order else 0), last_error


def keys(world: World) -> list[str]:
    """What tags and names may call the run."""
    return [run_key(world.journal.run, state) for state in world.states]


def sightings(world: World, intent: Any, strangers: set[str]) -> Iterator[ResourceState]:
    """What exists for a create: by its name, token or tag, and by the id in its answer.

    An id is believed only as far as the thing itself does not say that it is another's: then it is a stranger.
    """
    driver = world.driver(intent.kind)
    ids = set()
    for seen in driver.find(intent.inputs):
        ids.add(seen.id)
        yield seen
    if intent.id and intent.id not in ids and not deleted(world, intent.id):
        known = crud.read(world, intent.kind, intent.inputs, intent.id)
        if known is not None and known.owner in (None, *keys(world)):
            yield known
        elif known is not None and known.id not in strangers:
            strangers.add(known.id)
            world.log(f"{intent.kind} {known.id} has neither name nor tag of the run: it is left alone")


def named(strangers: set[str]) -> str:
    """Words about strangers, for the proof."""
    which = ", ".join(sorted(strangers))
    return f"; left alone, because neither its name nor a tag says that it is the run's: {which}" if which else ""


def deleted(world: World, id: str) -> bool:  # noqa: A002
    """Whether a delete of this id was taken: then only `find` and the tags are asked about it."""
    return any(i.call == "delete" and i.id == id and i.answer == "done" for i in world.journal.intents())


def thing(world: World, intent: Any, seen: ResourceState) -> FoundResource:
    """A sighting with what a person needs to know of it."""
    bills = world.driver(intent.kind).bills
    return FoundResource(
        intent.kind, intent.inputs, seen.id, bills, "", world.cloud.console_url(intent.inputs, seen.id)
    )


def incomplete(
    world: World, left: list[FoundResource], last_error: ProviderError | None, notes: list[str]
) -> TeardownIncomplete:
    """The list of what is, or may be, left: kind, id, price, console; and the command to repeat."""
    run = world.journal.run
    rows = [
        f"{t.kind} {t.id}"
        + (f" ({t.price})" if t.price else "" if t.bills else " (free)")
        + f" {t.console_url}".rstrip()
        for t in left
    ]
    if not rows:
        rows = [f"perhaps {i.kind} {i.inputs.get('name')} in {describe_place(i.inputs)}" for i in creates(world)]
        rows = list(dict.fromkeys(rows)) or ["perhaps something that the damaged journal no longer records"]
    because = f"; {last_error.message}" if last_error else f"; {notes[-1]}" if notes else ""
    hint = f"cloudtrain down {run}" + (f" (before: {last_error.hint})" if last_error and last_error.hint else "")
    return TeardownIncomplete(f"run `{run}` is not proven gone from {world.provider}: {'; '.join(rows)}{because}", hint)


def describe_place(inputs: Mapping[str, Any]) -> str:
    """Where something is, for a person: zone, or region, or anywhere."""
    place = dict(inputs.get("place", {}))
    return str(place.get("zone") or place.get("region") or "anywhere")
