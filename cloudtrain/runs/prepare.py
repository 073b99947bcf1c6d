"""Spec file -> what `up` has to know before it asks: checked data, model, identity, tokens, quoted row, plan."""

from __future__ import annotations

import hashlib
import math
import os
import re
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloudtrain import backends
from cloudtrain.errors import NothingViable, OverBudget, UsageError
from cloudtrain.plan import Plan, deadline_seconds
from cloudtrain.providers import PriceSource, load
from cloudtrain.quote import compatibility
from cloudtrain.quote.request import Place, Request
from cloudtrain.quote.sampling import times
from cloudtrain.trainer import count, job, parquet, quantised, tokens
from cloudtrain.units import SECONDS_PER_HOUR, money

if TYPE_CHECKING:
    from cloudtrain.models.adapters import Targets
    from cloudtrain.models.spec import ModelSpec
    from cloudtrain.quote.row import Quote, QuoteRow
    from cloudtrain.records import RowRecord
    from cloudtrain.spec.dataset import DataReport
    from cloudtrain.spec.schema import Spec


@dataclass(frozen=True, slots=True)
class SpecFile:
    """Where a spec comes from: its file, and what the command line changed of it."""

    path: Path
    overrides: tuple[str, ...] = ()

    def place(self, *key: str) -> str:
        """Where a key of the spec was written, for an error about its value."""
        from cloudtrain.spec import document as spec_document

        document = spec_document.parse(spec_document.read_text(self.path), str(self.path))
        for override in self.overrides:
            spec_document.override(document, override)
        return document.place(key)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A spec that can be run: its file has been read and its data checked, nothing has been made."""

    spec: Spec
    model: ModelSpec
    data: DataReport
    source: SpecFile
    revision: str | None = None  # the commit that a spec which names none was resolved to

    @property
    def identity(self) -> str:
        """Of what decides the result: spec, the model's place and revision, the data's bytes."""
        mixed = f"{self.spec.identity()}:{self.data.sha256}:{self.data.eval_sha256}"
        return hashlib.sha256(mixed.encode()).hexdigest()

    def at_revision(self, revision: str | None) -> Prepared:
        """The same with its model at a commit of the hub's; as it is when the spec names a revision itself."""
        if revision is None or self.spec.revision is not None:
            return self
        return replace(self, spec=self.spec.model_copy(update={"revision": revision}), revision=revision)

    @property
    def stem(self) -> str:
        """How the run's id begins."""
        plain = re.sub(r"[^a-z0-9.]+", "-", self.model.name.lower()).strip("-.")[:40] or "run"
        return f"{plain}-{self.spec.method}"


def prepare(path: Path, overrides: list[str]) -> Prepared:
    """Read the spec, check the data, find the model. Raises UsageError for whatever is wrong with them."""
    from cloudtrain.spec import dataset as data
    from cloudtrain.spec import schema as specs

    spec, source = specs.load(path, overrides), SpecFile(path, tuple(overrides))
    if spec.budget.stop_above_cap and spec.budget.max_cost is None:
        place = source.place("budget", "stop_above_cap")
        raise UsageError(f"{place}: there is no cap to stop above", "--max-cost, or `budget: {max_cost: 10}`, is one")
    eval_path = None if spec.data.eval_path is None else Path(spec.data.eval_path)
    report = data.check(
        Path(spec.data.path),
        eval_path=eval_path,
        eval_fraction=spec.data.eval_fraction,
        expected_format=spec.data.format,
        train_on=spec.train_on,
        parquet=parquet.records,
    )
    try:
        model = count.find(spec.model)
    except UsageError as error:
        raise UsageError(f"{source.place('model')}: {error.message}", error.hint) from None
    return Prepared(spec, model, report, source)


def estimated_tokens(prepared: Prepared, counted: dict[str, Any] | None = None) -> tuple[int, str]:
    """Positions that will be processed, and how that is known: by the model's tokenizer, else by characters."""
    spec = prepared.spec
    if counted is not None:
        return max(1, int(counted["tokens_processed"])), "counted with the model's tokenizer"
    if spec.max_steps is not None:
        return spec.max_steps * spec.step_sequences * spec.sequence_length, "max_steps x batch x sequence_length"
    epochs = spec.epochs or 1.0
    return max(1, math.ceil(prepared.data.estimated_tokens * epochs)), prepared.data.token_basis


