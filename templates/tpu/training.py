"""The training loop: one compiled step after another, with our counters, our clock for checkpoints, a way to stop."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import architectures
import chips
import course
import hosts
import jax
import jax.numpy as jnp
import learn
import mesh
import model
import numpy as np
import source
import state
from batches import BLOCK, TPU_BLOCKS, Batches, in_order, row_length
from checkpoints import step_of
from decoder import Decoder
from failures import Failure, of_a_save
from jax.sharding import PartitionSpec
from job import Job
from learn import State
from longcat import LongCat
from stop import report


class Model(NamedTuple):
    """What computes: its shape, its way, its frozen weights."""

    decoder: Decoder | LongCat
    how: model.How
    frozen: Any


def load(job: Job, given: course.Given) -> course.Loaded:
    """Weights on the devices, the adapter beside them, and the loop over both. Raises BadJob."""
    hosts.joined().watch(lambda failure: report(given.reports.events, failure))
    _same_beginning(given)
    chips.keep_compiled(job)
    folder = source.place(job.model, job.revision)
    decoder = source.described(job, folder)
    found = chips.devices(job.accelerator)
    parts = architectures.of(decoder)
    plan = parts.plan(len(found), decoder, job.micro_batch)
    print(f"{plan}: {found[0].device_kind}", file=sys.stderr)
    how = way(job, plan)
    packed = job.quantisation if job.method == "qlora" else ""
    frozen = parts.load(folder, decoder, how.mesh, packed, how.dtype)
    change = learn.rule(job)
    begun, fresh = _begun(job, given, decoder, change)
    if fresh and given.resume is not None:
        given.reports.starts_anew(step_of(given.resume))
    run = Run(job, given, Model(decoder, how, frozen), change, placed(how, begun))
    trainable = sum(leaf.size for leaf in jax.tree.leaves(begun.trained))
    about = {"mesh": str(plan), "length": run.length, "compile_seconds": run.compile()}
    return course.Loaded(trainable, source.parameters(folder) + trainable, about, run.steps)


def _same_beginning(given: course.Given) -> None:
    """Raise Failure where the hosts of a machine would not go on from the same step."""
    steps = hosts.joined().share(0 if given.resume is None else step_of(given.resume))
    for number, step in enumerate(steps):
        if step != steps[0]:
            raise Failure(f"host 0 goes on from step {steps[0]}, and host {number} of {len(steps)} from step {step}")


def way(job: Job, plan: mesh.Plan) -> model.How:
    """How the model computes in this run."""
    return model.How(
        dtype=jnp.bfloat16 if chips.in_bf16(job) else jnp.float32,
        scale=job.lora.alpha / job.lora.rank,
        dropout=job.lora.dropout,
        attention="dense" if job.accelerator == "cpu" else "splash",
        mesh=mesh.make(plan),
        head_axis="tp" if plan.tp > 1 else None,
        remat=bool(job.activation_checkpointing),
    )


def placed(how: model.How, begun: State) -> State:
    """The arrays on the devices: of adapters and of what is like them each its part, of the rest copies."""
    if how.mesh is None:
        return jax.device_put(begun, jax.local_devices()[0])

    def put(path: Any, leaf: Any) -> Any:
        side = getattr(path[-1], "key", "")
        adapter = side in ("a", "b") and leaf.ndim == 3
        cut = mesh.adapter_cut(how.mesh, side, leaf.shape) if adapter else PartitionSpec()
        return mesh.put(leaf, how.mesh, cut)

    return jax.tree_util.tree_map_with_path(put, begun)


def _begun(job: Job, given: course.Given, decoder: Decoder | LongCat, change: Any) -> tuple[State, bool]:
    """Adapters and the optimizer's memory of the checkpoint, else new ones; and whether the memory is new."""
    if given.resume is None:
        trained = state.fresh(job, decoder)
        return State(trained, change.init(trained)), True
    trained = state.trained(given.resume, decoder)
    fresh = change.init(trained)
    memory = state.memory(given.resume, decoder, fresh, step_of(given.resume))
    return State(trained, fresh if memory is None else memory), memory is None


