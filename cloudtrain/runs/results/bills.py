"""What providers have billed for runs: asked for rarely, kept beside what was metered, never in its place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

from cloudtrain.billing import Billing, BillQuestion, Bills
from cloudtrain.errors import MissingCredentials, ProviderError
from cloudtrain.providers import Stack, load, run_key
from cloudtrain.runs.listing import readable_runs, tell_each
from cloudtrain.runs.record import Run
from cloudtrain.state.protocol import AlreadyThere, Store
from cloudtrain.state.store import read_record, write_record
from cloudtrain.units import hours, rfc3339

if TYPE_CHECKING:
    from cloudtrain.records import BillRecord

DOCUMENT = "bill.json"
FORGOTTEN_S = 90 * 86400.0  # an older run is not asked for any more, billed or not


def bill(run: Run) -> BillRecord | None:
    """What the provider has billed for a run so far; None while nothing is known. Raises DamagedRecord."""
    from cloudtrain.records import BillRecord

    return run.document(DOCUMENT, BillRecord)


def refresh(store: Store, now: float) -> list[str]:
    """Ask every provider for the bills of runs that are not settled, as often as it may be asked.

    A sentence for each provider, and one for each run whose records are damaged. A provider's failure is a sentence.
    Raises UsageError when the state cannot be read or written.
    """
    runs, damaged = readable_runs(store)
    young = (run for run in runs if run.is_rented and now - run.intent.created < FORGOTTEN_S)
    questions, more = tell_each(young, question)
    by_provider: dict[str, list[tuple[Run, BillQuestion]]] = {}
    for run, asked in filter(None, questions):
        by_provider.setdefault(run.intent.provider, []).append((run, asked))
    said = [_refreshed(store, name, by_provider[name], now) for name in sorted(by_provider)]
    return [*said, *damaged, *more]


def question(run: Run) -> tuple[Run, BillQuestion] | None:
    """How a provider is asked for a run's bill; None for one that had no machine, or whose bill is final."""
    machines = [*(attempt.machine for attempt in run.attempts), run.machine]
    known = [machine for machine in machines if machine is not None]
    written = bill(run)
    if not known or (written is not None and written.status == "final"):
        return None
    places = tuple(dict(machine.inputs.get("place") or {}) for machine in known)
    return run, BillQuestion(
        run.id,
        run_key(run.id, run.intent.state),
        tuple(dict.fromkeys(machine.id for machine in known)),
        places,
        min(machine.created for machine in known),
        None if run.gone is None else run.gone.time,
    )


def _refreshed(store: Store, name: str, unsettled: Sequence[tuple[Run, BillQuestion]], now: float) -> str:
    """The sentence about one provider."""
    billing = load("stacks", name, Stack).billed
    if billing is None:
        return f"{name}: its bill cannot be asked for"
    due = [(run, asked) for run, asked in unsettled if now - asked.begin >= billing.first_s]
    if not due:
        return f"{name}: nothing is on a bill before {hours(billing.first_s)} after a run's beginning"
    try:
        with store.hold(f"bills/{name}.lock"):
            return f"{name}: {_asked(store, name, billing, due, now)}"
    except AlreadyThere as busy:
        return f"{name}: another client is asking ({busy.message})"


def _asked(store: Store, name: str, billing: Billing, due: Sequence[tuple[Run, BillQuestion]], now: float) -> str:
    """Ask, unless it was asked lately. It is written down before: a client that is killed has asked, and paid."""
    from cloudtrain.records import BillingRecord

    key = f"bills/{name}.json"
    last = read_record(store, key, BillingRecord)
    if last is not None and abs(now - last.asked) < billing.every_s:
        again = f"asked at {rfc3339(last.asked)}, and at most once in {hours(billing.every_s)}"
        return "; ".join(filter(None, (again, last.message)))
    write_record(store, key, BillingRecord(asked=now))
    try:
        answer = billing.ask([asked for _, asked in due], now)
    except MissingCredentials as error:  # nothing was asked
        store.delete(key) if last is None else write_record(store, key, last)
        return "; ".join(filter(None, (error.message, error.hint)))
    except ProviderError as error:
        answer = Bills({}, "; ".join(filter(None, (error.message, error.hint))))
    write_record(store, key, BillingRecord(asked=now, message=answer.message))
    billed = list(_written(billing, due, answer, now))
    settled = sum(billed)
    told = f"{len(billed)} of {len(due)} runs are on the bill, {settled} for good ({billing.source})"
    return "; ".join(filter(None, (told if billed or not answer.message else "", answer.message)))


def _written(billing: Billing, due: Sequence[tuple[Run, BillQuestion]], answer: Bills, now: float) -> Iterator[bool]:
    """Write down what a bill holds; for each run on it whether its figure is final."""
    from cloudtrain.records import BillRecord

    for run, asked in due:
        parts = answer.usd.get(run.id)
        if parts is None:
            continue
        final = asked.end is not None and now - asked.end >= billing.settled_s
        run.write(
            DOCUMENT,
            BillRecord(
                status="final" if final else "provisional",
                usd=sum(parts.values(), start=Decimal(0)),
                asked=now,
                source=billing.source,
                parts=dict(parts),
            ),
        )
        yield final
