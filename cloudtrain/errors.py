"""Every defined error: one message, one hint, one exit code.

The exit codes are a contract that CI files rely on. Code raises these; only the boundary in `cloudtrain.cli` prints
them. Anything else that escapes is a defect (exit 1).
"""

from __future__ import annotations

from collections.abc import Sequence

# Code -> in two words, and in full. Everything that a command can end with.
EXIT_CODES = {
    0: ("done", "nothing is left running that was not asked for"),
    1: ("unexpected", "a defect; the traceback is in a file that is named"),
    2: ("bad input", "a bad argument, file or setting, or a request that a provider rejects"),
    3: ("nothing viable", "no offer fits, loads, is allowed, priced and in time"),
    4: ("credentials, permission or quota", "this account has access to less than is needed"),
    5: (
        "over budget",
        "to finish costs more than the cap, or than what is left of the budget: by the quote, or by a run's own rate",
    ),
    6: ("teardown incomplete", "money may be running; what is left, its price and the command to repeat are printed"),
    7: ("no capacity", "no machine available before the deadline, or a provider that does not answer: try again later"),
    100: ("job failed", "the training ended with an error of its own; the message says which"),
    101: ("not finished", "the run continues, can be resumed, or has another client"),
    102: ("not found", "no such run, or no such thing at a provider"),
    103: ("cancelled", "the run was stopped on request"),
    130: ("Ctrl-C", "what still runs, and how to end it, is printed"),
}


class CloudtrainError(Exception):
    """An error that a person can act on: `message` says what is wrong, `hint` what to do next."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(CloudtrainError):
    """A word on the command line, a file or a setting is wrong; nothing was created."""

    exit_code = 2


class DamagedRecord(UsageError):
    """A document of the state has not the shape of its kind. `field` is where, dotted; "" for the whole of it."""

    def __init__(self, document: str, field: str, why: str) -> None:
        super().__init__(
            f"state document {document} is damaged: {why}",
            "move it away to continue; the run's outputs are not touched",
        )
        self.document = document
        self.field = field


class NothingViable(CloudtrainError):
    """No offer fits, loads, is allowed, priced and in time."""

    exit_code = 3


class OverBudget(CloudtrainError):
    """To finish costs more than the cap, or than what is left of the budget: by the quote, or by a run's own rate."""

    exit_code = 5


class TeardownIncomplete(CloudtrainError):
    """Something may still be running; the message lists what, and the hint is the command to repeat."""

    exit_code = 6


class JobFailed(CloudtrainError):
    """The training job ended with an error of its own."""

    exit_code = 100


class NotFinished(CloudtrainError):
    """The run is still going, or stopped at a point from which it can be resumed."""

    exit_code = 101


class RunNotFound(CloudtrainError):
    """No run of that name is in the state folder."""

    exit_code = 102


class Cancelled(CloudtrainError):
    """The run was stopped on request."""

    exit_code = 103


class Interrupted(CloudtrainError):
    """Ctrl-C; the message says what still runs, the hint how to end it or to continue."""

    exit_code = 130


class ProviderError(CloudtrainError):
    """The defined provider errors. Each provider file maps its cloud's codes to the subclasses."""


class MissingCredentials(ProviderError):
    """There are no credentials, or the provider does not know them."""

    exit_code = 4


class Permission(ProviderError):
    """The credentials may not do this."""

    exit_code = 4


class Quota(ProviderError):
    """The account may not have so much of it."""

    exit_code = 4


class NoQuotaHere(Quota):
    """The same, known of one place before anything was asked for there: another place may have it."""


class Balance(ProviderError):
    """The account has not enough money, or is closed."""

    exit_code = 4


class NoCapacity(ProviderError):
    """Not to be had here now: the next place is tried before this reaches anybody."""

    exit_code = 7


class Rejected(ProviderError):
    """Our request was wrong."""

    exit_code = 2


class NotFound(ProviderError):
    """It is not there: success for `down`."""

    exit_code = 102


class Unavailable(ProviderError):
    """The provider could not answer: try again."""

    exit_code = 7


class Unknown(ProviderError):
    """Sent, and no answer came: look before repeating. Money may be running until it is proven gone."""

    exit_code = 6


def mark_nothing_left(error: BaseException) -> None:
    """Mark what `start` of a stack raises, Ctrl-C too: it is proven that nothing of the attempt is left."""
    error.nothing_left = True  # type: ignore[attr-defined]  # on any exception, not only on ours


def is_nothing_left(error: BaseException) -> bool:
    """Whether the error carries that proof; without it, something may be left."""
    return getattr(error, "nothing_left", False) is True


def nearest(word: str, choices: Sequence[str], closeness: float = 0.5) -> str:
    """The closest of `choices` to `word`, or "" when none is as close as `closeness` (1: the same)."""
    from difflib import get_close_matches

    found = get_close_matches(word.lower(), choices, n=1, cutoff=closeness)
    return found[0] if found else ""


def visible(text: str, limit: int = 80) -> str:
    """The beginning of `text` as it can stand in a one-line message: control characters and the like as escapes."""
    text = text[:limit]
    return text if text.isprintable() else ascii(text)[1:-1]
