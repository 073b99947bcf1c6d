"""How fast the disk of a machine is, by the speed columns of `disks.csv`, and which speed is worth asking for.

MB are 10**6 bytes; a provider that counts in MiB gives 5 % more than it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from cloudtrain.offer import Range

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MB = 10**6


class Pace(NamedTuple):
    """How fast the disks of some offers are: MB/s of the smallest one, what a larger one has more, and the limits.

    `read` and `write` are the shares of it that one program gets: low, likely, high. None where there is no limit;
    `asked_most` is the highest that can be asked for.
    """

    mb_s: float = 500.0
    mb_s_per_gb: float = 0.0
    mb_s_per_vcpu: float | None = None
    mb_s_most: float | None = None
    mb_s_asked_most: int | None = None
    read: Range = Range(0.4, 1.0, 4.0)
    write: Range = Range(0.4, 1.0, 4.0)
    source: str = "a network disk .. a local NVMe"

    def speed(self, gb: int, vcpus: int | None, asked_mb_s: int | None = None) -> Speed:
        """Of a disk of that size on such a machine."""
        mb_s = self.mb_s + self.mb_s_per_gb * gb if asked_mb_s is None else float(asked_mb_s)
        if self.mb_s_most is not None:
            mb_s = min(mb_s, self.mb_s_most)
        if self.mb_s_per_vcpu is not None and vcpus:
            mb_s = min(mb_s, self.mb_s_per_vcpu * vcpus)
        return Speed(self.read.scaled(mb_s * MB), self.write.scaled(mb_s * MB), asked_mb_s, self.source)

    def choices(self, vcpus: int | None) -> range:
        """The speeds that can be asked for, in MB/s, the first of them free; empty where there is no choice."""
        if self.mb_s_asked_most is None:
            return range(0)
        most = self.mb_s_asked_most
        if self.mb_s_per_vcpu is not None and vcpus:
            most = min(most, int(self.mb_s_per_vcpu * vcpus))
        least = int(self.mb_s)
        return range(least, max(most, least) + 1, least)


class Speed(NamedTuple):
    """Bytes per second that a machine's disk reads and writes; `asked_mb_s` None where no speed is asked for."""

    read: Range
    write: Range
    asked_mb_s: int | None
    source: str


ANY_PACE = Pace()
ANY_SPEED = ANY_PACE.speed(0, None)


def cheapest(
    choices: Sequence[int], seconds: Callable[[int], float], usd_per_hour: float, usd_per_mb_s_hour: float
) -> int:
    """The speed in MB/s with which a job costs least: a faster disk costs more in each hour and takes fewer of them.

    `seconds` tells how long the machine runs with a speed; `usd_per_hour` is all else that it costs. The first of the
    choices is free, and taken where another one is not cheaper.
    """
    free = choices[0]
    return min(choices, key=lambda mb_s: seconds(mb_s) * (usd_per_hour + usd_per_mb_s_hour * (mb_s - free)))


def read(row: dict[str, str]) -> Pace:
    """The speed columns of a row. Raises ValueError."""
    reading, writing = (Range(*map(float, row[name].split())) for name in ("read_shares", "write_shares"))
    if not all(0 < each.low <= each.likely <= each.high for each in (reading, writing)):
        raise ValueError("shares of the disk's speed are three numbers that do not fall")
    if not float(row["mb_s"]) > 0:
        raise ValueError("a disk without speed")
    per_vcpu, most = (float(row[name]) if row[name] else None for name in ("mb_s_per_vcpu", "mb_s_most"))
    return Pace(
        float(row["mb_s"]),
        float(row["mb_s_per_gb"] or 0),
        per_vcpu,
        most,
        int(row["mb_s_asked_most"]) if row["mb_s_asked_most"] else None,
        reading,
        writing,
        f"{row['speed_source']} (observed {row['speed_observed']}, {row['speed_confidence']})",
    )
