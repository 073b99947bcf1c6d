"""What would keep a run from starting: access, quotas, prices and leftovers at every provider; and this machine.

Nothing here prints, and nothing is made at a provider.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from typing import NamedTuple

from cloudtrain.doctor import credentials, local, price_lists
from cloudtrain.errors import CloudtrainError, MissingCredentials, Permission, ProviderError, Quota, UsageError
from cloudtrain.offer import Offer, OfferKey
from cloudtrain.prices.ages import keeps
from cloudtrain.providers import Cloud, Finding, PriceSource, Stack, load, names, run_key
from cloudtrain.quote import catalog, renewal
from cloudtrain.quote.ages import ages
from cloudtrain.runs import live_price
from cloudtrain.runs import sweep as runs_sweep
from cloudtrain.runs.leftovers.judging import Records, records, state
from cloudtrain.runs.sweep import ProviderAnswer
from cloudtrain.units import money, rfc3339

LEFT, BARRED, OTHER = 6, 4, 1  # what a problem ends `doctor` with; the largest of all is the exit code
HERE = "this machine"


class Entry(NamedTuple):
    """One line of `doctor`: about a provider or this machine, and its exit code (0: none)."""

    subject: str
    finding: Finding
    exit_code: int


def diagnose(named: Sequence[str], now: float, watch: Callable[[str], None] = lambda subject: None) -> list[Entry]:
    """Everything about the named providers, or about all that can be rented from or run on, and about this machine.

    `watch` gets what is checked next. Raises UsageError for an unknown provider.
    """
    stacks = {name: load("stacks", name, Stack) for name in dict.fromkeys(named)}
    stacks = stacks or {name: load("stacks", name, Stack) for name in names("stacks")}
    whose = list(credentials.findings(now))
    store, state_error = state()
    known = records(store)
    entries: list[Entry] = []
    rents = False
    for name, stack in stacks.items():
        watch(name)
        if stack.cloud is None:
            entries += [Entry(name, finding, code(finding, False)) for finding in processes(stack, known)]
            continue
        found = list(of_cloud(name, stack.cloud, known, now, name in named))
        rents = rents or name in named or any(n.finding.state == "ok" for n in found)
        entries += [*found, *(Entry(name, each, 0) for each in price_lists.findings(name, now, offers))]
    quoted = [] if named else [name for name in names("pricing") if name not in stacks]  # nothing is rented there
    entries += [Entry(name, found, 0) for name in quoted for found in price_lists.findings(name, now, offers)]
    watch(HERE)
    newest = max((offer.price.as_of for name in names("pricing") for offer in offers(name)), default="")
    here = [*whose, *local.findings(store, state_error, known, rents), local.clock(known, newest)]
    return [*entries, *(Entry(HERE, found, code(found, False)) for found in here)]


def code(finding: Finding, named: bool) -> int:
    """What `doctor` ends with because of a finding that is about nothing left over."""
    if finding.state != "problem":
        return 0
    return BARRED if named and finding.barring else OTHER


def of_cloud(name: str, cloud: Cloud, known: Records, now: float, named: bool) -> Iterator[Entry]:
    """Access, quotas, prices and leftovers of one provider. Without credentials nothing more is asked."""
    try:
        cloud.account()
    except MissingCredentials as error:
        state = "problem" if named or runs_sweep.credentials_set(name) else "unknown"
        finding = Finding("credentials", state, error.message, error.hint)  # type: ignore[arg-type]
        yield Entry(name, finding, code(finding, named))
        return
    except ProviderError as error:
        finding = error_finding("credentials", error)
        yield Entry(name, finding, code(finding, named))
        return
    for finding in [*access(cloud), prices(name, cloud, now)]:
        yield Entry(name, finding, code(finding, named))
    yield from left(runs_sweep.look_at(name, cloud, known, now), named)


def access(cloud: Cloud) -> Iterator[Finding]:
    """What the provider's own check says; an error of it is a finding too."""
    try:
        yield from cloud.findings()
    except ProviderError as error:
        yield error_finding("access", error)


