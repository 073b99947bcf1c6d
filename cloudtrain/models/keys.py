"""The keys of one config.json, read one by one: with the defaults of its class, and a sentence for what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cloudtrain.errors import UsageError

MAX_SIZE = 10**9  # no size in a config is larger; keeps the arithmetic and its printing sane
MAX_LAYERS = 10_000
HINT = "take the config.json that belongs to the model's weights"


class Keys:
    """A document and what its class sets for keys that it leaves out. Every refusal names the file and the key.

    A key that is there as `null` is not left out: it means "none", and then the caller's own default holds.
    """

    def __init__(
        self,
        path: Path,
        document: dict[str, Any],
        defaults: dict[str, Any] | None = None,
        synonyms: dict[str, str] | None = None,
    ) -> None:
        self.path = path
        self.document = document
        self.defaults = defaults or {}
        self.other_names: dict[str, list[str]] = {}
        for other, name in (synonyms or {}).items():
            self.other_names.setdefault(name, []).append(other)

    def refuse(self, key: str, what: str) -> UsageError:
        """An error about one key."""
        return UsageError(f"`{self.path}`: `{key}` {what}", HINT)

    def get(self, *names: str) -> tuple[str, Any]:
        """(name, value) of the first of `names` with one: in the file, under another name there, else by the class."""
        for name in names:
            spellings = (name, *self.other_names.get(name, ()))
            for spelling in spellings:
                if self.document.get(spelling) is not None:
                    return spelling, self.document[spelling]
            if not any(spelling in self.document for spelling in spellings) and self.defaults.get(name) is not None:
                return name, self.defaults[name]
        return names[0], None

    def size(self, *names: str, default: int | None = None, smallest: int = 1) -> int:
        """A whole number from `smallest` up. Raises UsageError when there is none and no `default`."""
        name, value = self.get(*names)
        if value is None:
            if default is None:
                raise self.refuse(names[0], "is missing")
            return default
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.refuse(name, f"must be a whole number, not {short(value)}")
        if not smallest <= value <= MAX_SIZE:
            raise self.refuse(name, f"is {short(value)}, out of range ({smallest} to {MAX_SIZE})")
        return value

    def flag(self, *names: str, default: bool = False) -> bool:
        """A true or false."""
        name, value = self.get(*names)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.refuse(name, f"must be true or false, not {short(value)}")
        return value

    def words(self, *names: str, length: int | None = None) -> list[str] | None:
        """A list of words, one for each of `length` layers; None when there is none."""
        name, value = self.get(*names)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
            raise self.refuse(name, f"must be a list of words, not {short(value)}")
        if length is not None and len(value) != length:
            raise self.refuse(name, f"has {len(value)} entries for {length} layers")
        return value

    def numbers(self, *names: str) -> list[int]:
        """A list of whole numbers; empty when there is none."""
        name, value = self.get(*names)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(one, int) and not isinstance(one, bool) for one in value):
            raise self.refuse(name, f"must be a list of whole numbers, not {short(value)}")
        return value

    def layers(self, *names: str) -> int:
        """How many layers the model has, by the first of `names` or the usual ones."""
        count = self.size(*(names or ("num_hidden_layers", "num_layers")))
        if count > MAX_LAYERS:
            raise self.refuse("num_hidden_layers", f"is {count}, more than {MAX_LAYERS}")
        return count


def short(value: object) -> str:
    """A value as it can stand in a sentence."""
    text = repr(value) if not isinstance(value, int) or abs(value) < 10**15 else "a number of over fifteen digits"
    return text if len(text) <= 40 else text[:37] + "..."
