"""Runs on machines that are taken away, against runs that are followed to their end with a random generator."""

from __future__ import annotations

import random
from statistics import fmean

import pytest

from cloudtrain.quote.sampling import points
from cloudtrain.quote.sampling.draws import LIVES
from cloudtrain.quote.sampling.interruptions import MOST_LIVES, Fate, Lives, lived

HOUR = 3600.0


def followed(fate: Fate, chance: random.Random) -> float:
    """Seconds that machines run until the work is done, however many they are."""
    work, save, interval, ready, restart, between = fate
    done = ran = 0.0
    while True:
        life = chance.expovariate(1 / between)
        left = work - done
        needed = ready + left + (save * int(left / interval) if work >= interval else 0.0)
        if life >= needed:
            return ran + needed
        ran += life
        if work >= interval and life > ready + interval:
            done += interval * int((life - ready) / (interval + save))
        ready = restart


@pytest.mark.parametrize(
    "fate",
    [
        (1.8 * 11 * HOUR, 0.55 * HOUR, 11 * HOUR, 0.6 * HOUR, 0.6 * HOUR, 2.4 * HOUR),
        (20 * HOUR, 0.1 * HOUR, 2 * HOUR, 0.5 * HOUR, 0.5 * HOUR, 0.6 * HOUR),
        (6 * HOUR, 0.1 * HOUR, 7 * HOUR, 0.2 * HOUR, 0.1 * HOUR, 0.9 * HOUR),
    ],
    ids=["saves seldom", "hardly from save to save", "never saves"],
)
def test_long_odds_take_as_long_as_runs_followed(fate: Fate) -> None:
    lives, chance = Lives.of(points.FINE, LIVES), random.Random(11)
    sampled = sorted(lived(fate, lives, point)[0] for point in range(points.FINE.count))
    truly = sorted(followed(fate, chance) for _ in range(800))
    assert truly[-1] > MOST_LIVES * fate[-1]  # some of them have more lives than are followed
    for share in (0.1, 0.5, 0.9):
        assert sampled[int(share * len(sampled))] == pytest.approx(truly[int(share * len(truly))], rel=0.2)
    assert fmean(sampled) == pytest.approx(fmean(truly), rel=0.1)
