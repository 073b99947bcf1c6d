"""--why: one line of a quote in full, every number with its source; --compare: two of them side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from itertools import zip_longest
from typing import TYPE_CHECKING

from cloudtrain.cli.quote.table import machine, place
from cloudtrain.cli.tables import indented
from cloudtrain.errors import UsageError
from cloudtrain.quote.costs import cost_parts
from cloudtrain.quote.machine.disk import GB
from cloudtrain.quote.sampling.times import mb_text
from cloudtrain.units import gib, hours, money, speed

if TYPE_CHECKING:
    from cloudtrain.quote.machine.disk import Disk
    from cloudtrain.quote.row import Quote, QuoteRow
    from cloudtrain.trainer.verify import Verified


def explain(
    quote: Quote,
    index: int,
    id_: str,
    remedy: Callable[[QuoteRow], str],
    proven: Verified | UsageError | None = None,
) -> list[tuple[str, str]]:
    """(heading, text) pairs: everything that is known of one line, with what --verify proved or why it cannot."""
    line = quote.lines[index]
    offer, assessment = line.offer, line.assessment
    rows = [
        ("id", id_),
        ("offer", f"#{index} {offer.provider} {offer.name}, {machine(line)}, {place(line)}, {offer.market}"),
        ("viable", ("yes" + (", chosen" if index == quote.chosen else "")) if line.viable else "no"),
        *[("reason", reason) for reason in line.reasons()],
    ]
    advice = "" if line.viable else remedy(line)
    if advice:
        rows.append(("would work", advice))
    rows += [("launch", launch_text(line)), *memory_rows(quote, line), *proven_rows(quote, line, proven)]
    rows += disk_rows(line)
    rows += [*software_rows(line), *batch_rows(quote, line), *price_rows(line)]
    rows += [("speed", speed_text(line))]
    rows += [
        ("time", f"{part.name:13} {span([part.seconds.low, part.seconds.likely, part.seconds.high])}  ({part.source})")
        for part in assessment.time_parts
    ]
    if assessment.hours is not None:
        rows.append(("time", f"{'in all':13} {span([s * 3600 for s in assessment.hours])}"))
    rows += cost_rows(line)
    if assessment.guards:
        rows.append(("guards", ", ".join(assessment.guards)))
    return rows


def launch_text(line: QuoteRow) -> str:
    """The launch word with its reason."""
    if line.assessment.launch == "by hand":
        return f"by hand: {line.offer.limits.by_hand}"
    return {"yes": "yes: `cloudtrain up` can start it", "not yet": "not yet: no stack of this version starts it"}[
        line.assessment.launch
    ]


def memory_rows(quote: Quote, line: QuoteRow) -> list[tuple[str, str]]:
    """The memory verdict with its parts."""
    from cloudtrain.estimate import memory

    assessment = line.assessment
    if assessment.recipe is None:
        return []
    estimated = memory.estimate(quote.request.spec, assessment.recipe.options)
    parts = ", ".join(f"{name} {gib(size)}" for name, size in estimated.parts._asdict().items() if size)
    rows = [
        (
            "fits",
            f"{assessment.fits}: {gib(assessment.required_bytes)} needed of {gib(assessment.memory_bytes)} usable, "
            "per device",
        ),
        ("memory", f"live peak {gib(estimated.peak_bytes)} in phase {estimated.phase}: {parts}"),
    ]
    shown = (
        estimated.assumptions if assessment.recipe.memory is None else estimated.assumptions[:-1]
    )  # our own margin holds
    return [*rows, *(("memory", text) for text in shown)]


def disk_rows(line: QuoteRow) -> list[tuple[str, str]]:
    """The disk of the machine, what goes into it, and who says how large one there may be."""
    disk = line.assessment.disk
    if disk is None:
        return []
    speed = f"reads {mb_text(disk.speed.read)}, writes {mb_text(disk.speed.write)}: {disk.speed.source}"
    sizes = [("disk", f"sizes there: {disk.source}")] if disk.source else []
    return [("disk", disk_text(disk)), *sizes, ("disk", speed)]


def disk_text(disk: Disk) -> str:
    """`207 GB: system 60.0 + ...`; the margin with the rest, so that the parts add up."""
    sizes = {"system": disk.system_gb * GB, **disk.parts._asdict(), "margin": disk.parts.margin}
    parts = " + ".join(f"{name} {size / GB:,.1f}" for name, size in sizes.items() if size)
    needed = f"{disk.needed_gb:,} GB needed: {parts}"
    if disk.fixed:
        return f"{disk.gb:,} GB that it comes with, {needed}"
    if disk.speed.asked_mb_s is not None:
        return f"{disk.gb:,} GB of {disk.speed.asked_mb_s:,} MB/s, {needed}"
    return needed if disk.gb == disk.needed_gb else f"{disk.gb:,} GB, {needed}"


def prove(quote: Quote, line: QuoteRow, log: Callable[[str], None]) -> Verified | UsageError:
    """The proof of the line's recipe, or the message why it cannot be proven."""
    from cloudtrain.trainer import verify

    if line.assessment.recipe is None:
        return UsageError("there is no recipe of ours for this hardware")
    try:
        return verify.verify(quote.request.spec, line.assessment.recipe.options, log)
    except UsageError as error:
        return error


