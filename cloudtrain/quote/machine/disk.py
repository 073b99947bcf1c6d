"""How much disk a job fills on a machine, part by part, what a machine can have and how fast: the table `disks.csv`.

The one place that decides it: the quote bills this size, a plan shows it, a stack asks for it. GB are 10**9 bytes; a
provider that counts in GiB gives 7 % more than it is asked for. A speed that can be chosen is in `disk_speed.py`.
"""

from __future__ import annotations

import csv
import math
import re
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cloudtrain.quote import catalog
from cloudtrain.quote.machine import disk_speed
from cloudtrain.quote.machine.disk_speed import ANY_PACE, Pace, Speed

if TYPE_CHECKING:
    from cloudtrain.models.spec import ModelSpec
    from cloudtrain.offer import Offer
    from cloudtrain.quote.recipes import Recipe
    from cloudtrain.quote.request import Request

TABLE = "disks.csv"
GB = 10**9
SIDE_BYTES = 5 * 10**7  # tokenizer, configuration, scheduler and counters, in every checkpoint and in the output
BYTES_PER_TOKEN = 4  # of a data file that is not known: 4 characters a token
MARGIN_SHARE, MARGIN_BYTES = 0.05, 4 * GB  # log, what packages and hub leave behind, the file system itself
WEIGHT_FILES = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".npz")


class Parts(NamedTuple):
    """Bytes that a job has written when it has written most."""

    environment: int
    weights: int  # as they are fetched
    quantised: int  # a copy of them in 4 bit, where one is written: for a program that needs files, or to be kept
    checkpoints: int  # those that are kept, and the next one while it is written
    output: int
    data: int  # as it came, and unpacked

    @property
    def margin(self) -> int:
        """What is left free for what nobody counts."""
        return round(max(MARGIN_BYTES, MARGIN_SHARE * sum(self)))


class Rule(NamedTuple):
    """What is known of the disks of some offers: `most_gb` None where nobody says; `fixed`: they come with one of it.

    `system_gb` is what is on the disk before anything of ours. `chips_per_host` 0: the machine is one host.
    """

    provider: str
    offers: re.Pattern[str]
    system_gb: int = 10
    least_gb: int = 10
    most_gb: int | None = None
    most_gb_per_vcpu: int | None = None
    fixed: bool = False
    chips_per_host: int = 0
    output_gb: int | None = None  # of the result that is kept, where there is a limit of its own
    source: str = ""
    pace: Pace = ANY_PACE


class Disk(NamedTuple):
    """What the job needs on each host of a machine, and the disk that it gets there; in GB."""

    parts: Parts
    system_gb: int
    needed_gb: int
    gb: int  # what a stack asks for, or what the machine comes with
    billed_gb: int  # of all hosts together; 0 where it is part of the machine's price
    most_gb: int | None
    fixed: bool
    output_gb: int | None
    source: str
    checkpoint: int  # bytes of one
    speed: Speed
    pace: Pace
    hosts: int = 1  # that make up the machine, each with such a disk

    @property
    def paid_mb_s(self) -> int:
        """MB/s of all hosts together that cost more than the disk."""
        paid = self.hosts if self.billed_gb else 0  # 0 where it is part of the machine's price
        return 0 if self.speed.asked_mb_s is None else paid * (self.speed.asked_mb_s - int(self.pace.mb_s))

    @property
    def shortage(self) -> str:
        """Why the job cannot run there; "" when it can."""
        if self.output_gb is not None and self.parts.output > self.output_gb * GB:
            return f"its result has {self.parts.output / GB:,.0f} GB, {self.output_gb} GB are kept"
        if self.most_gb is None or self.needed_gb <= self.most_gb:
            return ""
        return f"needs {self.needed_gb:,} GB of disk, has {'' if self.fixed else 'at most '}{self.most_gb:,} GB"


def disk(request: Request, offer: Offer, recipe: Recipe, trainable: int, at_home: bool, kept_bytes: int = 0) -> Disk:
    """The disk for a job on an offer's machine; `trainable` parameters learn.

    `at_home`: the client's own files are there, so that a model's folder is used as it is. `kept_bytes`: of 4-bit
    weights that are kept for the next machine.
    """
    if recipe.writes_quantised and request.method == "qlora":
        kept_bytes = request.spec.weights_bytes("nf4")
    widths = recipe.width_bytes, recipe.learnt_bytes
    parts = parts_of(request, recipe.environment_bytes, widths, kept_bytes, at_home, trainable)
    known = rule(catalog.folder(), offer.provider, offer.name)
    needed_gb = math.ceil((sum(parts) + parts.margin) / GB) + known.system_gb
    most_gb = known.most_gb
    if known.most_gb_per_vcpu and offer.vcpus:
        most_gb = known.most_gb_per_vcpu * offer.vcpus
    fixed = known.fixed
    gb = most_gb if fixed and most_gb is not None else max(known.least_gb, needed_gb)
    hosts = hosts_of(offer)
    billed_gb = 0 if fixed else hosts * gb
    one, pace = parts.checkpoints // (request.checkpoints_kept + 1), known.pace
    first = pace.choices(offer.vcpus)[:1]
    speed = pace.speed(gb, offer.vcpus, first[0] if first else None)
    sizes = known.system_gb, needed_gb, gb, billed_gb, most_gb
    return Disk(parts, *sizes, fixed, known.output_gb, known.source, one, speed, pace, hosts)


