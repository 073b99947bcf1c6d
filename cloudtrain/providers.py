"""PriceSource and Stack, the records at the end of a provider file, what they are made of, and how they are found.

A provider is a file or a folder: `pricing/<key>` makes it quotable, `stacks/<key>` makes it launchable; its name is the
key everywhere. They are discovered; nothing lists them.
"""

from __future__ import annotations

import os
import pkgutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from cloudtrain.errors import UsageError, nearest, visible
from cloudtrain.offer import Box, Offer, OfferKey, Probe, Terms

if TYPE_CHECKING:
    from cloudtrain.billing import Billing
    from cloudtrain.listings import Answer, Shape
    from cloudtrain.plan import Plan
    from cloudtrain.records import MachineRecord
    from cloudtrain.state.address import Address
    from cloudtrain.state.protocol import Store

T = TypeVar("T")


class Context(NamedTuple):
    """What a price source may read: price lists, and of owned machines the user's settings and a probe."""

    catalog: Path  # folder of the shipped price lists, or of those that the user named
    usd_per_kwh: Decimal | None = None  # None: nobody said
    watts: Decimal | None = None
    probe: Probe | None = None  # of this machine, where it was measured
    boxes: tuple[Box, ...] = ()  # machines of one's own that are not this one
    refreshed: Mapping[str, Path] = {}  # provider -> the folder of its refreshed price list

    def price_list(self, provider: str) -> Path:
        """The folder in which the provider's price list is read."""
        return self.refreshed.get(provider, self.catalog)


class PriceSource(NamedTuple):
    """The record at the end of `pricing/<name>.py`."""

    name: str
    offers: Callable[[Context], Iterable[Offer]]
    terms: Terms
    credentials: tuple[str, ...] = ()  # environment names, for doctor and for the skip message
    credential_files: tuple[str, ...] = ()  # of the provider's own tools, as a shell would name them
    # (rows, seconds for all of it) -> what the provider says of each; a ProviderError when it cannot be asked at all
    refresh: Callable[[Sequence[Shape], float], Iterable[Answer]] | None = None
    # (row, days) -> changes of its spot price, oldest first: epoch seconds, zone, US dollars per hour from then on
    past: Callable[[Shape, int], Iterable[tuple[float, str, Decimal]]] | None = None
    keyless: bool = False  # `refresh` needs no credentials
    price_credentials: tuple[str, ...] = ()  # environment names that let `refresh` ask, and nothing else
    owned: bool = False  # its offers are machines of one's own: the context's boxes too


class Guard(NamedTuple):
    """One thing that ends a run's cost by itself. `alone`: it works with the client gone."""

    name: str
    alone: bool


class Timing(NamedTuple):
    """How long things take at a provider, in seconds.

    `in_flight_s` is the longest that a call of ours can be in flight before what it makes exists: an intent without an
    answer is only believed to have made nothing once it is older. `consistency_s` is how long a list may lag behind.
    """

    request_s: float = 60.0  # hard time-out of one call
    in_flight_s: float = 120.0
    consistency_s: float = 30.0
    poll_s: float = 5.0


def effective_timing(real: Timing, simulating: bool) -> Timing:
    """`real`, or a short one while simulating: the four numbers of CLOUDTRAIN_SIMULATOR_TIMING, else small ones."""
    if not simulating:
        return real
    text = os.environ.get("CLOUDTRAIN_SIMULATOR_TIMING", "2,3,0.3,0.05")
    try:
        return Timing(*(float(part) for part in text.split(",")))
    except (TypeError, ValueError):
        raise UsageError(
            f"CLOUDTRAIN_SIMULATOR_TIMING is `{visible(text)}`", "write request,in-flight,consistency,poll in seconds"
        ) from None


class ResourceState(NamedTuple):
    """What a provider says about one of our resources.

    `building`: wait. `ready`: there. `ended`: useless, and still to be deleted. `deleting`: being deleted.
    """

    id: str
    state: Literal["building", "ready", "ended", "deleting"]
    message: str = ""  # the provider's own, for a person
    outputs: Mapping[str, Any] = {}
    owner: str | None = None  # the run's key in its tags or name, "" when they hold none; None: it cannot say