class Run:
    """What a run computes with, and the loop over its steps."""

    def __init__(self, job: Job, given: course.Given, base: Model, change: Any, begun: State) -> None:
        decoder, how, frozen = base
        self.job, self.reports, self.tokenizer = job, given.reports, given.tokenizer
        self.decoder, self.how, self.frozen, self.state = decoder, how, frozen, begun
        self.parts, self.hosts = architectures.of(decoder), hosts.joined()
        self.history = [] if given.resume is None else state.history(given.resume)
        self.done = 0 if given.resume is None else step_of(given.resume)
        blocks = (BLOCK,) if job.accelerator == "cpu" else TPU_BLOCKS
        self.held_out = given.evaluation
        self.length = row_length([rows for rows in (given.train, given.evaluation) if rows is not None], blocks)
        self.batches = Batches(given.train, self.length, job.micro_batch, job.grad_accum, job.seed)
        self.rate = learn.rate(job, given.reports.progress.steps)

        def loss_sum(trained: Any, frozen: Any, batch: model.Batch, key: Any) -> Any:
            return self.parts.loss_sum(decoder, how, frozen, trained, batch, key)

        self._step = learn.stepper(loss_sum, change, begun, draws=job.lora.dropout > 0)
        self._evaluated = learn.evaluator(loss_sum, begun)

    def compile(self) -> float:
        """Compile the step for its only shapes, before the clock of any step runs; returns the seconds.

        The first step finds it compiled. What `compile` returns is not called: it wants 4-bit weights in a layout
        of its own.
        """
        began = time.monotonic()
        self._step.lower(*self._arguments(self.batches.step(self.done))).compile()
        return time.monotonic() - began

    def steps(self) -> None:
        """Make the steps that are left, or stop at a step boundary; a checkpoint is there in either case."""
        progress = self.reports.progress
        learnt = sum(leaf.nbytes for leaf in jax.tree.leaves(self.state.trained))
        self.reports.pace.start(3 * learnt)  # and two moments of the optimizer
        while self.done < progress.steps:
            self._make_step()
            ends = self.done >= progress.steps
            every = self.job.eval.every_steps
            if progress.evaluates and (ends or (every and self.done % every == 0)) and not self._stops():
                self._evaluate()
            if saved := self.hosts.share(self.reports.saves_after(self.done))[0]:
                self._save(ends)
            if self._stops() and not ends:
                if not saved:
                    self._save(ends)
                break
        self.hosts.part()
        progress.elsewhere = self.hosts.here.number > 0 and self.done >= progress.steps

    def _stops(self) -> bool:
        """Whether any host was asked to stop; all of them come to know it here, at the same step."""
        reasons = [reason for reason in self.hosts.share(self.reports.progress.stop) if reason]
        if reasons:
            self.reports.progress.stop = self.reports.progress.stop or reasons[0]
        return bool(reasons)

    def _make_step(self) -> None:
        self.reports.begin_step()
        batch = self.batches.step(self.done)
        self.reports.progress.tokens += int((batch.segments > 0).sum())
        rate = self.rate(self.done)
        self.state, loss, counts = self._step(*self._arguments(batch))
        value = float(loss)
        self.parts.check(self.decoder, counts)
        self.done += 1
        self.reports.end_step()
        self.history.append({"step": self.done, "loss": value, "learning_rate": rate})
        self.reports.step(self.done, value, rate)

    def _arguments(self, batch: model.Batch) -> tuple[Any, ...]:
        """Those of the compiled step that is next."""
        rate, number = np.float32(self.rate(self.done)), learn.number(self.job.seed, self.done)
        return self.state, self.frozen, self._placed(batch, 1), rate, number

    def _evaluate(self) -> None:
        """The mean of the micro-batches' losses by their rows, as transformers has it; dropped when asked to stop."""
        losses, shares = [], []
        for batch in self._held_out():
            if self._stops():
                return
            total, count = self._evaluated(self.state.trained, self.frozen, self._placed(batch, 0))
            losses.append(float(total) / max(int(count), 1))
            shares.append(int((batch.segments[:, 0] > 0).sum()))
        loss = float(np.average(losses, weights=shares))
        self.history.append({"step": self.done, "eval_loss": loss})
        self.reports.evaluated(self.done, loss)

    def _held_out(self) -> Iterator[model.Batch]:
        assert self.held_out is not None
        return in_order(self.held_out, self.length, self.job.micro_batch)

    def _save(self, last: bool) -> None:
        """Publish a checkpoint of this step boundary, on host 0 for all. Raises SaveFailed."""
        self.reports.pace.begin()
        whole = mesh.whole(self.state, self.how.mesh)
        if self.hosts.here.number:
            return
        written = self.reports.store.partial / f"checkpoint-{self.done}"
        try:
            state.save(written, self.job, state.Saved(self.decoder, whole, self.tokenizer, self.history), last)
        except Exception as error:
            if (failed := of_a_save(error)) is not None:
                raise failed from error
            raise
        self.reports.publish(written, self.done)

    def _placed(self, batch: model.Batch, axis: int) -> model.Batch:
        """The arrays on the devices, their rows (the axis) cut over those that share a batch."""
        if self.how.mesh is None:
            return model.Batch(*(jnp.asarray(each) for each in batch))
        cut = PartitionSpec(*(None,) * axis, self.how.batch_axes)
        return model.Batch(*(mesh.put(each, self.how.mesh, cut) for each in batch))
