"""YAML text to a tree of plain texts that remembers where each came from; `key=value` overrides on top of it.

Plain scalars stay texts: what they mean is the business of the field's type. The whole text is bounded in bytes, nodes,
depth and aliases before anything is built from it.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from cloudtrain.errors import UsageError, visible

MAXIMUM_BYTES = 2**20
MAXIMUM_NODES = 2000
MAXIMUM_DEPTH = 12
MAXIMUM_ALIASES = 16
_NULL = "tag:yaml.org,2002:null"
_NAMES = ("str", "int", "float", "bool", "null", "timestamp", "map", "seq", "value", "merge")
_TAGS = {f"tag:yaml.org,2002:{name}" for name in _NAMES}
# A word given on the command line replaces the other way of saying the same thing in the file.
_EITHER = {"epochs": "max_steps", "max_steps": "epochs", "batch_tokens": "grad_accum", "grad_accum": "batch_tokens"}


@dataclass
class Document:
    """A spec before it is checked: nested dicts, lists and texts, and the place (`file:line`) of every key path."""

    name: str
    tree: dict[str, Any] = field(default_factory=dict)
    places: dict[tuple[str | int, ...], str] = field(default_factory=dict)

    def place(self, path: tuple[str | int, ...]) -> str:
        """The place of `path`, or of the nearest part of it that was written down."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, self.name)


