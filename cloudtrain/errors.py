"""Everything that can go wrong on purpose: one sentence, one hint, one exit code.

The exit codes are a contract that CI files rely on. Code raises these; only the boundary in `cloudtrain.cli` prints
them. Anything else that escapes is a defect (exit 1).
"""

from __future__ import annotations

NOTHING_LEFT = "nothing of it is left"  # note on what `start` of a stack raises, once that is proven


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
            "move it away to go on; the run's outputs are not touched",
        )
        self.document = document
        self.field = field


class NothingViable(CloudtrainError):
    """No offer fits, loads, is allowed, priced and in time."""

    exit_code = 3


class OverBudget(CloudtrainError):
    """The cheapest way to finish costs more than the cap."""

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


class ProviderError(CloudtrainError):
    """What a provider answered, in a closed set. Each provider file maps its own codes to the subclasses."""


class MissingCredentials(ProviderError):
    exit_code = 4


class Permission(ProviderError):
    exit_code = 4


class Quota(ProviderError):
    exit_code = 4


class Balance(ProviderError):
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


def nearest(word: str, choices: list[str]) -> str:
    """The closest of `choices` to `word`, or "" when none is close."""
    from difflib import get_close_matches

    found = get_close_matches(word.lower(), choices, n=1, cutoff=0.5)
    return found[0] if found else ""


def visible(text: str, limit: int = 80) -> str:
    """The beginning of `text` as it can stand in a one-line message: control characters and the like as escapes."""
    text = text[:limit]
    return text if text.isprintable() else ascii(text)[1:-1]