def request_for(
    prepared: Prepared,
    work: tuple[int, str],
    places: tuple[Place, ...],
    max_hours: float,
    max_cost: Decimal | None,
    experimental: bool = False,
) -> Request:
    """The spec as a quote's Request."""
    spec = prepared.spec
    return Request(
        spec=prepared.model,
        method=spec.method,
        sequence_length=spec.sequence_length,
        batch=spec.micro_batch or 1,
        batch_given=spec.micro_batch is not None,
        step_sequences=spec.step_sequences,
        quantisation=spec.quantisation,
        rank=spec.lora.rank,
        targets=target_group(spec),
        tokens=work[0],
        tokens_basis=work[1],
        data_bytes=sum(os.path.getsize(each) for each in (spec.data.path, spec.data.eval_path) if each),
        checkpoints_kept=spec.checkpoint.keep,
        rows=prepared.data.format,
        max_hours=max_hours,
        settings_hours=max_hours,
        max_cost=max_cost,
        places=places,
        experimental=experimental,
        refused=refusing(prepared),
    )


def refusing(prepared: Prepared) -> tuple[tuple[str, str], ...]:
    """(trainer, why) of those that cannot do what the spec asks for, so that no row of theirs is taken for it."""
    document = job.job_document(prepared.spec, prepared.model, "check", Path("/"))
    found = ((backend.name, job.refusal(backend, document)) for backend in backends.all_backends())
    return tuple((name, f"{why.message}; {why.hint}") for name, why in found if why is not None)


def refusal(prepared: Prepared, request: Request) -> UsageError | None:
    """Why the trainer would refuse the spec wherever it could be started; None when it would not."""
    found = compatibility.refusal(request)
    if found is None:
        return None
    key = "sequence_length" if found.kind == "context" else "model"
    return UsageError(f"{prepared.source.place(key)}: {found.reason}", found.hint)


def target_group(spec: Spec) -> Targets | None:
    """The layers of the adapter as the estimator knows them; None: what our trainer makes of it, also for a list."""
    if spec.lora.targets in ("attention", "qv"):
        return "qv" if spec.lora.targets == "qv" else "attention"
    return None


def chosen_line(quote: Quote) -> QuoteRow:
    """The line that `up` starts. Raises OverBudget or NothingViable with the reason."""
    if quote.chosen is not None:
        return quote.lines[quote.chosen]
    request = quote.request
    asked_for = ("yes", "experimental") if request.experimental else ("yes",)
    able = (line for line in quote.lines if line.assessment.launch == "yes" and line.assessment.loads in asked_for)
    startable = [line for line in able if line.viable or line.too_dear]
    cheapest = min(startable, key=lambda line: line.expected_usd, default=None)
    if cheapest is not None and request.max_cost is not None and not any(line.viable for line in startable):
        price = cheapest.offer.price
        raise OverBudget(
            f"the cheapest way to finish is expected to cost {money(Decimal(cheapest.expected_usd))}, "
            f"over the cap of {money(request.max_cost)}"
            f"{': electricity for ' + price.source if price.is_assumed else ''}",
            "raise --max-cost, or ask `cloudtrain quote` what a smaller job costs"
            f"{', or set watts and usd_per_kwh (0: it costs nothing)' if price.is_assumed else ''}",
        )
    sources = (
        line for line in quote.lines if line.assessment.launch == "yes" or (line.viable and line.assessment.reasons)
    )
    instead = ""
    here = next(sources, None) or next((line for line in quote.lines if line.assessment.short_of_disk), None)
    why = "; ".join(here.reasons()) if here else "no offer that this version can start is in this place"
    if here is not None and here.viable and here.assessment.launch == "yes":
        why, instead = f"{here.offer.name} is experimental for this model", "--experimental starts it; "
    raise NothingViable(
        f"nothing that `up` can start would finish this run: {why}",
        f"{instead}`cloudtrain quote {request.spec.name} --method {request.method}` shows where it would work",
    )


