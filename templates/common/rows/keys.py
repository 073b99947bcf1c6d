"""What the keys of a record say: which shape it has, or that it is something that cannot be trained on here."""

from __future__ import annotations

from typing import Any

from .faults import BadRow

# The keys that show a shape, in this order where a row has several; a file's later rows need those keys too.
SHAPES: dict[str, tuple[tuple[str, ...], ...]] = {
    "messages": (("messages",),),
    "sharegpt": (("conversations",),),
    "prompt": (("completion",),),
    "alpaca": (("instruction",), ("input", "output")),
    "text": (("text",),),
}
_OTHER_NAMES = {
    "message": "rename it to `messages`",
    "conversation": "rename it to `conversations`",
    "dialogue": "rename it to `messages`, a list of `role` and `content`",
    "dialog": "rename it to `messages`, a list of `role` and `content`",
    "contents": "rename it to `messages`, and in it `parts` to `content`",
    "question": "rename `question` and `answer` to `prompt` and `completion`",
    "query": "rename `query` and its answer to `prompt` and `completion`",
    "response": "rename it to `completion`, next to `prompt`",
    "role": "a row is a conversation, a turn is not: put its turns into a list `messages`",
    "segments": "rows with `segments` are not read; write `prompt` and `completion`",
    "content": "rename it to `text`",
}
_PICTURES = ("image", "images", "video", "videos", "audio", "audios")
_NOT_READ = ("history", "functions")


def shape_of(record: dict[str, Any]) -> str:
    """`messages`, `sharegpt`, `prompt`, `alpaca` or `text` by the keys of a row; "" when it has the keys of none.

    A key with null counts only where nothing else does.
    """
    for is_there in (lambda key: record.get(key) is not None, lambda key: key in record):
        for kind, ways in SHAPES.items():
            if any(all(map(is_there, keys)) for keys in ways):
                return kind
    return ""


def has_shape(record: dict[str, Any], kind: str) -> bool:
    """Whether the keys of that shape are there."""
    return any(all(key in record for key in keys) for keys in SHAPES[kind])


def unknown_shape(record: dict[str, Any]) -> BadRow:
    """Why `record` is none of the shapes."""
    if not record:
        return BadRow("is an empty object")
    for key, hint in _OTHER_NAMES.items():
        if key in record:
            return BadRow(f"has `{key}`: {hint}")
    keys = ", ".join(f"`{visible(key)}`" for key in list(record)[:4])
    known = "none of messages, conversations, prompt + completion, instruction + output, input + output, text"
    return BadRow(f"has {keys}, which is {known}", "has other keys")


def check_purpose(record: dict[str, Any]) -> None:
    """Raise BadRow for rows that are made for something else than learning answers: it would be learnt wrongly."""
    if record.get("chosen") is not None or record.get("rejected") is not None:
        raise BadRow("has `chosen` and `rejected`: rows of preferences (DPO) cannot be trained on here")
    for key in ("label", "kto_tag"):
        if _is_truth(record.get(key)) and shape_of(record) != "text":
            raise BadRow(f"has `{key}`, true or false (KTO): bad answers would be learnt like good ones; keep the good")
    for key in _PICTURES:
        if record.get(key):
            raise BadRow(f"has `{key}`: only text is trained on here")
    if "message_tree_id" in record or ("message_id" in record and "parent_id" in record) or "replies" in record:
        raise BadRow(_TREE)
    if isinstance(record.get("prompt"), dict):
        raise BadRow(_TREE if "replies" in record["prompt"] else "`prompt` is an object, not text")


_TREE = "is part of a tree of messages (OpenAssistant, OASST): write each way through it as a row with `messages`"


def _is_truth(value: Any) -> bool:
    return isinstance(value, bool) or (isinstance(value, str) and value.strip().lower() in ("true", "false"))


def not_read(record: dict[str, Any], kind: str) -> set[str]:
    """Known keys beside those of the shape that hold something and are not read."""
    beside = {"prompt": ("system",), "text": ("system", "prompt")}
    keys = (*_NOT_READ, *beside.get(kind, ()))
    found = {key for key in keys if record.get(key)}
    return found | {"label"} if kind == "prompt" and record.get("label") in (0, 1) else found


def visible(text: str) -> str:
    """The beginning of `text` as it can stand in a one-line message: control characters and the like as escapes."""
    text = text[:40]
    return text if text.isprintable() else ascii(text)[1:-1]
