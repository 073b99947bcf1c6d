"""How long a machine is billed for a job: named stretches of time, from boot to the last checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudtrain.models.spec import NF4_BYTES_PER_WEIGHT
from cloudtrain.offer import Range, Terms
from cloudtrain.quote.machine.disk_speed import ANY_SPEED, MB, Speed, cheapest
from cloudtrain.quote.sampling.parts import TimePart
from cloudtrain.units import HOURS_PER_MONTH

if TYPE_CHECKING:
    from cloudtrain.offer import Offer
    from cloudtrain.quote.machine.disk import Disk
    from cloudtrain.quote.recipes import Recipe
    from cloudtrain.quote.request import Request

CHECKPOINT_EVERY_S = 300.0  # our trainer's default
TRAINED_PER_SAVED = 20  # and its rule, templates/common/checkpoints.py: so many times a save's duration between two
ASSUMED_BYTES_PER_S = 5e8  # and what it takes a disk for before the first save
KEPT_FROM_S = 300.0  # 4-bit weights that are made sooner than this are made again rather than kept


def quantised_parameters(request: Request, recipe: Recipe) -> int:
    """Parameters that are turned into 4 bit while loading; zero for other methods."""
    if request.method != "qlora":
        return 0
    spec = request.spec
    return spec.params_linear + (spec.params_experts if recipe.options.experts_4bit else 0)


def setup_parts(
    request: Request, recipe: Recipe, terms: Terms, vcpus: int | None, speed: Speed = ANY_SPEED, hosts: int = 1
) -> list[TimePart]:
    """Everything before the first step. Sources: the provider's terms, the recipe data and the disk's speed.

    Each of several `hosts` fetches, reads and packs the part that its devices hold; a trainer that can read parts of
    files has it then without a disk in between.
    """
    spec = request.spec
    weights_bytes = round(spec.weights_bytes("bf16") / hosts)
    each = f" on each of {hosts} hosts" if hosts > 1 else ""
    parts = [TimePart("boot", terms.boot_s, terms.source)]
    if terms.image_needed:
        image = over(recipe.image_bytes, terms.image_bytes_per_s)
        parts.append(TimePart("image", image, f"{recipe.image_bytes / 1e9:.1f} GB compressed"))
    if hosts > 1 and recipe.streams_per_s:
        how = f"{weights_bytes / 1e9:,.1f} GB in bf16{each}, its part at {mb_text(recipe.streams_per_s)}"
        parts.append(TimePart("weights", over(weights_bytes, recipe.streams_per_s), how))
    else:
        if not (terms.sees_client_files and spec.path):
            download = over(weights_bytes, slower(terms.download_bytes_per_s, speed.write))
            parts.append(TimePart("weights", download, f"{weights_bytes / 1e9:,.1f} GB in bf16{each}"))
        parts.append(TimePart("load", over(weights_bytes, speed.read), f"reading the weights at {mb_text(speed.read)}"))
    quantised = quantised_parameters(request, recipe)
    if quantised:
        kind = "4 bit" if recipe.options.quantisation == "nf4" else recipe.options.quantisation
        seconds = over(quantised, recipe.quantise_per_s.scaled(hosts))
        parts.append(TimePart("quantise", seconds, f"{quantised / 1e9:,.1f} B parameters to {kind}"))
    parts.append(TimePart("compile", recipe.compile_s, "libraries and slower first steps, from the recipe data"))
    return parts


def is_kept(request: Request, recipe: Recipe, terms: Terms) -> bool:
    """Whether a machine that may be taken away keeps its 4-bit weights beside the run, for the one after it.

    Where our trainer can, where bytes between machine and bucket cost nothing, where making them takes minutes, and
    where most of the model is in 4 bit. Keeping takes no time of its own: pieces are written and sent while the next
    ones are made, and while it trains.
    """
    if not (recipe.keeps_quantised and terms.bucket and request.bucket in ("", terms.bucket)):
        return False
    if quantised_parameters(request, recipe) / recipe.quantise_per_s.likely < KEPT_FROM_S:
        return False
    return 2 * kept_size(request, recipe) <= request.spec.weights_bytes("bf16")


def kept_size(request: Request, recipe: Recipe) -> int:
    """Bytes of kept weights: those in 4 bit, and all others as wide as they are computed with."""
    quantised = quantised_parameters(request, recipe)
    wide = request.spec.params_total - quantised
    return round(NF4_BYTES_PER_WEIGHT * quantised) + recipe.width_bytes * wide


def kept_bytes(request: Request, recipe: Recipe, offer: Offer, terms: Terms) -> int:
    """Bytes of the 4-bit weights that a machine of the offer keeps beside the run; 0 where it keeps none."""
    is_worth_it = offer.market == "spot" and is_kept(request, recipe, terms)
    return kept_size(request, recipe) if is_worth_it else 0


def restart_parts(
    request: Request, recipe: Recipe, terms: Terms, vcpus: int | None, speed: Speed = ANY_SPEED, hosts: int = 1
) -> list[TimePart]:
    """Everything before the first step of a machine that goes on with a run: as `setup_parts` where nothing is kept.

    Kept weights are fetched instead of those in bf16, and not made again. A machine that was taken away while it made
    them leaves what it had, so that no work is done twice; that one's restart is not shown apart.
    """
    parts = setup_parts(request, recipe, terms, vcpus, speed, hosts)
    if not is_kept(request, recipe, terms):
        return parts
    kept = kept_size(request, recipe)
    instead = {
        "weights": TimePart(
            "weights",
            over(kept, slower(terms.download_bytes_per_s, speed.write)),
            f"{kept / 1e9:,.1f} GB kept in 4 bit",
        ),
        "load": TimePart("load", over(kept, speed.read), f"reading the kept weights at {mb_text(speed.read)}"),
    }
    return [instead.get(part.name, part) for part in parts if part.name != "quantise"]


def step_parts(request: Request, recipe: Recipe, rate: Range, vcpus: int | None) -> list[TimePart]:
    """The training itself at `rate` tokens per second, and on a CPU the unpacking of 4-bit weights it has to repeat."""
    parts = [TimePart("steps", over(request.tokens, rate), f"{request.tokens:,} tokens")]
    quantised = quantised_parameters(request, recipe)
    if quantised and recipe.dequantise_per_vcpu_s and vcpus and recipe.options.experts_4bit:
        passes = 3 if recipe.options.checkpointing else 2
        work = quantised * passes * request.packed_steps()
        seconds = over(work, recipe.dequantise_per_vcpu_s.scaled(vcpus))
        parts.append(TimePart("unpack", seconds, f"{passes} passes over the 4-bit weights in each micro-batch"))
    return parts


def checkpoint_s(disk: Disk) -> Range:
    """Seconds of one checkpoint."""
    return over(disk.checkpoint, disk.speed.write)


def assumed_s(disk: Disk) -> float:
    """What our trainer takes a checkpoint for before it has made one."""
    return disk.checkpoint / ASSUMED_BYTES_PER_S


def result_part(disk: Disk) -> TimePart:
    """The save after the last step: weights alone, without what the optimizer keeps."""
    return TimePart("result", over(disk.parts.output, disk.speed.write), f"{disk.parts.output / 1e9:,.1f} GB written")


def interval_s(save_s: float) -> float:
    """Seconds that our trainer trains between two saves, when a save takes `save_s`."""
    return max(CHECKPOINT_EVERY_S, TRAINED_PER_SAVED * save_s)


def saves(work_s: float, save_s: float, assumed_s: float) -> int:
    """How many checkpoints our trainer makes in `work_s` seconds of steps, before the result.

    When the first one is due follows from what a save is assumed to take, the next ones from what it took.
    """
    first = interval_s(assumed_s)
    return 1 + int((work_s - first) / interval_s(save_s)) if work_s >= first else 0


def at_cheapest_speed(
    request: Request, recipe: Recipe, terms: Terms, offer: Offer, disk: Disk, rate: Range | None
) -> Disk:
    """The disk with the speed that makes the job cheapest, where one can be asked for and every price is known."""
    choices, per_month = disk.pace.choices(offer.vcpus), terms.disk_usd_per_mb_s_month
    if len(choices) < 2 or rate is None or offer.usd_per_hour is None or per_month is None:
        return disk
    work_s = sum(part.seconds.likely for part in step_parts(request, recipe, rate, offer.vcpus))
    setup = setup_parts(request, recipe, terms, offer.vcpus, disk.speed, disk.hosts)
    others_s = work_s + sum(part.seconds.likely for part in setup if part.name not in ("weights", "load"))
    weights, fetched = request.spec.weights_bytes("bf16"), terms.download_bytes_per_s.likely

    def seconds(mb_s: int) -> float:
        there = disk.pace.speed(disk.gb, offer.vcpus, mb_s)
        write = there.write.likely
        save_s = disk.checkpoint / write
        saving = saves(work_s, save_s, assumed_s(disk)) * save_s + disk.parts.output / write
        return others_s + weights / min(fetched, write) + weights / there.read.likely + saving

    best = cheapest(choices, seconds, float(offer.usd_per_hour), float(per_month / HOURS_PER_MONTH))
    return disk._replace(speed=disk.pace.speed(disk.gb, offer.vcpus, best))


def slower(one: Range, other: Range) -> Range:
    """The slower of two rates, bound by bound."""
    return Range(*map(min, one, other))


def mb_text(rate: Range) -> str:
    """`110 to 125 MB/s`."""
    return f"{rate.low / MB:,.0f} to {rate.high / MB:,.0f} MB/s"


def over(amount: float, rate: Range) -> Range:
    """Seconds that an amount takes: the high rate gives the low figure."""
    return Range(amount / rate.high, amount / rate.likely, amount / rate.low)