class Resource(NamedTuple):
    """One thing that a plan makes. `inputs` is plain JSON without a secret: it is kept in the journal and the state.

    Inputs always hold `run`, `attempt`, `role`, `name`, `place` (a flat dict: account, region, zone, project, as the
    provider needs), `expires` (epoch seconds); all of them fixed by the plan, so that doing it twice is the same call.
    """

    role: str  # unique in the plan: "machine", "firewall"
    kind: str  # key of Stack.drivers
    inputs: Mapping[str, Any]
    after: tuple[str, ...] = ()  # roles that are made first; `inputs["needs"][role]` then holds their outputs and id
    summary: str = ""  # what it is, for the plan: "machine trn1.2xlarge, spot, us-east-1"


class Driver(NamedTuple):
    """Four verbs over one kind of thing. Each raises only the provider errors of `cloudtrain.errors`.

    `create` sends exactly one mutating call, with the hard time-out of the timing, and returns without waiting for the
    thing to be ready. An answer that may hide a success is Unknown. `find` returns everything that exists for the
    inputs, by name, token or tag, without needing an id. `status` raises NotFound, and says NoCapacity (or another
    error) when the provider gave the thing up after accepting it. `delete` sends one call; NotFound is its success.
    """

    create: Callable[[Mapping[str, Any]], ResourceState]
    find: Callable[[Mapping[str, Any]], Sequence[ResourceState]]
    status: Callable[[Mapping[str, Any], str], ResourceState]
    delete: Callable[[Mapping[str, Any], str], None]
    repeatable: bool = True  # the same create twice makes one thing: by token, or because the name is unique
    bills: bool = True
    shared: bool = False  # belongs to all runs and costs nothing: made when absent, never deleted
    ready_s: float = 900.0  # patience until it is ready


def run_key(run: str, state: str = "") -> str:
    """What stands for a run wherever a name must be short: the id of its state, and eight digits of its own.

    Without an id, as older versions wrote it, it is those eight digits alone.
    """
    import hashlib

    return state + hashlib.sha256(run.encode()).hexdigest()[:8]


def state_of(key: str) -> str:
    """The id of the state in a run's key; "" in one of an older version."""
    return key[:-8]


class OwnedResource(NamedTuple):
    """Something of ours that exists at a provider, whatever our records say."""

    run: str  # of a rented thing: the run's key; here: its name
    id: str
    what: str
    kind: str = ""  # key of Stack.drivers
    inputs: Mapping[str, Any] = {}  # enough for the driver's `status` and `delete`
    expires: float | None = None
    bills: bool = True
    usd_per_hour: Decimal | None = None
    console_url: str = ""


class StopOptions(NamedTuple):
    """How a run is ended: seconds for a checkpoint, whether another machine's lock is overridden, a log."""

    grace_s: float
    force: bool = False
    log: Callable[[str], None] = lambda text: None


class DeletionProof(NamedTuple):
    """A deletion proof: who answered that it is gone, the answer, and when (epoch seconds)."""

    said_by: str
    answer: str
    time: float


class Finding(NamedTuple):
    """One line of `doctor`."""

    what: str
    state: Literal["ok", "problem", "unknown"]
    message: str
    hint: str = ""
    barring: bool = True  # a problem with it is one of credentials, permission or quota


class Caller(NamedTuple):
    """Who is to run cloudtrain without a key: what a forge's identity tokens say of one branch of one repository."""

    issuer: str  # without https://
    subject: str  # the token's `sub`: repository and branch


class Setup(NamedTuple):
    """For whom, where and over which state least rights are written."""

    caller: Caller
    place: Mapping[str, str]  # as `Cloud.account()` says it
    state: Address | None  # a bucket, perhaps of another provider


