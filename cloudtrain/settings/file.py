"""The settings file: read it with line numbers in every complaint, change one value of it without touching the rest.

Read with the standard library, because `quote` reads it too; written with tomlkit, which keeps comments and layout.
"""

from __future__ import annotations

import os
import re
import tempfile
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any

from cloudtrain.errors import UsageError
from cloudtrain.files import read_beginning
from cloudtrain.settings.table import Setting, find, value_of

_AT_LINE = re.compile(r"\s*\(at (?:line (\d+), column \d+|end of document)\)")
_PLAIN_NUMBER = re.compile(r"(0|[1-9][0-9]*)(\.[0-9]+)?", re.ASCII)
MAXIMUM_BYTES = 2**20


def read(path: Path) -> dict[str, str]:
    """The texts of the settings in `path`, each checked. Raises UsageError naming file and line."""
    source = _source(path)
    texts: dict[str, str] = {}
    for key, value in _parse(path, source).items():
        place = f"{path}:{_line_of(source, key)}"
        try:
            setting = find(key)
        except UsageError as unknown:
            raise UsageError(f"{place}: {unknown.message}", unknown.hint) from None
        text = _scalar_text(value)
        if text is None:
            raise UsageError(f"{place}: `{key}` is not one text or number", f'write for example {key} = "..."')
        _check(setting, text, place)
        texts[key] = text
    return texts


def write(path: Path, setting: Setting, text: str) -> None:
    """Put `setting` into the file as `text`, or take it out when `text` is empty; see settings.set_value."""
    if text:
        _check(setting, text, f"config set {setting.key}")
    source = ""
    if os.path.exists(path):
        read(path)  # a file that could not be read afterwards is refused, not repaired in silence
        source = _source(path)
    target = Path(os.path.realpath(path))  # a link into a folder of dotfiles stays a link
    try:
        replace(target, _changed(source, setting.key, text))
    except OSError as refused:
        raise UsageError(
            f"{path}: cannot be written ({refused.strerror})", "set CLOUDTRAIN_CONFIG to another file"
        ) from None


def _check(setting: Setting, text: str, place: str) -> None:
    """Refuse a text that is no value, and a state folder that would move with the current folder."""
    value_of(setting, text, place)
    if (
        setting.key == "state"
        and text
        and "://" not in text
        and not text.startswith("~")
        and not Path(text).is_absolute()
    ):
        raise UsageError(f"{place}: `state` is a relative folder", "write an absolute one, or one that starts with ~/")


def _source(path: Path) -> str:
    try:
        content = read_beginning(path, MAXIMUM_BYTES)
    except OSError as refused:
        raise UsageError(
            f"{path}: cannot be read ({refused.strerror})", "set CLOUDTRAIN_CONFIG to another file"
        ) from None
    if len(content) > MAXIMUM_BYTES:
        raise UsageError(f"{path}: is larger than 1 MiB", "this is not a settings file")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as broken:
        line = content.count(b"\n", 0, broken.start) + 1
        raise UsageError(f"{path}:{line}: is not UTF-8", "save the file as UTF-8") from None


def _parse(path: Path, source: str) -> dict[str, Any]:
    try:
        return tomllib.loads(source, parse_float=Decimal)
    except RecursionError:
        raise UsageError(f"{path}: is nested too deeply", "a settings file is lines of key = value") from None
    except (ValueError, ArithmeticError) as broken:
        where = _AT_LINE.search(str(broken))
        line = where[1] if where and where[1] else source.rstrip("\n").count("\n") + 1
        message = _AT_LINE.sub("", str(broken))
        message = message[:1].lower() + message[1:]
        raise UsageError(f"{path}:{line}: {message}", "a settings file is TOML: lines of key = value") from None


def _scalar_text(value: object) -> str | None:
    """A TOML text or number as text; None for what no setting can be (a truth value, a date, a list, a table)."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        return None
    try:
        return str(value)
    except ValueError:  # more digits than Python turns into text
        return None


def _line_of(source: str, key: str) -> int:
    """The line (from 1) on which `key` is set, or on which a table of that name begins."""
    begins = re.compile(rf"""[ \t]*(?:\[+[ \t]*)?(["']?){re.escape(key)}\1[ \t]*[=.\]]""")
    for number, line in enumerate(source.split("\n"), start=1):
        if begins.match(line):
            return number
    return 1


def _changed(source: str, key: str, text: str) -> str:
    """`source` with `key` set to `text` (a plain number bare, anything else quoted), or without it when empty."""
    import tomlkit

    document = tomlkit.parse(source)
    if text:
        document[key] = tomlkit.value(text) if _PLAIN_NUMBER.fullmatch(text) else tomlkit.string(text)
    else:
        document.pop(key, None)
    return document.as_string()


def replace(target: Path, text: str) -> None:
    """Write a file of settings in one step, readable by its owner alone. Raises OSError."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")  # mkstemp makes it mode 600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise
