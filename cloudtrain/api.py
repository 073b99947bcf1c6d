"""cloudtrain from Python: what the commands do, with records in and out, and nothing printed.

    from cloudtrain import api

    quote = api.quote("longcat-flash")
    run = api.up(api.UpOptions(infra=("local",), yes=True), on_event=print)
    print(api.report(run.id).metered_usd)

Every function goes by the settings of `cloudtrain config` and by the same environment variables. What a command would
end with an exit code for is raised as a CloudtrainError: `message`, `hint` and `exit_code` are its. A runnable example
is `docs/examples/api.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cloudtrain.errors import CloudtrainError, UsageError
from cloudtrain.estimate.options import Options as EstimateOptions
from cloudtrain.runs import events
from cloudtrain.runs.client.options import UpOptions
from cloudtrain.runs.events import Event, Question
from cloudtrain.runs.quoting import QuoteOptions

if TYPE_CHECKING:
    from cloudtrain.estimate.memory import MemoryEstimate
    from cloudtrain.models.spec import ModelSpec
    from cloudtrain.prices.refresh import Outcome
    from cloudtrain.prices.status import Status
    from cloudtrain.quote.lists.differences import Difference
    from cloudtrain.quote.lists.past import Course
    from cloudtrain.quote.row import Quote
    from cloudtrain.report.cost_report import CostReport
    from cloudtrain.runs.poll import PollReport
    from cloudtrain.runs.record import Run
    from cloudtrain.runs.spending.standing import Standing
    from cloudtrain.runs.sweep import Listed
    from cloudtrain.runs.teardown import Ended
    from cloudtrain.settings import Settings
    from cloudtrain.state.protocol import Store

__all__ = [
    "CloudtrainError",
    "EstimateOptions",
    "QuoteOptions",
    "UpOptions",
    "attach",
    "budget",
    "down",
    "estimate",
    "events",
    "logs",
    "models",
    "poll",
    "prices_diff",
    "prices_history",
    "prices_refresh",
    "prices_status",
    "quote",
    "report",
    "runs",
    "sweep",
    "up",
]


def models(*names: str) -> list[ModelSpec]:
    """The models of the registry, or those named: registry names, Hugging Face ids, folders."""
    from cloudtrain.models import registry
    from cloudtrain.trainer import count

    return [count.find(name) for name in names] if names else registry.all_models()


def estimate(model: str, options: EstimateOptions = EstimateOptions()) -> MemoryEstimate:  # noqa: B008  # frozen
    """Peak memory of fine-tuning a model, in bytes of each device, for exactly these options."""
    from cloudtrain.estimate import memory
    from cloudtrain.trainer import count

    return memory.estimate(count.find(model), options)


def quote(options: QuoteOptions | str) -> Quote:
    """What it costs to finish a fine-tune, everywhere, and which of it really works; offline and without an account.

    A text is a model with the default options. `lines[chosen]` is what `up` would start, when `chosen` is not None.
    """
    from cloudtrain import settings
    from cloudtrain.runs import quoting

    wanted = QuoteOptions(options) if isinstance(options, str) else options
    return quoting.quote(wanted, settings.load())


def prices_status() -> list[Status]:
    """How old each provider's price list is, where it comes from, and whether it can be renewed. Asks nobody."""
    from cloudtrain import settings
    from cloudtrain.prices.status import status

    return status(settings.now())


def prices_refresh(
    providers: Sequence[str] = (), dry_run: bool = False, accept_jumps: bool = False, timeout_s: float = 60.0
) -> list[Outcome]:
    """Ask these providers, or all that can be asked, for today's prices; what passes the gate counts from now on.

    Raises nothing for a provider that refuses or is silent: the state and error of its outcome say it.
    """
    from cloudtrain import settings
    from cloudtrain.prices.refresh import refresh

    _settings()
    return refresh(
        tuple(providers) or None, now=settings.now(), dry_run=dry_run, accept_jumps=accept_jumps, timeout_s=timeout_s
    )


def prices_diff(old: Path | None = None, new: Path | None = None) -> list[Difference]:
    """What differs between two folders of price lists; without them between the shipped ones and what `quote` reads."""
    from cloudtrain import settings
    from cloudtrain.quote import catalog
    from cloudtrain.quote.lists import differences as lists

    here = catalog.context(settings.load())
    before, after = (lists.of_folder(here, folder) for folder in (old or catalog.shipped(), new))
    return lists.differences(lists.offers(before), lists.offers(after))


def prices_history(offer: str, days: int = 90, ask: bool = False) -> dict[str, Course]:
    """What the price of an offer was, by id: of a quote's row, or of each place where a machine of that name is.

    `ask`: as the provider tells it (of spot prices; AWS keeps 90 days) instead of what was written down here.
    """
    from cloudtrain import settings
    from cloudtrain.quote import catalog
    from cloudtrain.quote.lists import past

    now = settings.now()
    return past.courses(
        offer, catalog.context(_settings() if ask else settings.load()), now - days * past.DAY_S, now, ask=ask
    )


