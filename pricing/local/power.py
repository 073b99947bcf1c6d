"""What a machine of one's own draws, and what that costs: as it was said, else assumed, watts and price each by itself.

`power.csv` holds the most that a chip draws by its maker: `board` and `module` are the chip with its memory and nothing
else of the machine, `machine` is all of it, as Apple measures its computers.
"""

from __future__ import annotations

import csv
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from cloudtrain.offer import ASSUMED, Price

ASSUMED_USD_PER_KWH = Decimal("0.20")
WATTS_A_CORE = 10
# Of a chip without a figure in the table: Macs draw what a Mac mini does, cards what most of the table's do.
_MAC_WATTS, _CHIP_WATTS = 65, 300
_FILE = Path(__file__).with_name("power.csv")


class Draw(NamedTuple):
    """Watts that nobody said, and what they are made of."""

    watts: int
    made_of: str


def of_cores(count: int, unit: str = "core") -> Draw:
    """What a processor and its machine are assumed to draw by its cores, or vCPUs where only these are known."""
    return Draw(WATTS_A_CORE * count, f"{WATTS_A_CORE} W a {unit}")


def of_chips(hardware: str, count: int) -> Draw:
    """What so many chips are assumed to draw: the most by their maker; without a figure what is usual of such."""
    row = _table().get(hardware)
    if row is None:
        is_mac = hardware.startswith("apple")
        kind = "such a Mac" if is_mac else "such a chip"
        return Draw((_MAC_WATTS if is_mac else _CHIP_WATTS) * count, f"nobody says what {kind} draws")
    each = int(row["watts"])
    made_of = "the whole Mac at its most" if row["covers"] == "machine" else "TDP, without the machine around it"
    return Draw(each * count, made_of if count == 1 else f"{count} x {each}, {made_of}")


def electricity(
    watts: Decimal | None, usual: Draw, usd_per_kwh: Decimal | None, watts_word: str = "watts"
) -> tuple[Decimal, Price, str]:
    """US dollars per hour, where they come from, and a note where something of it is assumed ("" where nothing is).

    `watts_word` is where a person says the watts of this machine.
    """
    drawn, rate = usual.watts if watts is None else watts, ASSUMED_USD_PER_KWH if usd_per_kwh is None else usd_per_kwh
    power = f"{drawn} W" if watts is not None else f"{drawn} W (assumed: {usual.made_of})"
    source = f"{power} at {rate} dollars per kWh{' (assumed)' if usd_per_kwh is None else ''}"
    missing = [name for name, value in ((watts_word, watts), ("usd_per_kwh", usd_per_kwh)) if value is None]
    usd_per_hour = Decimal(drawn) / 1000 * rate
    if not missing or usd_per_hour == 0:
        return usd_per_hour, Price("settings", "", source, "SETTINGS"), ""
    note = f"electricity assumed, {drawn} W at {rate} dollars per kWh: set {' and '.join(missing)}"
    return usd_per_hour, Price("assumed", "", source, ASSUMED), note


@lru_cache(maxsize=1)
def _table() -> dict[str, dict[str, str]]:
    with open(_FILE, encoding="utf-8", newline="") as stream:
        return {row["hardware"]: row for row in csv.DictReader(stream)}