def proven_rows(quote: Quote, line: QuoteRow, proven: Verified | UsageError | None) -> list[tuple[str, str]]:
    """The proven peak next to the estimated one, and the verdict that follows from it."""
    assessment = line.assessment
    if proven is None:
        return []
    if isinstance(proven, UsageError) or assessment.recipe is None:
        return [("proven", f"not proven: {proven.message}" if isinstance(proven, UsageError) else "not proven")]
    from cloudtrain.estimate import budget, memory
    from cloudtrain.estimate.phases import Parts

    options = assessment.recipe.options
    estimated = memory.estimate(quote.request.spec, options)
    off = round(100 * (estimated.peak_bytes / proven.peak_bytes - 1), 1) + 0.0  # no negative zero
    parts = Parts(logits=0, **proven.parts) if proven.parts else estimated.parts
    required = assessment.recipe.required_bytes(
        estimated._replace(
            peak_bytes=proven.peak_bytes,
            required_bytes=budget.required_bytes(proven.peak_bytes, options, proven=True),
            parts=parts,
        )
    )
    usable = proven.available_bytes or assessment.memory_bytes
    verdict = "no" if proven.fits is False else budget.verdict(required, usable)
    shown = f"live peak {gib(proven.peak_bytes)} ({proven.how}); the estimate is {off:+.1f} % of it"
    return [
        ("proven", shown),
        ("proven", f"{verdict}: {gib(required)} needed of {gib(usable)} usable, per device"),
    ]


def software_rows(line: QuoteRow) -> list[tuple[str, str]]:
    """What loads and trains it there."""
    assessment = line.assessment
    rows = [("loads", f"{assessment.loads}{': ' + assessment.software if assessment.software else ''}")]
    if assessment.recipe:
        recipe = ", ".join(f"{k} {v}" for k, v in assessment.recipe.summary().items() if v not in ("", "none"))
        rows.append(("recipe", recipe))
        rows += [("recipe", note) for note in assessment.recipe.notes]
    return rows


def batch_rows(quote: Quote, line: QuoteRow) -> list[tuple[str, str]]:
    """What the micro-batch that was found for the machine gains over single sequences."""
    from cloudtrain.quote.remedy.remedies import assessed

    recipe, took = line.assessment.recipe, line.assessment.hours
    if quote.request.batch_given or recipe is None or took is None or recipe.options.batch == 1:
        return []
    one = assessed(quote, quote.request._replace(batch=1, batch_given=True), line.offer)
    if one is None or one.assessment.hours is None:
        return []
    size, now, before = recipe.options.batch, took.likely * 3600, one.assessment.hours.likely * 3600
    gained = (
        f"{hours(now)} instead of {hours(before)} with 1" if hours(now) != hours(before) else "hardly faster than 1"
    )
    return [("batch", f"{size}: {gained}; in a spec `grad_accum: {size}` or more")]


def price_rows(line: QuoteRow) -> list[tuple[str, str]]:
    """The price with its date and source."""
    price = line.offer.price
    shown = f"{money(line.offer.usd_per_hour)} per hour, {price.origin} of {price.as_of or 'unknown date'}"
    rows = [("price", f"{shown}, {price.confidence}: {price.source}")]
    return rows + ([("note", line.offer.note)] if line.offer.note else [])


def speed_text(line: QuoteRow) -> str:
    """Tokens per second of the whole machine."""
    rate = line.assessment.tokens_per_second
    if rate is None:
        return f"unknown: {line.assessment.basis}"
    return f"{speed(rate.likely)} tokens/s ({speed(rate.low)} .. {speed(rate.high)}): {line.assessment.basis}"


def cost_rows(line: QuoteRow) -> list[tuple[str, str]]:
    """The cost lines: quantity x unit price."""
    rows = [
        ("cost", f"{part.name:13} {part.quantity:,.2f} {part.unit} x {unit_money(part.unit_usd)} = {money(part.usd)}")
        for part in cost_parts(line)
    ]
    if (usd := line.usd) is not None:
        total = f"{money(usd.likely)} ({money(usd.low)} .. {money(usd.high)})"
        rows.append(("cost", f"{'in all':13} {total}"))
    if (least := line.offer.limits.purchase_usd) is not None:
        rows.append(
            ("cost", f"{'to be bought':13} {money(least)} at the least, once; what this run uses is paid out of it")
        )
    return rows


def unit_money(amount: Decimal | None) -> str:
    """A unit price, which may be a fraction of a cent."""
    return "unknown" if amount is None else f"${amount.normalize():.4g}"


def span(seconds: list[float]) -> str:
    """likely (low .. high) as text."""
    low, likely, high = (hours(s) if s != float("inf") else "never" for s in seconds)
    return f"{likely} ({low} .. {high})"


def compare(one: list[tuple[str, str]], other: list[tuple[str, str]]) -> list[list[str]]:
    """Two explanations side by side, heading by heading."""
    headings = list(dict.fromkeys([name for name, _ in one] + [name for name, _ in other]))

    def texts(rows: list[tuple[str, str]], heading: str) -> str:
        return "\n".join(text for name, text in rows if name == heading)

    return [[heading, texts(one, heading), texts(other, heading)] for heading in headings]


def side_by_side(rows: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    """Lines of two columns beside their headings, none wider than `width`; blanks in a text become one."""
    left = max(len(row[0]) for row in rows) + 2
    half = (width - left - 2) // 2
    for heading, *texts in rows:
        columns = [[line for text in each.split("\n") for line in narrow(text, half)] for each in texts]
        for number, (one, other) in enumerate(zip_longest(*columns, fillvalue="")):
            yield f"{'' if number else heading:{left}}{one:{half}}  {other}".rstrip()


def narrow(text: str, width: int) -> list[str]:
    """A text in lines; an address or an id that is longer than one goes on behind a slash or the like."""
    words: list[str] = []
    for word in text.split():
        rest = word
        while len(rest) > width - 2 and (end := max(rest.rfind(mark, 1, width - 2) for mark in "/:-@")) > 0:
            words.append(rest[: end + 1])
            rest = rest[end + 1 :]
        words.append(rest)
    return indented(" ".join(words), width)
