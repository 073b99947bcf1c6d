"""`python -m tests.campaign CLOUD SEED TRIALS [kill] [plain]`: a campaign; the last line is its result."""

from __future__ import annotations

import sys
import traceback

from tests.campaign import in_process
from tests.campaign.clouds import TARGETS


def main(argv: list[str]) -> int:
    """0 when nothing leaked and every exit code told the truth, else 1."""
    cloud, seed, trials = argv[0], int(argv[1]), int(argv[2])
    kill, protocol = "kill" in argv, "plain" not in argv
    target = TARGETS[cloud]
    print(f"campaign on {cloud}: seed {seed}, {trials} trials, {'kills on the real engine' if kill else 'in process'}")
    leaking = lying = 0
    for number in range(trials):
        try:
            if kill:
                from tests.campaign import kills

                outcome = kills.trial(target, seed + number, protocol)
            else:
                outcome = in_process.trial(target, seed + number, protocol)
        except Exception:
            print(f"trial {seed + number}: broke")
            traceback.print_exc()
            return 1
        leaking += bool(outcome.leaks)
        lying += bool(outcome.lies)
        if outcome.leaks or outcome.lies:
            print(f"trial {seed + number}: leaks {outcome.leaks}; wrong: {outcome.lies}")
            print("  " + "\n  ".join(outcome.story))
    print(f"{trials} trials, {leaking} leaks, {lying} wrong exit codes")
    return 1 if leaking or lying else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
