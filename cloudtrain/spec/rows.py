"""One row of training data: which of the five shapes it has, its turns, and what is wrong with it.

TRL takes unknown roles, empty texts and null contents without a word and trains on rubbish; every such row is a fault
here. Turns out of order are a doubt only: ChatML-like templates take them, others (Gemma, Mistral) refuse.
"""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any, NamedTuple

from cloudtrain.errors import nearest, visible

ROLES = ("system", "user", "assistant", "tool")
SHAREGPT_ROLES = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "function_call": "assistant",
    "tool": "tool",
    "function": "tool",
    "function_response": "tool",
    "observation": "tool",
}
# In this order: a row that carries the keys of two shapes is read as the trainer reads it.
_SHAPES = (
    ("messages", ("messages",)),
    ("sharegpt", ("conversations",)),
    ("prompt", ("prompt", "completion")),
    ("alpaca", ("instruction", "output")),
    ("text", ("text",)),
)
_OTHER_NAMES = {
    "message": "rename it to `messages`",
    "conversation": "rename it to `conversations`, or to `messages` when its turns have `role` and `content`",
    "question": "rename `question` and `answer` to `prompt` and `completion`",
    "response": "rename it to `completion`, beside `prompt`",
    "content": "rename it to `text`",
    "chosen": "rows of preferences cannot be trained on here",
}


class Row(NamedTuple):
    """What the model would read, as (role, content); faults stop a run, doubts do not."""

    turns: list[tuple[str, str]]
    faults: list[str]
    doubts: list[str]


def kind_of(item: dict[str, Any]) -> str:
    """`messages`, `sharegpt`, `prompt`, `alpaca` or `text` by the keys of a row; "" when it has the keys of none."""
    for kind, keys in _SHAPES:
        if all(key in item for key in keys):
            return kind
    return ""


def unknown_shape(item: dict[str, Any]) -> str:
    """Why `item` is none of the shapes, as a sentence."""
    if not item:
        return "is an empty object"
    for key, hint in _OTHER_NAMES.items():
        if key in item:
            return f"has `{key}`: {hint}"
    keys = ", ".join(f"`{visible(key, 40)}`" for key in list(item)[:4])
    return f"has {keys}, which is none of messages, conversations, prompt + completion, instruction + output, text"


def read_row(item: dict[str, Any], kind: str, train_on: str) -> Row:
    """Judge a row of the shape `kind`; never raises for what is in it."""
    row = Row([], [], [])
    try:
        _READERS[kind](item, row, train_on)
    except RecursionError:
        row.faults.append("is nested too deeply")
    if not row.faults and not all(_encodes(content) for _, content in row.turns):
        row.faults.append("holds half of a surrogate pair, which is not text")
    return row


def _messages(item: dict[str, Any], row: Row, train_on: str) -> None:
    _turns(item["messages"], "messages", row)
    _judge_order(row, train_on)


def _sharegpt(item: dict[str, Any], row: Row, train_on: str) -> None:
    conversation = item["conversations"]
    if not isinstance(conversation, list) or not conversation:
        row.faults.append("`conversations` is not a list of turns")
        return
    for number, turn in enumerate(conversation, start=1):
        if not isinstance(turn, dict) or "from" not in turn or "value" not in turn:
            row.faults.append(f"turn {number} has no `from` and `value`")
            continue
        role = SHAREGPT_ROLES.get(turn["from"]) if isinstance(turn["from"], str) else None
        if role is None:
            row.faults.append(f"turn {number} is from {_role_fault(turn['from'], list(SHAREGPT_ROLES))}")
            continue
        _text(turn["value"], f"the value of turn {number}", role, row)
    _judge_order(row, train_on)