@dataclass(frozen=True, eq=False, repr=False)
class Cloud:
    """What a provider file adds when something has to be provisioned there. Everything else about it is shared.

    `resources(plan, account)` is pure: what to make, in an order in which it can be made. `account()` asks who we are
    there, cheaply, and raises MissingCredentials; its dict goes into every place. `list_owned(run, places)` lists all
    of ours by tag or name, of one run or of all; there, or in every region. `drivers` is in the order of making.
    """

    account: Callable[[], dict[str, str]]
    resources: Callable[[Plan, Mapping[str, str]], Sequence[Resource]]
    drivers: Mapping[str, Driver]
    list_owned: Callable[[str | None, Sequence[Mapping[str, str]] | None], Iterable[OwnedResource]]
    timing: Callable[[], Timing]
    console_url: Callable[[Mapping[str, Any], str], str]  # (inputs, id) -> its page in the provider's console
    findings: Callable[[], Iterable[Finding]]  # for doctor: permissions by dry run, quotas with the request's link
    serves: Callable[[OfferKey], bool]  # can `resources` make it
    kept: tuple[str, ...] = ()  # what stays afterwards, as text
    image: Callable[[OfferKey], str] = lambda key: ""  # what its machine starts from, if it matters
    hosts: Callable[[OfferKey], int] = lambda key: 1  # machines that one of it is; each runs the same job
    # why this account can have nothing in its place, "" if it can; may raise NoQuotaHere
    unavailable_reason: Callable[[OfferKey], str] = lambda key: ""
    setup: Callable[[Setup], Mapping[str, str]] | None = None  # least rights, to be given once: file name -> text
    place_of: Callable[[str], dict[str, str]] | None = None  # an account's name -> its place, where nobody can be asked


class Lost(NamedTuple):
    """Of a direct stack: what runs here though its records have been removed, and ending one of those."""

    find: Callable[[], Iterable[OwnedResource]]
    end: Callable[[OwnedResource], bool]  # whether it is gone


class Stack(NamedTuple):
    """The record at the end of `stacks/<name>.py`: how a plan becomes a machine here and stops being one.

    A `direct` stack has nothing to provision; the others have a `cloud`, and their four verbs go through the Pulumi
    engine and the crash protocol. `stop` asks, waits, forces, looks, and returns what the provider (here: the operating
    system) answered; it raises TeardownIncomplete when something is left.
    """

    name: str
    guards: Callable[[str, str], tuple[Guard, ...]]  # (offer's name, market) -> what ends a run's cost there
    backends: frozenset[str]  # back ends of the accelerator table that `up` can run a job on here today
    direct: bool
    start: Callable[[Plan, Store, Callable[[str], None]], MachineRecord]  # (plan, state, log) -> what was made
    alive: Callable[[MachineRecord], bool]  # does it still answer for the run
    stop: Callable[[str, Store, StopOptions], DeletionProof]  # (run, state, how) -> the word that nothing of it is left
    list_owned: Callable[[], Iterable[OwnedResource]]  # everything of ours here, found without any record
    preview: Callable[[Plan], Sequence[str]] = lambda plan: ()  # what would be made, as text; makes nothing
    # (run, state, force) -> owners whose lock was removed, and owners that live and keep theirs
    unlock: Callable[[str, Store, bool], tuple[list[str], list[str]]] | None = None
    cloud: Cloud | None = None
    # (run, state, it has spoken) -> the machine that a client asked for and did not live to write down
    find: Callable[[str, Store, bool], MachineRecord | None] | None = None
    lost: Lost | None = None
    billed: Billing | None = None


def names(package: str) -> tuple[str, ...]:
    """Provider keys that have a file in `pricing` or `stacks`, sorted, without importing one."""
    return _names_in(tuple(import_module(f"cloudtrain.{package}").__path__))


def simulated() -> tuple[str, ...]:
    """Providers with a stack that have a fake cloud too: a folder in `simulator`, which is not imported."""
    return tuple(sorted({*names("stacks")} & {*_names_in((str(Path(__file__).parent / "simulator"),))}))


@cache
def _names_in(folders: tuple[str, ...]) -> tuple[str, ...]:
    """The same for a package in these folders, which are listed once."""
    return tuple(sorted(each.name for each in pkgutil.iter_modules(folders) if not each.name.startswith("_")))


def load(package: str, name: str, kind: type[T]) -> T:
    """The `provider` record of `<package>/<name>.py`. Raises UsageError for an unknown name only."""
    known = names(package)
    if name not in known:
        close = nearest(name, known)
        raise UsageError(
            f"unknown provider `{name}`", f"did you mean `{close}`?" if close else f"known: {', '.join(known)}"
        )
    record = import_module(f"cloudtrain.{package}.{name}").provider
    if not isinstance(record, kind) or record.name != name:  # type: ignore[attr-defined]
        raise TypeError(f"{package}/{name}.py must end with `provider = {kind.__name__}({name!r}, ...)`")
    return record
