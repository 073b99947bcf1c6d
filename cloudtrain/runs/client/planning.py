"""From a spec to the places where it may run, the plan there, and the questions to ask. Makes no machine."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cloudtrain import backends, hub
from cloudtrain.errors import Cancelled, NothingViable, UsageError, visible
from cloudtrain.providers import Stack, load
from cloudtrain.quote.document import frozen
from cloudtrain.quote.engine import quote_here
from cloudtrain.quote.request import Place, Request, markets, parse_hardware, parse_place
from cloudtrain.runs import candidates, launch, prepare, runnable, segments
from cloudtrain.runs.client import named, room, weights
from cloudtrain.runs.events import Ask, DataCounted, Emit, Message, StartQuestion, TokensEstimated
from cloudtrain.runs.record import Run
from cloudtrain.settings import cache_folder, now
from cloudtrain.signing import expiry
from cloudtrain.trainer import tokens
from cloudtrain.units import SECONDS_PER_HOUR

if TYPE_CHECKING:
    from cloudtrain.plan import Plan
    from cloudtrain.quote.row import Quote, QuoteRow
    from cloudtrain.runs.client.machinery import Machinery
    from cloudtrain.runs.client.options import UpOptions
    from cloudtrain.runs.prepare import Prepared
    from cloudtrain.settings import Settings
    from cloudtrain.state.protocol import Store

LEAST_GUARDS = 2
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")  # of a new run
CHECKED = "checked and counted with the model's tokenizer"


class Notes(NamedTuple):
    """What a plan says of the job: where its weights come from, how its data was checked."""

    weights: str = ""
    data: str = ""


NO_NOTES = Notes()


@dataclass(frozen=True, slots=True)
class Places:
    """Where a run may be started. The first plan's run and deadline are those of the run, whichever place it gets."""

    store: Store
    prepared: Prepared
    quote: Quote
    rows: tuple[QuoteRow, ...]  # in the order in which they are tried
    first: Plan
    earlier: Run | None  # the ended run that is resumed
    notes: Notes = NO_NOTES

    @property
    def direct(self) -> bool:
        """Whether it is a place with nothing to provision, such as this machine."""
        return load("stacks", self.first.provider, Stack).direct

    @property
    def spent_usd(self) -> Decimal:
        """What the run that is resumed has cost, as far as its prices are known."""
        return spent(self.earlier)