def error_finding(what: str, error: ProviderError) -> Finding:
    """A provider that does not answer as it should, as a finding."""
    barring = isinstance(error, MissingCredentials | Permission | Quota)
    return Finding(what, "problem", error.message, error.hint, barring)


def left(looked: ProviderAnswer, named: bool) -> Iterator[Entry]:
    """What should be gone, one line for each thing; else how much of ours there is."""
    name, sweep = looked.provider, f"`cloudtrain sweep --provider {looked.provider}`"
    due = [thing for thing in looked.things if thing.why]
    for thing in due:
        owned = thing.owned
        price = f"{money(owned.usd_per_hour)}/h" if owned.bills else "free"
        message = f"{owned.what} {owned.id}, {price}, {thing.why} ({rfc3339(owned.expires) or 'none'})"
        finding = Finding("left over", "problem", message, " ".join(f"{sweep} {owned.console_url}".split()))
        yield Entry(name, finding, LEFT if owned.bills else OTHER)
    if looked.error is not None:
        finding = error_finding("leftovers", looked.error)
        yield Entry(name, finding, code(finding, named))
    elif not due:
        count = len(looked.things)
        message = f"{count} of ours, none past its deadline" if count else "nothing of ours, in any place"
        yield Entry(name, Finding("leftovers", "ok", message), 0)


def processes(stack: Stack, known: Records) -> Iterator[Finding]:
    """Processes of ours on this machine: those of ended runs should be gone."""
    found = list(stack.list_owned())
    alive = sorted({owned.run for owned in found})
    keys = {run_key(owned.run, owned.inputs.get("state", "")) for owned in found}
    ended = sorted(known.ended[key] for key in keys & known.ended.keys())
    for run in ended:
        message = f"processes of run `{run}`, which is ended, still run"
        yield Finding("left over", "problem", message, f"`cloudtrain down {run}`", barring=False)
    if not ended:
        yield Finding("leftovers", "ok", f"at work: {', '.join(alive)}" if alive else "no process of ours")


def prices(name: str, cloud: Cloud, now: float) -> Finding:
    """Whether the provider has a live price of its cheapest machine, and how old the catalogue's of that is."""
    served = [offer for offer in offers(name) if offer.usd_per_hour is not None and cloud.serves(first_place(offer))]
    if not served:
        return Finding("prices", "unknown", "the catalogue has no price for a machine that can be made there")
    sample = min(served, key=lambda offer: (offer.usd_per_hour or Decimal(0), offer.name, offer.region))
    found = ages([sample.price], now)
    age = "of unknown age" if found is None else f"{found} days old"
    on_spot = " on spot" if sample.market == "spot" else ""
    live, why_not = live_price.ask(first_place(sample))
    if live is not None:
        message = (
            f"{sample.name}{on_spot} costs {money(live)}/h just now; catalogue {money(sample.usd_per_hour)}/h, {age}"
        )
        return Finding("prices", "ok", message)
    message = f"the catalogue's of {sample.name}{on_spot} is {age}; {why_not}"
    if found is None or found.youngest > keeps(sample.market).stale:
        hint = renewal.advice(name) or "update cloudtrain, or `cloudtrain up --accept-stale`"
        return Finding("prices", "problem", message, hint, False)
    return Finding("prices", "unknown" if live is None and why_not else "ok", message)


def offers(name: str) -> list[Offer]:
    """What a price source has in the catalogue; nothing when there is none, or the catalogue cannot be read."""
    if name not in names("pricing"):
        return []
    try:
        return list(load("pricing", name, PriceSource).offers(catalog.lists()))
    except UsageError:
        return []


def first_place(offer: Offer) -> OfferKey:
    """What stacks and price sources go by; the first zone of several."""
    return offer.key._replace(zone=(offer.zone.split() or [""])[0])


def install_engine(install: Callable[[], object]) -> Entry | None:
    """Install the engine; a failure is a line of `doctor`."""
    try:
        install()
    except CloudtrainError as error:
        return Entry(HERE, Finding("Pulumi's installation", "problem", error.message, error.hint, False), OTHER)
    return None


def exit_code(entries: Iterable[Entry]) -> int:
    """What `doctor` ends with."""
    return max((line.exit_code for line in entries), default=0)
