"""What the client alone says of a row that the trainer takes: turns out of order, and keys that may have no effect.

ChatML-like templates take turns in any order, others (Gemma, Mistral) refuse. Whether a row can be trained on at all is
decided by the trainer's own reader, `templates/common/rows`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from templates.common.rows import Row

_REASONING = "is learnt only where the model's chat template writes it"
_NOT_READ = {
    "weight": "is neither 0 nor 1, and counts as 1",
    "reasoning": _REASONING,
    "reasoning_content": _REASONING,
    "thinking": _REASONING,
    "name": "is written by few chat templates",
}
_TOOLS = (
    "tool calls and tools are learnt in the form of the model's chat template; "
    "one that has no form for them gets the calls as text, and no list of tools"
)


class Doubt(NamedTuple):
    """A sentence about a row; `by_template`: only the chat template can say whether it is so."""

    message: str
    by_template: bool = False


def doubts(row: Row) -> Iterator[Doubt]:
    """What may be meant otherwise in a row that is taken."""
    yield from map(Doubt, warnings(row))
    for key in row.not_read:
        yield Doubt(f"`{key}` {_NOT_READ.get(key, 'is not read')}", _NOT_READ.get(key) == _REASONING)
    if row.calls_tools:
        yield Doubt(_TOOLS, True)


def warnings(row: Row) -> list[str]:
    """Sentences about the order of a conversation; [] for a row of plain text."""
    roles = [turn["role"] for turn in row.messages]
    if row.first_trained:  # `prompt` and `completion`, each a list of turns
        continued = roles[row.first_trained - 1] == "assistant"
        return ["`prompt` ends with the assistant, `completion` continues it"] if continued else []
    found = []
    if "system" in roles[1:]:
        found.append("a system turn is not the first; many templates refuse that")
    spoken = [role for role in roles if role != "system"]
    if spoken and spoken[0] != "user":
        found.append(f"the first turn is from {spoken[0]}, not from user; many templates refuse that")
    for before, after in pairwise(spoken):
        if before == after and after != "tool":
            return [*found, f"two turns from {after} follow each other; many templates refuse that"]
        if after == "tool" and before == "user":
            return [*found, "a tool answers where no assistant has asked"]
    return found