def up(
    options: UpOptions = UpOptions(),  # noqa: B008  # frozen
    on_event: Callable[[Event], None] = events.ignore,
    ask: Callable[[Question], bool] = events.refuse,
) -> Run | None:
    """Run the spec: start it, resume it, or attach to it, and return the run when it is finished.

    Nothing is started unless `options.yes` is set or `ask` returns True. Returns None for a dry run, and at once with
    `detach` or `machine_only`. Raises a CloudtrainError for any other end; Ctrl-C is asked about like at the command
    line.
    """
    from cloudtrain.runs.client.session import Session

    return Session(options, _settings(), on_event, ask).up()


def attach(
    run: str | None = None,
    home: Path | None = None,
    on_event: Callable[[Event], None] = events.ignore,
    ask: Callable[[Question], bool] = events.refuse,
) -> Run:
    """Follow a run (None: the newest) to its end, from anywhere that can read the state; its result goes to `home`."""
    from cloudtrain.runs.client.session import Session

    return Session(UpOptions(home=home), _settings(), on_event, ask).attach(_find(run))


def poll(
    run: str | None = None,
    everything: bool = False,
    finish: bool = False,
    home: Path | None = None,
    on_event: Callable[[Event], None] = events.ignore,
) -> PollReport:
    """Look once at a rented run, or at every one, and do what is due: end it, or start its next machine.

    Without a name it is the newest that is not over.
    `finish` downloads results of finished runs. The report's `raise_for_rest` raises when a run is not over.
    """
    from cloudtrain.runs import poll as polling

    return polling.poll(_store(), run, everything, polling.PollOptions(finish, home), on_event)


def down(
    run: str | None = None,
    everything: bool = False,
    force: bool = False,
    on_event: Callable[[Event], None] = events.ignore,
) -> list[Ended]:
    """End a run, or with `everything` every run that is not gone, and prove that nothing of it is left. Idempotent.

    `force` overrules a client on another machine that holds the run. Raises CloudtrainError with exit code 6 when
    something may be left.
    """
    if everything == (run is not None):
        raise UsageError("say which run", "name one, or ask for everything")
    from cloudtrain.plan import GRACE_S
    from cloudtrain.providers import StopOptions
    from cloudtrain.runs import teardown

    ended: list[Ended] = []
    stopping = StopOptions(GRACE_S, force, events.progress(on_event))
    teardown.end_runs(_store(), run, stopping, ended.append)
    return ended


def sweep(
    providers: tuple[str, ...] = (), everything: bool = False, delete: bool = False, all_states: bool = False
) -> Listed:
    """What providers hold of ours, found without any record; with `delete`, what is due is deleted with proof.

    What runs of other states hold is due when its deadline is over, or with `all_states`.

    `due` of the result is what should be gone, or is. Raises CloudtrainError with exit code 6 when something was to be
    deleted and is left, or when a provider could not be asked.
    """
    from cloudtrain.runs import sweep as sweeping

    _settings()
    return sweeping.sweep(sweeping.SweepOptions(providers, everything, all_states=all_states), delete=delete)


def runs() -> list[Run]:
    """Every run of the state, newest first."""
    from cloudtrain.runs import listing

    return listing.all_runs(_store())


def report(run: str | None = None) -> CostReport:
    """What a run (None: the newest) was quoted and what it has cost, finished or not."""
    from cloudtrain.report import cost_report

    return cost_report.report(_find(run))


def budget() -> Standing:
    """The limits of the state, what was spent in this week and month, and what living runs may still cost."""
    from cloudtrain import settings
    from cloudtrain.runs.spending.standing import standing

    return standing(_store(), settings.now())


def logs(run: str | None = None, offset: int = 0, follow: bool = False) -> Iterator[bytes]:
    """The trainer's output from a byte on, in blocks; `follow`: until the run has ended, b"" while nothing is new."""
    from cloudtrain.runs import follow as reading

    found = _find(run)
    return reading.stream(found, offset) if follow else reading.blocks(found, offset)


def _store() -> Store:
    """The state by the settings."""
    from cloudtrain.state.store import open_store

    return open_store(_settings().state)


def _settings() -> Settings:
    """The settings; the credentials of a keyless job are taken before anything is asked with them."""
    from cloudtrain import settings
    from cloudtrain.signing import keyless

    keyless.take()
    return settings.load()


def _find(run: str | None) -> Run:
    """A run by its id or a unique beginning of it; None: the newest."""
    from cloudtrain.runs import listing

    return listing.find(_store(), run)