def _prompt(item: dict[str, Any], row: Row, _train_on: str) -> None:
    prompt, completion = item["prompt"], item["completion"]
    if isinstance(prompt, list) and isinstance(completion, list):
        _turns(prompt, "prompt", row)
        asked = len(row.turns)
        _turns(completion, "completion", row)
        if not row.faults and row.turns[-1][0] != "assistant":
            row.faults.append("the last turn of `completion` is not the assistant's")
        if not row.faults and row.turns[asked - 1][0] == "assistant":
            row.doubts.append("`prompt` ends with the assistant, `completion` goes on after it")
        return
    if isinstance(prompt, list) or isinstance(completion, list):
        row.faults.append("one of `prompt` and `completion` is a list and the other is not")
        return
    _text(prompt, "`prompt`", "user", row)
    _text(completion, "`completion`", "assistant", row)


def _alpaca(item: dict[str, Any], row: Row, _train_on: str) -> None:
    _text(item["instruction"], "`instruction`", "user", row)
    context = item.get("input", "")
    if not isinstance(context, str):
        row.faults.append(f"`input` is {_kind_name(context)}, not text")
    elif context:
        row.turns.append(("user", context))
    _text(item["output"], "`output`", "assistant", row)


def _plain(item: dict[str, Any], row: Row, _train_on: str) -> None:
    _text(item["text"], "`text`", "text", row)


_READERS = {"messages": _messages, "sharegpt": _sharegpt, "prompt": _prompt, "alpaca": _alpaca, "text": _plain}


def _turns(messages: Any, key: str, row: Row) -> None:
    """Messages of OpenAI's shape: role and content, or tool calls in place of the assistant's content."""
    if not isinstance(messages, list) or not messages:
        row.faults.append(f"`{key}` is not a list of messages" if messages != [] else f"`{key}` is empty")
        return
    for number, message in enumerate(messages, start=1):
        if not isinstance(message, dict) or "role" not in message:
            row.faults.append(f"message {number} of `{key}` has no `role`")
            continue
        role = message["role"]
        if role not in ROLES:
            row.faults.append(f"message {number} of `{key}` has the role {_role_fault(role, list(ROLES))}")
            continue
        calls = message.get("tool_calls")
        if role == "assistant" and isinstance(calls, list) and calls and not message.get("content"):
            row.turns.append((role, json.dumps(calls, sort_keys=True)))
            continue
        if "content" not in message:
            row.faults.append(f"message {number} of `{key}` has no `content`")
            continue
        _text(message["content"], f"the content of message {number}", role, row)


def _text(value: Any, name: str, role: str, row: Row) -> None:
    if not isinstance(value, str):
        row.faults.append(f"{name} is {_kind_name(value)}, not text")
    elif not value.strip():
        row.faults.append(f"{name} is empty")
    else:
        row.turns.append((role, value))


def _judge_order(row: Row, train_on: str) -> None:
    """Who speaks when. Only the last turn can be a fault: without an answer there is nothing to learn from."""
    if row.faults:
        return
    roles = [role for role, _ in row.turns]
    if train_on == "assistant" and roles[-1] != "assistant":
        row.faults.append(f"the last turn is from {roles[-1]}, not from assistant (`train_on: all` would allow it)")
        return
    if "system" in roles[1:]:
        row.doubts.append("a system turn is not the first; many templates refuse that")
    spoken = [role for role in roles if role != "system"]
    if spoken and spoken[0] != "user":
        row.doubts.append(f"the first turn is from {spoken[0]}, not from user; many templates refuse that")
    for before, after in pairwise(spoken):
        if before == after and after != "tool":
            row.doubts.append(f"two turns from {after} follow each other; many templates refuse that")
            return
        if after == "tool" and before == "user":
            row.doubts.append("a tool answers where no assistant has asked")
            return


def _role_fault(role: Any, known: list[str]) -> str:
    if not isinstance(role, str):
        return f"{_kind_name(role)}, not one of {', '.join(ROLES)}"
    close = "system" if role == "developer" else nearest(role, known)
    ask = f"did you mean `{close}`?" if close else f"known are {', '.join(known)}"
    return f"`{visible(role, 40)}`; {ask}"


def _kind_name(value: Any) -> str:
    if value is None:
        return "null"
    return {bool: "a truth value", int: "a number", float: "a number", list: "a list", dict: "an object"}.get(
        type(value), "text"
    )


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
