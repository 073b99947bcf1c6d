"""Assess a kind of machine for the job: does it fit, does it load, how long does it take.

Most offers are the same machine in another place, so a Case is worked out once per (machine, market kind, provider) and
shared; only the price differs from line to line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from cloudtrain.estimate import budget, memory, spot, throughput, vcpus, waits
from cloudtrain.offer import Offer, Range, Terms
from cloudtrain.quote import batches, probed
from cloudtrain.quote.assessment import NO_EXTRA_COSTS, Assessment, Instead, Learnt
from cloudtrain.quote.chips import chips
from cloudtrain.quote.compatibility import Compatibility, loads
from cloudtrain.quote.costs import extras
from cloudtrain.quote.machine import loading
from cloudtrain.quote.machine.disk import Disk, disk
from cloudtrain.quote.recipes import Recipe, recipe, variants
from cloudtrain.quote.sampling import times
from cloudtrain.quote.sampling.clock import Clock
from cloudtrain.quote.sampling.draws import Stretches
from cloudtrain.units import gib

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloudtrain.estimate.hardware import Hardware
    from cloudtrain.quote.request import Request
    from cloudtrain.quote.sampling.parts import TimePart


class Measured(Protocol):
    """Where measured runs of this state correct the shipped efficiency data."""

    def rate(self, offer: Offer, recipe: Recipe, request: Request, prior: Range | None, most: float) -> Learnt | None:
        """The shipped tokens per second of the whole machine, corrected; None when nothing was measured on such a one.

        `most` is the highest speed that the machine can have.
        """

    def memory_factor(self, recipe: Recipe, request: Request) -> float:
        """By what the memory estimate is to be raised, at least 1."""


def rejected(reason: str) -> Assessment:
    """The case of hardware that nothing trains on, or that we know nothing of."""
    return Assessment("no", "no trainer", 0, 0, 0, None, "", (), None, "", None, NO_EXTRA_COSTS, (reason,))


def assess(request: Request, offer: Offer, terms: Terms, measured: Measured | None) -> Assessment:
    """The Case of an offer's machine. Pure but for the data files it reads."""
    chip = chips().get(offer.hardware)
    if chip is None:
        return rejected(f"`{offer.hardware or offer.name}` is not in the accelerator table")
    if not chip.trains:
        return rejected("" if offer.limits.barred else chip.why_not)  # said once is enough
    found = trained_by(request, chip)
    devices = devices_of(chip, offer)
    usable = budget.usable_bytes(chip, offer.memory_bytes)
    reasons: list[str] = []
    ours = packed(request, chip, devices, usable)
    if ours is None:
        return rejected(found.reason)
    factor = 1.0 if measured is None else measured.memory_factor(ours, request)
    if offer.products is not None:
        ours, why_not = faster_type(request, chip, offer, ours, factor)
        reasons.extend(why_not)
        chip = probed.with_rate(chip, offer.count, offer.products, ours.options.dtype)
    rate, basis, learnt = machine_rate(request, offer, chip, ours, measured)
    request, ours, larger = batches.settled(request, ours, batches.Room(usable, factor, rate, offer.vcpus))
    estimated = memory.estimate(request.spec, ours.options)
    required = ours.required_bytes(estimated)
    if factor > 1:
        required = round(required * factor)
        reasons.append(f"memory raised by {100 * (factor - 1):.0f} %, as a run of this model used it")
    verdict = budget.verdict(required, usable)
    if verdict == "no":
        reasons.append(f"needs {gib(required)}{each(devices)}, has {gib(usable)}")
    elif verdict == "tight":
        reasons.append(f"tight: {gib(required)} of {gib(usable)}{each(devices)}")
    if verdict != "no" and (short := loading.shortage(request, ours, chip, offer, estimated)):
        verdict = "no"
        reasons.append(short)
    reasons.extend(loading_reasons(request, found, chip.backend, "" if learnt else ours.untried))
    kept = times.kept_bytes(request, ours, offer, terms)
    room = disk(request, offer, ours, estimated.params_trainable, terms.sees_client_files, kept)
    room = times.at_cheapest_speed(request, ours, terms, offer, room, rate)
    before, timed = clock(request, offer, terms, ours, rate, room)
    if timed is None:
        reasons.append(basis)
    return Assessment(
        fits=verdict,
        loads=found.verdict,
        devices=devices,
        memory_bytes=usable,
        required_bytes=required,
        recipe=ours,
        software=found.stack,
        setup_parts=before,
        clock=timed,
        basis=basis,
        tokens_per_second=rate,
        extras=extras(terms, room),
        reasons=tuple(reasons),
        disk=room,
        learnt=learnt,
        instead=Instead(larger.words, assess(larger.request, offer, terms, measured)) if larger else None,
    )


def trained_by(request: Request, chip: Hardware) -> Compatibility:
    """Which software trains the model there; none where our trainer cannot do what the spec asks for besides."""
    found = loads(request, chip.backend, chip.architecture)
    for trainer, why in request.refused:
        if trainer == found.trainer and found.verdict != "no trainer":
            return Compatibility("no trainer", found.stack, why)
    if found.verdict != "no trainer" and not variants(request, chip.backend):
        return Compatibility(
            "no trainer", found.stack, f"our trainer there does not pack weights in {request.quantisation}"
        )
    return found


