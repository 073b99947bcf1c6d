"""`python -m tests.campaign CLOUD SEED TRIALS [--kill | --jobs | --lying] [--plain] [--slow SECONDS]`; the last line is the result."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections import Counter
from collections.abc import Callable

from tests.campaign import in_process, kills
from tests.campaign.clouds import TARGETS, WHOLE_RUNS
from tests.campaign.in_process import Outcome


def main(argv: list[str]) -> int:
    """0 when nothing leaked and every exit code told the truth, else 1."""
    parser = argparse.ArgumentParser(prog="campaign")
    parser.add_argument("cloud", choices=sorted(WHOLE_RUNS))
    parser.add_argument("seed", type=int)
    parser.add_argument("trials", type=int)
    parser.add_argument("--kill", action="store_true", help="SIGKILL real processes, on the real engine")
    parser.add_argument("--plain", action="store_true", help="cancel and destroy instead of the crash protocol")
    parser.add_argument("--slow", type=float, default=kills.CALL_TAKES_S, help="seconds from sent to exists")
    parser.add_argument("--jobs", action="store_true", help="whole runs: machines that run, a bucket, people")
    parser.add_argument("--lying", action="store_true", help="whole runs on machines that write whatever they can")
    given = parser.parse_args(argv)
    if given.cloud not in TARGETS and not (given.jobs or given.lying):
        parser.error(f"{given.cloud} is there for whole runs alone: --jobs or --lying")
    where = "SIGKILLs on the real engine" if given.kill else "in process, virtual clock"
    how = "plain cancel and destroy" if given.plain else "crash protocol"
    what = "machines that lie" if given.lying else "whole runs" if given.jobs else f"{where}, {how}"
    print(f"campaign on {given.cloud}: seeds {given.seed} .. {given.seed + given.trials - 1}, {what}", flush=True)
    if given.jobs or given.lying:
        return whole_runs(given)
    return summed(given, lambda seed: one(given, seed))


def summed(given: argparse.Namespace, trial: Callable[[int], Outcome]) -> int:
    """Every trial, and the count of what was wrong."""
    leaking = lying = lost = 0
    facts: Counter[str] = Counter()
    for seed in range(given.seed, given.seed + given.trials):
        outcome = trial(seed)
        facts.update(set(outcome.facts))
        log = [words for words in outcome.lies if words.startswith("log: ")]
        leaking, lost = leaking + bool(outcome.leaks), lost + bool(log)
        lying += len(log) < len(outcome.lies)
        if outcome.leaks or outcome.lies:
            print(f"trial {seed}: leaks {outcome.leaks}; wrong: {outcome.lies}")
            print("  " + "\n  ".join(outcome.story), flush=True)
    if facts:
        print("trials with: " + ", ".join(f"{name} {count}" for name, count in sorted(facts.items())))
    logs = f"{lost} lost log bytes, " if given.jobs else ""
    print(f"{given.trials} trials, {leaking} leaks, {logs}{lying} wrong exit codes")
    return 1 if leaking or lying or lost else 0


def whole_runs(given: argparse.Namespace) -> int:
    """All trials in one world, emptied for each."""
    from tests.campaign import jobs, lying
    from tests.campaign.job_world import JobWorld

    world = JobWorld(given.cloud)
    try:
        return summed(given, lambda seed: (lying if given.lying else jobs).trial(world, seed))
    finally:
        world.close()


def one(given: argparse.Namespace, seed: int) -> Outcome:
    """One trial; one that breaks counts as a lie."""
    target = TARGETS[given.cloud]
    try:
        if given.kill:
            return kills.trial(target, seed, not given.plain, given.slow)
        return in_process.trial(target, seed, not given.plain)
    except Exception:
        return Outcome([], [f"the trial broke: {traceback.format_exc()}"], [])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