def model_name(prepared: Prepared) -> str:
    """What the job calls its model: a folder of this machine, or a hub id."""
    return str(job.job_document(prepared.spec, prepared.model, "check", Path("/"))["model"])


def within_limits(prepared: Prepared, flavour: str) -> None:
    """Raise UsageError, with the nearest that works, for what the flavour's back end cannot do of the spec."""
    job.on(job.job_document(prepared.spec, prepared.model, "check", Path("/")), flavour)


def token_check(prepared: Prepared, flavour: str, folder: Path, tokenizer: Path | None = None) -> dict[str, Any] | None:
    """What the trainer's own tokenizer and chat template make of the data; None where that cannot be asked here.

    `tokenizer`: a folder with the model's; without one it is looked for as by the trainer. Raises UsageError for data
    that it cannot use.
    """
    folder.mkdir(parents=True, exist_ok=True)
    document = job.job_document(prepared.spec, prepared.model, "check", folder)
    if tokenizer is not None:
        document.update(model=str(tokenizer), revision=None)
    return tokens.counted(document, flavour, folder)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The quoted row that a run is planned on, and the same as the run will keep it."""

    quote: Quote
    line: QuoteRow
    record: RowRecord


def hourly_usd(line: QuoteRow, usd_per_hour: Decimal | None) -> Decimal | None:
    """What an hour costs with disk and address in addition to the machine; None when its price is unknown."""
    return None if usd_per_hour is None else usd_per_hour + line.assessment.extras.hourly_usd


def make_plan(
    prepared: Prepared, chosen: Chosen, run: str, folder: Path, now: float, spent_usd: Decimal = Decimal(0)
) -> Plan:
    """The plan for a chosen line. The run's deadline is absolute from here on.

    `spent_usd` is what it has cost before. Raises OverBudget when nothing is left of its cap.
    """
    quote, line = chosen.quote, chosen.line
    request, recipe = quote.request, line.assessment.recipe
    if recipe is None or line.assessment.hours is None:
        raise NothingViable("the chosen row has no recipe")
    budget = prepared.spec.budget
    left_usd = None if request.max_cost is None else request.max_cost - spent_usd
    if left_usd is not None and left_usd <= 0 < spent_usd:
        raise OverBudget(
            f"run `{run}` has cost {money(spent_usd)}, the cap is {money(request.max_cost)}", "raise --max-cost"
        )
    hourly = hourly_usd(line, line.offer.usd_per_hour)
    seconds, basis = deadline_seconds(
        line.assessment.hours.high * SECONDS_PER_HOUR, budget.max_hours, left_usd, hourly, request.max_hours
    )
    if line.offer.price.is_assumed and basis.startswith("--max-cost"):
        basis += ", electricity that is assumed"
    deadline = now + seconds
    document = job.job_document(prepared.spec, prepared.model, run, folder, deadline)
    document = job.on(job.packed_in(document, recipe.options.quantisation), recipe.flavour)
    document = job.on_chips(document, recipe.flavour, line.offer.hardware, line.assessment.devices)
    if recipe.keeps_quantised and load("pricing", line.offer.provider, PriceSource).terms.sees_client_files:
        quantising_s = times.quantised_parameters(request, recipe) / recipe.quantise_per_s.likely
        document = quantised.kept(document, quantising_s, times.kept_size(request, recipe))
    return Plan(
        run=run,
        identity=prepared.identity,
        provider=line.offer.provider,
        flavour=recipe.flavour,
        line=chosen.record,
        job=job.in_batches(job.in_type(document, recipe.options.dtype), recipe.options.batch),
        spec_yaml=prepared.spec.to_yaml(),
        data_sha256=prepared.data.sha256,
        deadline=deadline,
        deadline_basis=basis,
        guards=line.assessment.guards,
        flops_per_token=quote.flops / request.tokens,
        max_cost=request.max_cost,
        cap_at=now + float(left_usd / hourly) * SECONDS_PER_HOUR if left_usd is not None and hourly else None,
        stop_above_cap=budget.stop_above_cap,
        revision=prepared.revision,
    )