def packed(request: Request, chip: Hardware, devices: int, usable: int) -> Recipe | None:
    """Our recipe with the frozen weights in the most exact form that fits; in the smallest where none does."""
    kinds = variants(request, chip.backend) or ("nf4",)
    found = [recipe(request, chip.backend, devices, chip.key, quantisation=kind) for kind in kinds]
    if len(found) > 1:
        for accepted in ("fits", "tight"):
            for each in found:
                if (
                    each is not None
                    and budget.verdict(each.required_bytes(memory.estimate(request.spec, each.options)), usable)
                    == accepted
                ):
                    return each
    return found[-1]


def faster_type(
    request: Request, chip: Hardware, offer: Offer, usual: Recipe, factor: float
) -> tuple[Recipe, tuple[str, ...]]:
    """The recipe in float32 where that was measured to be faster and fits with room, else the usual one and why."""
    products = offer.products
    if products is None or usual.options.dtype == "fp32" or not probed.float32_is_faster(products):
        return usual, ()
    wide = recipe(request, chip.backend, usual.options.devices, chip.key, True)
    if wide is None or wide.options.dtype != "fp32":
        return usual, ()
    required = round(factor * wide.required_bytes(memory.estimate(request.spec, wide.options)))
    if budget.verdict(required, budget.usable_bytes(chip, offer.memory_bytes)) == "fits":
        return wide, ()
    gain = products.fp32_flops_per_s / products.bf16_flops_per_s
    return usual, (f"float32 would be {gain:.1f} times as fast here, but needs {gib(required)}",)


def loading_reasons(request: Request, found: Compatibility, backend: str, untried: str = "") -> Iterator[str]:
    """Why a back end's trainer does not load the model, or what it does to weights in a format of their own.

    `untried`: that nobody has run it there.
    """
    if found.reason and found.verdict != "yes":
        yield found.reason
    if untried and found.verdict != "no trainer":
        yield untried
    if found.verdict != "no trainer" and request.spec.published.format:
        from cloudtrain.models.loadable import remarks

        yield from remarks(request.spec, request.method, backend)


def devices_of(chip: Hardware, offer: Offer) -> int:
    """What the framework sees: a CPU host is one device, a chip one or several."""
    return 1 if chip.peak_unit == "per vCPU" else offer.count * chip.devices_per_chip


def each(devices: int) -> str:
    """Words after a memory figure of one of several devices."""
    return f" on each of {devices}" if devices > 1 else ""


def machine_rate(
    request: Request, offer: Offer, chip: Hardware, ours: Recipe, measured: Measured | None
) -> tuple[Range | None, str, Learnt | None]:
    """Tokens per second of the whole machine with our recipe, where the figure comes from, and what corrected it."""
    work = throughput.work_of(request.spec, ours.options)  # no tier: what our own trainer reaches there
    found = throughput.tokens_per_second(chip, offer.count, work)
    rate = found.range.scaled(offer.count) if found.range else None
    if rate is not None and (pace := offer.pace) is not None:
        rate = throughput.product(rate, Range(pace.low, pace.likely, pace.high))
        found = found._replace(basis=f"{found.basis}; {pace.source}")
    if rate is not None and chip.is_processor and offer.products is None:
        share = vcpus.share(offer.provider, offer.name, offer.threads_per_core)
        rate = throughput.product(rate, share.cores)
        found = found._replace(basis=f"{found.basis}; {share.source}: x {share.cores.likely:g}")
    if rate is not None:
        rate = throughput.eight_in_ten(rate)
        found = found._replace(basis=f"{found.basis}; independent spreads add in squares, shown is P10 to P90")
    if offer.products is not None:
        if (stepped := probed.by_steps(request.spec, ours.options, offer.products)) is not None:
            rate, basis = stepped
            found = found._replace(basis=basis)
        found = found._replace(basis=f"{found.basis}; {probed.basis(offer.products, ours.options.dtype)}")
    if measured is not None:
        most = (chip.peak_flops or 0.0) * offer.count / work.flops_per_token
        if (learnt := measured.rate(offer, ours, request, rate, most)) is not None:
            return learnt.speed, f"{learnt.basis}; else {found.basis}", learnt
    return rate, found.basis, None


def clock(
    request: Request, offer: Offer, terms: Terms, ours: Recipe, rate: Range | None, room: Disk
) -> tuple[tuple[TimePart, ...], Clock | None]:
    """The stretches before the first step, and the clock of the job; None when the rate is unknown."""
    place = terms, offer.vcpus, room.speed, room.hosts
    setup = tuple(times.setup_parts(request, ours, *place))
    if rate is None:
        return setup, None
    accelerator, spots = ours.backend != "torch-cpu", offer.market == "spot"
    stretches = Stretches(
        setup=setup,
        restart=tuple(times.restart_parts(request, ours, *place)) if spots else setup,
        steps=tuple(times.step_parts(request, ours, rate, offer.vcpus)),
        write=times.checkpoint_s(room),
        assumed_s=times.assumed_s(room),
        result=times.result_part(room),
        wait=waits.prior(offer.market, accelerator=accelerator),
        between=spot.prior(offer.provider, accelerator=accelerator) if spots else None,
        minimum_s=float(terms.minimum_billed_s),
        ceiling_h=request.max_hours,
        session_h=offer.limits.session_hours,
    )
    return setup, Clock(stretches)
