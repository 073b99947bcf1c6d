"""Why a run ends early: each reason with its name in the event stream and the exit code the supervisor translates."""

from __future__ import annotations

import errno


class Failure(Exception):
    """An end that one message explains. The message is the exception's text."""

    code = "unexpected"
    exit_code = 1


class BadJob(Failure):
    """The job file, or the model it names, cannot be used."""

    code = "bad_job"
    exit_code = 64


class BadData(Failure):
    """The training data cannot be used; the message names the line, or the row where lines mean nothing.

    Problems with the same `kind` are told together; it is the problem itself where nothing else is said.
    """

    code = "bad_data"
    exit_code = 65

    def __init__(self, problem: str, line: int = 0, kind: str = "", unit: str = "line") -> None:
        super().__init__(f"{unit} {line}: {problem}" if line else problem)
        self.problem, self.line, self.unit = problem, line, unit
        self.kind = kind or problem


class NoAccelerator(Failure):
    """The accelerator that was paid for is not there."""

    code = "no_accelerator"
    exit_code = 70


class Preempted(Failure):
    """Asked to stop; what was reached is in the newest checkpoint."""

    code = "preempted"
    exit_code = 75


class Diverged(Failure):
    """The loss is no longer a number: further steps would only cost money."""

    code = "diverged"


class SaveFailed(Failure):
    """A checkpoint could not be written; the one before it is untouched."""

    code = "save_failed"


class OutOfMemory(Failure):
    """The memory that the step needs is not there."""

    code = "out_of_memory"
    exit_code = 137


# What the allocators of PyTorch and XLA say; they raise RuntimeError, not MemoryError.
_OUT_OF_MEMORY = (
    "can't allocate memory",
    "out of memory",
    "not enough memory",
    "defaultcpuallocator",
    "resource_exhausted",
)
# safetensors, tokenizers and torch.save each wrap a full disk in an error of their own.
_DISK_FULL = ("No space left", "File too large", "failed writing", "unexpected pos")


def as_failure(error: BaseException) -> Failure:
    """The Failure for an exception: memory and disk are recognised, the rest is unexpected."""
    if isinstance(error, Failure):
        return error
    text = str(error)
    if isinstance(error, MemoryError) or any(phrase in text.lower() for phrase in _OUT_OF_MEMORY):
        advice = "use a shorter sequence_length, a smaller micro_batch or method qlora"
        return OutOfMemory(f"out of memory ({_first_line(text) or 'the system refused more'}): {advice}")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return SaveFailed(f"the disk is full: {_first_line(text)}")
    return Failure(f"{type(error).__name__}: {_first_line(text)}")


def of_a_save(error: Exception) -> SaveFailed | None:
    """The SaveFailed for an exception of a library that says that a checkpoint's disk is full; None for any other."""
    if not any(phrase in str(error) for phrase in _DISK_FULL):
        return None
    return SaveFailed(f"a checkpoint could not be saved, the one before it is intact: {_first_line(str(error))}")


def _first_line(text: str) -> str:
    return text.strip().split("\n", 1)[0][:300]


def one_line(error: BaseException) -> str:
    """What a library said, as the end of a message of ours."""
    return " ".join(str(error).split())[:300]
