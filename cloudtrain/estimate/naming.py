"""Which hardware somebody means: a row of the accelerator table by any spelling, an architecture, how many of it."""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

from cloudtrain.errors import UsageError, visible
from cloudtrain.estimate import accelerators
from cloudtrain.estimate.accelerators import Hardware
from cloudtrain.units import GIB

# What makers and sellers put before a chip's own name, and after it. All of it is optional, in this order.
_BEFORE = (
    r"(?:amd|intel|apple|google|aws|amazon|nvidia|habana|qualcomm)?"
    r"(?:radeon(?:ai)?(?:pro)?|instinct|geforce|(?:datacenter)?gpu|cloudtpu|tpu|arc|mac(?:book)?(?:pro|air|mini|studio)?|imac)?"
    r"(?:rx)?"
)
_AFTER = r"(?:oam|gpu|graphics|dualslot|comparison)$"
_MARKS = r"\((?:tm|r|c)\)|[^a-z0-9]+"
_TIMES = r"(?i)(?P<n>\d{1,3})\s?[x×*]\s?(?=[a-z])(?P<name>.+)|(?P<name2>.+?)\s+[x×*]\s?(?P<n2>\d{1,3})"
_MEMORY = r"(?i)\b(\d{1,5})\s?gi?b\b"
_TARGET = r"gfx[0-9a-f]{3,5}"
# Words that name a family of chips and no chip: what is listed when nothing nearer is known.
_FAMILIES = (
    (("mac", "imac", "apple", "mps", "metal", "mlx"), "apple"),
    (("radeon", "instinct", "amd", "rx", "rocm"), "amd"),
    (("arc", "intel", "xpu", "gaudi"), "intel"),
    (("tpu", "google"), "google"),
    (("trainium", "inferentia", "aws", "neuron"), "aws"),
)
_ALIKE = 0.75  # similarity from which a spelling counts as a slip of the finger


class Named(NamedTuple):
    """What was named: one chip, or all of an architecture; how many of it and how much memory, where that was said."""

    chips: tuple[Hardware, ...]
    count: int | None = None  # type: ignore[assignment]  # shadows tuple.count, which nobody asks for
    memory_bytes: int | None = None

    @property
    def devices(self) -> int | None:
        """How many devices a framework sees in them; None where no number was said."""
        chip = self.chips[0]
        return self.count and (1 if chip.peak_unit == "per vCPU" else self.count * chip.devices_per_chip)


def read(text: str) -> Named:
    """`RX 7900 XTX`, `mi210:2`, `2 x MI210`, `M4 Max 128GB`, `gfx1100`. Raises UsageError with the nearest thing."""
    exact = accelerators.exactly(text)
    if exact is not None:
        return Named((exact,))
    name, count = _counted(text.strip())
    memory = re.search(_MEMORY, name)
    exact = accelerators.exactly(name)
    if exact is not None:
        return Named((exact,), count)
    bare = re.sub(_MEMORY, " ", name)
    memory_bytes = int(memory[1]) * GIB if memory else None
    chips = _cards(bare) if re.fullmatch(_TARGET, joined(bare)) else _by_spelling(bare)
    if not chips:
        raise UsageError(f"unknown hardware `{visible(text)}`", nearest_thing(bare))
    return Named(chips, count, memory_bytes)


def one(text: str) -> Named:
    """The same where a single kind of chip is meant. Raises UsageError when an architecture has several."""
    named = read(text)
    if len(named.chips) > 1:
        cards = ", ".join(chip.key for chip in named.chips)
        raise UsageError(f"`{visible(text)}` is the architecture of several cards", f"name one of them: {cards}")
    return named


def joined(text: str) -> str:
    """A name without case, blanks, dashes, underscores and marks."""
    return re.sub(_MARKS, "", text.lower())


def bare_name(text: str) -> str:
    """The same without the words of maker and product line: `AMD Radeon RX 7900 XTX` and `7900xtx` are one."""
    whole = joined(text)
    found = re.match(_BEFORE, whole)
    rest = whole[found.end() :] if found else whole
    return re.sub(_AFTER, "", rest)


def nearest_thing(text: str) -> str:
    """What to write instead of a name that is not known: chips whose names go on so, or nearly so, or of its family."""
    whole, wanted = joined(text), bare_name(text)
    if re.fullmatch(_TARGET, whole):
        targets = {row.architecture for row in accelerators.all_hardware()} - {""}
        return f"known architectures: {', '.join(sorted(targets))}"
    names = _bare_names()
    if len(wanted) >= 2:
        longer = dict.fromkeys(row.key for name, row in names.items() if name.startswith(wanted))
        if longer:
            return f"did you mean {' or '.join(f'`{key}`' for key in longer)}?"
    from difflib import get_close_matches

    close = get_close_matches(wanted[:80], list(names), n=1, cutoff=_ALIKE) if wanted else []
    if close:
        return f"did you mean `{names[close[0]].key}`?"
    words = set(re.split(r"[^a-z]+", text.lower()))
    for family, vendor in _FAMILIES:
        if words & set(family) or whole.startswith(family):
            return f"name the chip: {', '.join(_keys(vendor))}"
    groups = dict.fromkeys(row.vendor for row in accelerators.all_hardware())
    return "known: " + "; ".join(f"{vendor}: {', '.join(_keys(vendor))}" for vendor in groups)


def _keys(vendor: str) -> list[str]:
    return [row.key for row in accelerators.all_hardware() if row.vendor == vendor]


def _counted(text: str) -> tuple[str, int | None]:
    """The name and the number in `NAME:N`, `N x NAME`, `NAME x N`. Raises UsageError for what is no number."""
    name, colon, number = text.rpartition(":")
    if colon:
        if not number.strip().isdecimal() or len(number) > 6 or not int(number):
            raise UsageError(f"`{visible(text)}` is not NAME:COUNT", "write for example mi300x:2")
        return name.strip(), int(number)
    times = re.fullmatch(_TIMES, text)
    if times is None:
        return text, None
    return (times["name"] or times["name2"]).strip(), max(1, int(times["n"] or times["n2"]))


def _cards(text: str) -> tuple[Hardware, ...]:
    return tuple(row for row in accelerators.all_hardware() if row.architecture == joined(text))


def _by_spelling(text: str) -> tuple[Hardware, ...]:
    whole = {joined(name): row for name, row in accelerators.by_name().items()}
    found = whole.get(joined(text)) or _bare_names().get(bare_name(text))
    return (found,) if found else ()


@cache
def _bare_names() -> dict[str, Hardware]:
    """Every chip under its names without maker; the first of the table wins where two come out alike."""
    names: dict[str, Hardware] = {}
    for name, row in accelerators.by_name().items():
        if bare := bare_name(re.sub(_MEMORY, " ", name)):
            names.setdefault(bare, row)
    return names
