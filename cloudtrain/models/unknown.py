"""What is said to a name that is no model here: the nearest name of like size, or the one command that helps."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from difflib import get_close_matches

from cloudtrain.errors import UsageError, visible

LIST = "`cloudtrain models` lists the known ones"
FOLDER = "a folder with a config.json works too: write it as ./folder"
HOSTS = ("huggingface.co", "www.huggingface.co", "hf.co")
ALIKE, NEARLY_THE_SAME = 0.6, 0.9
_HUB_ID = r"[A-Za-z0-9][\w.-]*/[\w.-]+"
# Endings of repositories that hold another's weights packed, and what they are called.
PACKED = ("gguf", "gptq", "awq", "mlx", "bnb-4bit", "4bit", "8bit", "int4", "int8", "exl2", "fp8", "nvfp4", "w4a16")


def refusal(wanted: str, names: Iterable[str]) -> UsageError:
    """The error for a name that is none of `names`, that has no folder and no cached config.json."""
    choices = list(names)
    shown = visible(wanted) + ("..." if len(wanted) > 80 else "")
    message = f"unknown model `{shown}`"
    return UsageError(message, next(hint for hint in (rule(wanted, choices) for rule in RULES) if hint))


def _address(wanted: str, names: list[str]) -> str:
    scheme, separator, rest = wanted.partition("://")
    parts = (rest if separator else wanted).split("/")
    if (separator and scheme != "hf") or parts[0] in HOSTS:
        parts = parts[1:]
    elif not separator:
        return ""
    name = "/".join(parts[:2])
    return f"an address is no name: write `{name}`" if re.fullmatch(_HUB_ID, name) else ""


def _revision(wanted: str, names: list[str]) -> str:
    found = re.fullmatch(rf"({_HUB_ID})[@:](\S+)", wanted)
    if not found:
        return ""
    return f"write `{found[1]}`, and the revision as `revision: {visible(found[2], 40)}` in the run's spec"


def _gguf(wanted: str, names: list[str]) -> str:
    low = wanted.lower()
    if not low.endswith(".gguf") and "gguf" not in re.split(r"[^a-z0-9]+", low):
        return ""
    base = re.sub(r"(?i)[-_.]gguf.*$", "", wanted.rpartition("/")[2])
    close = alike(base, names) if sizes(base) else ""
    instead = f": did you mean `{close}`?" if close else ""
    return f"GGUF files are for inference with llama.cpp; take the repository that they were made from{instead}"


def _ollama(wanted: str, names: list[str]) -> str:
    found = re.fullmatch(r"([a-z][a-z0-9._-]*):([A-Za-z0-9._-]+)", wanted)
    if not found:
        return ""
    named = f"{found[1]}-{found[2].partition('-')[0]}"
    close = alike(named, names) if sizes(named) else ""
    instead = f"did you mean `{close}`?" if close else LIST
    return f"this is a tag of Ollama, whose models are for inference: {instead}"


def _near(wanted: str, names: list[str]) -> str:
    if "/" in wanted:
        return ""
    close = alike(wanted, names)
    return f"did you mean `{close}`? {FOLDER[0].upper()}{FOLDER[1:]}" if close else ""


def _hub_id(wanted: str, names: list[str]) -> str:
    if not re.fullmatch(_HUB_ID, wanted):
        return ""
    typed = alike(wanted, [name for name in names if numbers(name) == numbers(wanted)], NEARLY_THE_SAME)
    meant = f"did you mean `{typed}`? Otherwise " if typed else ""
    packed = next((word for word in PACKED if wanted.lower().endswith(word)), "")
    warning = f" (a trainer can seldom load what is packed as {packed}; the quote says)" if packed else ""
    fetch = f"`hf download {wanted} config.json` fetches the few kilobytes that say what it is; then this command works"
    return f"{meant}{fetch}{warning}"


def _else(wanted: str, names: list[str]) -> str:
    return f"{LIST}; {FOLDER}"


RULES: tuple[Callable[[str, list[str]], str], ...] = (_address, _revision, _gguf, _ollama, _near, _hub_id, _else)


def sizes(name: str) -> frozenset[str]:
    """The sizes that a name holds: `3b`, `8x7b`, `135m`."""
    return frozenset(re.findall(r"(?<![a-z0-9.])(?:\d+x)?\d+(?:\.\d+)?[bm](?![a-z0-9])", name.lower()))


def numbers(name: str) -> list[str]:
    """All numbers of a name: version, size, date."""
    return re.findall(r"\d+", name)


def alike(wanted: str, names: list[str], closeness: float = ALIKE) -> str:
    """The nearest of `names` of the same size; of any size when `wanted` names none. "" when none is that close."""
    asked = sizes(wanted)
    spelled = {name.lower(): name for name in names if not asked or asked & sizes(name)}
    low = wanted[:80].lower()
    found = get_close_matches(low, list(spelled), n=1, cutoff=closeness)
    return spelled[found[0]] if found else ""