class Planner:
    """What is asked before anything is made, for one `up`."""

    def __init__(self, options: UpOptions, settings: Settings, emit: Emit, machinery: Machinery) -> None:
        self.options, self.settings, self.emit, self.machinery = options, settings, emit, machinery
        self.token = options.hub_token_from and hub.handed_over(options.hub_token_from)
        self.weights_bytes: int | None = None  # of the model's folder in the state

    def places(self, store: Store, prepared: Prepared, earlier: Run | None) -> Places:
        """The places for the spec. Raises NothingViable, OverBudget, and UsageError for what no machine could use."""
        from cloudtrain.runs import remote
        from cloudtrain.runs.transfer import ticket

        if "://" in store.url and not self.options.machine_only:
            self.weights_bytes = ticket.weights_bytes(store, prepare.model_name(prepared))
        estimated = prepare.estimated_tokens(prepared)
        if not self.options.machine_only and (refused := prepare.refusal(prepared, self.request(prepared, estimated))):
            self.machinery.refuse(refused)
        rough = self.quote(prepared, estimated)
        if self.options.machine_only:
            return self.rented(store, prepared, rough, earlier, NO_NOTES)
        chosen = prepare.chosen_line(rough)
        prepare.within_limits(prepared, flavour_of(chosen))
        direct = load("stacks", chosen.offer.provider, Stack).direct
        if direct:
            runs = store.folder("runs")  # a bucket cannot hold a run on this machine: refused before anything is made
        else:
            remote.reachable(store.url)
        prepared, source = self.located(store, prepared, direct)
        notes = Notes(source.describe(prepared.spec.revision))
        if not direct:
            quote, checked = self.better_quote(store, prepared, rough, source)
            return self.rented(store, prepared, quote, earlier, notes._replace(data=checked))
        if disk := chosen.assessment.disk:
            room.check(room.written(disk.parts, prepared.model, flavour_of(chosen), runs, earlier is not None))
        quote, row = self.counted_quote(prepared, chosen)
        first = plan(store, prepared, quote, row, self.run_name(store, prepared, earlier), earlier)
        return Places(store, prepared, quote, (row,), first, earlier, notes._replace(data=CHECKED))

    def located(self, store: Store, prepared: Prepared, direct: bool) -> tuple[Prepared, weights.Source]:
        """The spec with its model at a commit, and where its files are. Raises UsageError when they cannot be had."""
        token = hub.own_token() if direct else self.token
        try:
            source = weights.find(prepared, store, direct, token)
        except UsageError as unreachable:
            self.machinery.refuse(unreachable)
            source = weights.Source("folder", prepared.model.path)
        if refused := weights.refusal(prepared.model, source, direct, token):
            place = prepared.source.place("model")
            self.machinery.refuse(UsageError(f"{place}: {refused.message}", refused.hint))
        return prepared.at_revision(source.commit), source

    def rented(self, store: Store, prepared: Prepared, quote: Quote, earlier: Run | None, notes: Notes) -> Places:
        """The rented ones, the cheapest first. Raises NothingViable."""
        experimental = self.options.experimental
        rows = candidates.rentable(quote, experimental)
        if not self.options.machine_only:
            rows = candidates.for_job(runnable.runnable_rows(rows, quote.request, experimental))
        if not rows:
            raise NothingViable(
                "no machine that can be rented here would finish this run",
                f"`cloudtrain quote {quote.request.spec.name} --method {quote.request.method}` shows why",
            )
        ordered = candidates.in_order(rows, candidates.full_places(store), now())
        first = plan(store, prepared, quote, ordered[0], self.run_name(store, prepared, earlier), earlier)
        return Places(store, prepared, quote, tuple(ordered), first, earlier, notes)

    def run_name(self, store: Store, prepared: Prepared, earlier: Run | None) -> str:
        """What the run is called: as the one that is resumed, as asked for, else after its spec."""
        if earlier:
            return earlier.id
        asked = new_name(store, prepared, self.options.name, self.options.new)
        return asked or launch.new_id(store, prepared.stem, prepared.identity)

    def counted_quote(self, prepared: Prepared, rough: QuoteRow) -> tuple[Quote, QuoteRow]:
        """The quote for the spec with tokens counted by its own tokenizer, and the chosen row.

        `rough`, chosen with estimated tokens, has decided that the environment is worth making.
        """
        from cloudtrain.trainer import environment

        flavour = flavour_of(rough)
        environment.ensure(flavour, lambda text: self.emit(Message(text)))
        self.emit(Message("counting tokens with the model's tokenizer"))
        quote = self.quote(prepared, prepare.estimated_tokens(prepared, self.count(prepared, flavour)))
        return quote, prepare.chosen_line(quote)

    def better_quote(self, store: Store, prepared: Prepared, rough: Quote, source: weights.Source) -> tuple[Quote, str]:
        """A quote with counted tokens where tokenizer and environment are at hand, else the rough one; and which it is.

        For a rented machine no environment is made here: it has one of its own. A tokenizer is fetched.
        """
        flavour = flavour_of(prepare.chosen_line(rough))
        found: Path | str = "there is no environment of the trainer on this machine"
        if tokens.python_for(flavour) is not None:
            found = weights.tokenizer(prepared, source, store, self.token or hub.own_token())
        counted = self.count(prepared, flavour, found) if isinstance(found, Path) else None
        if counted is None:
            self.emit(TokensEstimated(rough.request.tokens, rough.request.tokens_basis))
            for problem in prepared.data.problems:
                self.emit(Message(f"warning: {problem}"))
            return rough, f"not checked with the model's tokenizer: {found}"
        return self.quote(prepared, prepare.estimated_tokens(prepared, counted)), CHECKED

    def count(self, prepared: Prepared, flavour: str, tokenizer: Path | None = None) -> dict[str, Any] | None:
        """What the trainer's own tokenizer makes of the data; None where that cannot be asked here."""
        folder = cache_folder() / "checks" / prepared.identity[:16]
        counted = prepare.token_check(prepared, flavour, folder, tokenizer)
        if counted is not None:
            told = [str(problem) for problem in prepared.data.problems if not problem.by_template]
            problems = (*told, *counted.get("warnings", ()))
            self.emit(DataCounted(counted, prepared.spec.sequence_length, problems))
        return counted

    def quote(self, prepared: Prepared, work: tuple[int, str]) -> Quote:
        """One quote for the spec."""
        return named.only(quote_here(self.request(prepared, work), self.settings), self.options)

    def request(self, prepared: Prepared, work: tuple[int, str]) -> Request:
        """What is asked of a quote: the spec's job, and what the command line allows."""
        options, budget = self.options, prepared.spec.budget
        request = prepare.request_for(
            prepared,
            work,
            self.wanted(),
            float(self.settings.max_hours),
            budget.max_cost,
            options.experimental,
        )
        hardware = tuple(each for text in options.hardware for each in parse_hardware(text))
        asked, hour_usd = markets(options.spot), self.settings.hour_is_worth
        request = request._replace(hardware=hardware, markets=asked, weights_bytes=self.weights_bytes)
        trainer = backends.named(options.backend).name if options.backend else ""
        return request._replace(hour_usd=hour_usd, only_planned=options.dry_run, trainer=trainer)

    def wanted(self) -> tuple[Place, ...]:
        """The places that were asked for; () for all."""
        return tuple(parse_place(text) for text in named.infra(self.options) or self.settings.infra)

    def agree(self, plan: Plan, row: QuoteRow, worst_usd: Decimal, ask: Ask) -> None:
        """Have the start agreed to. Above the limit of the settings, or with too little time, the default is no.

        `worst_usd` is what it may cost. Raises UsageError when too few guards work alone, Cancelled after a no.
        """
        guards = load("stacks", plan.provider, Stack).guards(row.offer.name, row.offer.market)
        alone = sum(guard.alone for guard in guards)
        if alone < LEAST_GUARDS and not self.options.accept_risk:
            raise UsageError(few(alone, "this run"), "--accept-risk starts it all the same")
        if self.options.yes:
            return
        default = worst_usd <= self.settings.ask_above_usd and not is_too_short(plan, row)
        if not ask(StartQuestion(plan, default)):
            raise Cancelled("nothing was started")