def hosts_of(offer: Offer) -> int:
    """How many hosts make up an offer's machine: a slice of chips has several from some size on."""
    known = rule(catalog.folder(), offer.provider, offer.name)
    return math.ceil(offer.count / known.chips_per_host) if known.chips_per_host else 1


@lru_cache(maxsize=64)  # a quote asks for the same job on every kind of machine
def parts_of(
    request: Request,
    environment_bytes: int,
    widths: tuple[int, int],
    quantised_bytes: int,
    at_home: bool,
    trainable: int,
) -> Parts:
    """What the job writes, whatever the machine; `widths` are the bytes of a weight, and of one that learns."""
    spec = request.spec
    data_bytes = request.tokens * BYTES_PER_TOKEN if request.data_bytes is None else request.data_bytes
    checkpoint, output = saved_bytes(request, trainable, widths)
    return Parts(
        environment_bytes,
        0 if at_home and spec.path else request.weights_bytes or fetched_bytes(spec),
        quantised_bytes,
        (request.checkpoints_kept + 1) * checkpoint,
        output,
        2 * data_bytes,
    )


def saved_bytes(request: Request, trainable: int, widths: tuple[int, int]) -> tuple[int, int]:
    """Bytes of one checkpoint and of the output: weights, and in a checkpoint two optimizer states of what learns.

    Of an adapter the adapter alone is saved; other methods save the whole model. A test holds this against runs.
    """
    width_bytes, learnt_bytes = widths
    is_adapter = request.method in ("lora", "qlora", "dora")
    weights = learnt_bytes * trainable if is_adapter else width_bytes * request.spec.params_total
    return weights + 2 * learnt_bytes * trainable + SIDE_BYTES, weights + SIDE_BYTES


def fetched_bytes(spec: ModelSpec) -> int:
    """Bytes of the weights' files: those in the model's folder where there are any, else as they are published."""
    found = 0
    try:
        for path in Path(spec.path).iterdir() if spec.path else ():
            if path.suffix in WEIGHT_FILES:
                found += path.stat().st_size
    except OSError:  # a folder that went away, or that we may not read: what is published is right too
        found = 0
    return found or spec.published_bytes


@cache
def rule(catalogue: Path, provider: str, offer: str) -> Rule:
    """The first row of the table for an offer; where there is none, no limit is known."""
    unknown = Rule(provider, re.compile(".*"))
    return next((row for row in rules(catalogue) if row.provider == provider and row.offers.fullmatch(offer)), unknown)


@cache
def rules(catalogue: Path) -> tuple[Rule, ...]:
    """The table of the catalogue, or the shipped one where the catalogue has none of its own.

    Raises UsageError with file and line for a row that cannot be read.
    """
    path = catalogue / TABLE
    return _read(path if path.is_file() else catalog.shipped() / TABLE)


def _read(path: Path) -> tuple[Rule, ...]:
    from cloudtrain.errors import UsageError

    found = []
    with open(path, encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        try:
            for row in rows:
                if row["fixed"] and not row["most_gb"]:
                    raise ValueError("a fixed disk without its size")
                found.append(
                    Rule(
                        row["provider"],
                        re.compile(row["offers"]),
                        int(row["system_gb"]),
                        int(row["least_gb"] or 0),
                        int(row["most_gb"]) if row["most_gb"] else None,
                        int(row["most_gb_per_vcpu"]) if row["most_gb_per_vcpu"] else None,
                        row["fixed"] == "yes",
                        int(row["chips_per_host"] or 0),
                        int(row["output_gb"]) if row["output_gb"] else None,
                        f"{row['source']} (observed {row['observed']}, {row['confidence']})",
                        disk_speed.read(row) if row.get("mb_s") else ANY_PACE,
                    )
                )
        except (KeyError, ValueError, TypeError, re.error) as wrong:
            raise UsageError(
                f"`{path}` line {rows.line_num}: {wrong}", "pricing/README.md says what each column holds"
            ) from None
    return tuple(found)