def read_text(path: Path) -> str:
    """The text of a spec file. Raises UsageError when it is missing, no file, unreadable, too large or not UTF-8."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise UsageError(f"{path}: is not a file", "name the spec file, for example cloudtrain.yaml")
        with open(path, "rb") as file:
            content = file.read(MAXIMUM_BYTES + 1)
    except FileNotFoundError:
        raise UsageError(f"{path}: does not exist", "`cloudtrain init` writes one to start from") from None
    except (OSError, ValueError) as refused:
        reason = getattr(refused, "strerror", None) or refused
        raise UsageError(f"{path}: cannot be read ({reason})", "check its name and its permissions") from None
    if len(content) > MAXIMUM_BYTES:
        raise UsageError(f"{path}: is larger than 1 MiB", "this is not a spec; `cloudtrain init` writes one")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as broken:
        line = content.count(b"\n", 0, broken.start) + 1
        raise UsageError(f"{path}:{line}: is not UTF-8", "save the file as UTF-8 text") from None


class _Loader(yaml.SafeLoader):
    """Composes nodes within the bounds; the pure Python parser, because it cannot overflow the C stack."""

    nodes = aliases = depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.nodes += 1
        self.depth += 1
        event = self.peek_event()  # type: ignore[no-untyped-call]
        self.aliases += isinstance(event, yaml.AliasEvent)
        if self.nodes > MAXIMUM_NODES or self.depth > MAXIMUM_DEPTH or self.aliases > MAXIMUM_ALIASES:
            raise yaml.MarkedYAMLError(problem="has more parts than a spec can have", problem_mark=event.start_mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def parse(text: str, name: str) -> Document:
    """The tree of a YAML text called `name` in errors. Raises UsageError with `name:line`."""
    document = Document(name)
    root = _compose(text, name)
    if root is None:
        raise UsageError(f"{name}: is empty", "`cloudtrain init` writes a spec to start from")
    if not isinstance(root, yaml.MappingNode):
        raise UsageError(
            f"{name}:{_line(root)}: is not a list of `key: value` lines", "write `model: ...` and `data: ...`"
        )
    document.tree = _built(root, (), document)
    _unfold_data(document)
    return document


def override(document: Document, text: str) -> None:
    """Set `text` (`key=value`, dots between levels) in the tree. Raises UsageError that names the override."""
    key, separator, value = text.partition("=")
    path = tuple(part.strip() for part in key.split("."))
    if not separator or not all(path) or len(path) > MAXIMUM_DEPTH:
        raise UsageError(f"`{visible(text)}` is not an override", "write key=value, for example lora.rank=8")
    place = f"override `{visible(text)}`"
    if path == ("data",) and not value.lstrip().startswith("{"):
        path = ("data", "path")
    branch = document.tree
    for depth, part in enumerate(path[:-1], start=1):
        document.places.setdefault(path[:depth], place)
        deeper = branch.setdefault(part, {})
        if not isinstance(deeper, dict):
            return  # the file is wrong there, and the check says so with its line
        branch = deeper
    branch.pop(path[-1], None)
    document.places[path] = place
    parsed = _override_value(value.strip(), path, place, document)
    if parsed is None:
        return
    branch[path[-1]] = parsed
    rival = _EITHER.get(key.strip(), "")
    if not document.places.get((rival,), "").startswith("override"):
        document.tree.pop(rival, None)


def _override_value(value: str, path: tuple[str | int, ...], place: str, document: Document) -> Any:
    """A text, None for an empty one, or what a flow list or mapping holds."""
    if value in ("", "null", "~"):
        return None
    if value[0] not in "[{":
        return value
    node = _compose(value, place)
    inner = Document(place)
    built = _built(node, path, inner)
    document.places.update(dict.fromkeys(inner.places, place))
    return built


def _compose(text: str, name: str) -> Any:
    loader = None
    try:
        loader = _Loader(text)
        return loader.get_single_node()
    except yaml.reader.ReaderError as broken:
        line = text.count("\n", 0, broken.position) + 1
        raise UsageError(f"{name}:{line}: holds a character that YAML does not allow", "retype the line") from None
    except yaml.MarkedYAMLError as broken:
        mark = broken.problem_mark or broken.context_mark
        line = mark.line + 1 if mark else 1
        problem = broken.problem or "is not YAML"
        hint = "indent with spaces, not with tabs" if "'\\t'" in problem else "a spec is YAML: `key: value` lines"
        raise UsageError(f"{name}:{line}: {visible(problem, 200)}", hint) from None
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError):
        line = loader.line + 1 if loader else 1
        raise UsageError(f"{name}:{line}: is not YAML", "a spec is YAML: `key: value` lines") from None


def _built(node: Any, path: tuple[str | int, ...], document: Document) -> Any:
    """Dicts, lists and texts from nodes; empty values are left out, so that the default holds."""
    place = f"{document.name}:{_line(node)}"
    document.places.setdefault(path, place)
    if node.tag not in _TAGS:
        raise UsageError(f"{place}: the tag `{visible(node.tag)}` means nothing here", "write the value without a tag")
    if len(path) > MAXIMUM_DEPTH:  # an alias inside its own anchor
        raise UsageError(f"{place}: is nested too deeply", "write the value out")
    if isinstance(node, yaml.ScalarNode):
        return None if node.tag == _NULL else node.value
    if isinstance(node, yaml.SequenceNode):
        return [_built(item, (*path, index), document) for index, item in enumerate(node.value)]
    return _mapping(node, path, document)


def _mapping(node: Any, path: tuple[str | int, ...], document: Document) -> dict[str, Any]:
    found: dict[str, Any] = {}
    lines: dict[str, int] = {}
    for key_node, value_node in node.value:
        line = _line(key_node)
        if not isinstance(key_node, yaml.ScalarNode):
            raise UsageError(f"{document.name}:{line}: a key is not one word", "write `key: value`")
        key = key_node.value
        if key in lines:
            message = f"`{visible(key)}` is written twice (first on line {lines[key]})"
            raise UsageError(f"{document.name}:{line}: {message}", "keep one of the two")
        lines[key] = line
        document.places[(*path, key)] = f"{document.name}:{line}"
        value = _built(value_node, (*path, key), document)
        if value is not None:
            found[key] = value
    return found


def _unfold_data(document: Document) -> None:
    """`data: file` as `data: {path: file}`."""
    if isinstance(document.tree.get("data"), str):
        document.tree["data"] = {"path": document.tree["data"]}
        document.places[("data", "path")] = document.places[("data",)]


def _line(node: Any) -> int:
    return int(node.start_mark.line) + 1