def few(alone: int, what: str) -> str:
    """That too few guards work alone."""
    return f"{f'only {alone}' if alone else 'no'} guard would end {what} without this client"


def plan(store: Store, prepared: Prepared, quote: Quote, row: QuoteRow, run: str, earlier: Run | None = None) -> Plan:
    """The plan of a run on a row of the quote; `earlier` is what there is of it already."""
    chosen = prepare.Chosen(quote, row, frozen(row))
    folder = job_folder(store, row.offer.provider, run)
    return prepare.make_plan(prepared, chosen, run, folder, now(), spent(earlier))


def spent(earlier: Run | None) -> Decimal:
    """What a run has cost so far, in dollars, as far as its prices are known."""
    return Decimal(0) if earlier is None else earlier.spent_usd() or Decimal(0)


def job_folder(store: Store, provider: str, run: str) -> Path:
    """Where the job's files are: in the state for a run on this machine; a rented machine has a disk of its own.

    Raises UsageError for a run on this machine whose state is in a bucket.
    """
    key = Run(store, run).machine_folder
    return store.folder(key) if load("stacks", provider, Stack).direct else Path(key)


def new_name(store: Store, prepared: Prepared, name: str | None, another: bool) -> str | None:
    """The name asked for, checked. Raises UsageError when it is taken or not a plain word.

    A run of the same spec that another client has begun just now is the one that is meant, unless `another` is asked
    for: see its lease.
    """
    if name is None:
        return None
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"`{visible(name)}` is not a run name",
            "use letters, digits, dots, dashes and underscores, 100 at most, with a letter or digit first",
        )
    there = Run(store, name).begun
    if there is not None and (another or there.identity != prepared.identity):
        whose = "" if another else " of another spec or data"
        raise UsageError(f"a run `{name}`{whose} is there already", "choose another name")
    return name


def is_too_short(plan: Plan, row: QuoteRow) -> bool:
    """Whether the likely time is longer than the plan lets the run last."""
    return row.assessment.hours is not None and now() + row.assessment.hours.likely * SECONDS_PER_HOUR > plan.ends


def reachable_to_its_end(store: Store, plan: Plan, row: QuoteRow, emit: Emit, accept_risk: bool) -> Plan:
    """The plan with a deadline by which the machine's addresses are still valid; reported when that is earlier.

    A run in segments keeps its own beside it. Raises UsageError when another run would likely not be finished by then,
    or when nobody knows until when they are valid and that risk was not accepted; MissingCredentials as `segments.cut`.
    """
    if plan.segments:
        return segments.first(plan, store.url, emit, accept_risk)
    explicit = plan.deadline_basis.startswith("--max")  # then it may end unfinished: that was asked for
    likely = None if row.assessment.hours is None or explicit else row.assessment.hours.likely * SECONDS_PER_HOUR
    deadline, why = expiry.within(store.url, plan.deadline, likely, now())
    if warning := expiry.refuse_unknown(store.url, now(), accept_risk):
        emit(Message(f"warning: {warning}"))
    if not why:
        return plan
    emit(Message(f"the deadline is brought forward: {why}"))
    return replace(plan, deadline=deadline, deadline_basis=why)


def flavour_of(row: QuoteRow) -> str:
    """The environment that a row's recipe needs."""
    return row.assessment.recipe.flavour if row.assessment.recipe else "cpu"
