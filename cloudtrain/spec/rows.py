"""What the client alone says of a row that the trainer takes: turns out of order, which some chat templates refuse.

ChatML-like templates take them, others (Gemma, Mistral) refuse. Whether a row can be trained on at all is decided by
the trainer's own reader, `templates/common/rows.py`.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from templates.common.rows import Row


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
