"""What one tick of a schedule did, as a word, an exit code and a message."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, get_args

Outcome = Literal[
    "not due",
    "started",
    "going on",
    "unchanged",
    "finished",
    "failed",
    "skipped: budget",
    "missed",
    "leak",
]
OUTCOMES: Final[tuple[Outcome, ...]] = get_args(Outcome)
EXIT_CODES: Final[dict[Outcome, int]] = {"failed": 100, "leak": 6, "missed": 7}  # every other one ends with 0


class Tick(NamedTuple):
    """What a tick did. `date` is the night's local date, "" where none is meant; so is `run`."""

    outcome: Outcome
    schedule: str
    date: str = ""
    run: str = ""
    message: str = ""

    @property
    def exit_code(self) -> int:
        """0 unless somebody has to act."""
        return EXIT_CODES.get(self.outcome, 0)
