"""`python -m tests.campaign CLOUD SEED TRIALS [--kill] [--plain] [--slow SECONDS]`; the last line is the result."""

from __future__ import annotations

import argparse
import sys
import traceback

from tests.campaign import in_process, kills
from tests.campaign.clouds import TARGETS
from tests.campaign.in_process import Outcome


def main(argv: list[str]) -> int:
    """0 when nothing leaked and every exit code told the truth, else 1."""
    parser = argparse.ArgumentParser(prog="campaign")
    parser.add_argument("cloud", choices=sorted(TARGETS))
    parser.add_argument("seed", type=int)
    parser.add_argument("trials", type=int)
    parser.add_argument("--kill", action="store_true", help="SIGKILL real processes, on the real engine")
    parser.add_argument("--plain", action="store_true", help="cancel and destroy instead of the crash protocol")
    parser.add_argument("--slow", type=float, default=kills.CALL_TAKES_S, help="seconds from sent to exists")
    given = parser.parse_args(argv)
    where = "SIGKILLs on the real engine" if given.kill else "in process, virtual clock"
    how = "plain cancel and destroy" if given.plain else "crash protocol"
    print(
        f"campaign on {given.cloud}: seeds {given.seed} .. {given.seed + given.trials - 1}, {where}, {how}", flush=True
    )
    leaking = lying = 0
    for seed in range(given.seed, given.seed + given.trials):
        outcome = one(given, seed)
        leaking += bool(outcome.leaks)
        lying += bool(outcome.lies)
        if outcome.leaks or outcome.lies:
            print(f"trial {seed}: leaks {outcome.leaks}; wrong: {outcome.lies}")
            print("  " + "\n  ".join(outcome.story), flush=True)
    print(f"{given.trials} trials, {leaking} leaks, {lying} wrong exit codes")
    return 1 if leaking or lying else 0


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
