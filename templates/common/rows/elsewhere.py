"""Where data may be that is not at its path: in a folder, on a model hub, behind an address. Nothing is fetched."""

from __future__ import annotations

import re
from itertools import chain, islice
from pathlib import Path

SUFFIXES = (".jsonl", ".json", ".jsonl.gz", ".json.gz", ".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet", ".txt")
MOST_LOOKED_AT = 10_000  # entries of a folder
_NAME = r"[A-Za-z0-9][\w.-]{0,95}"
_DATA_SET = re.compile(rf"{_NAME}/{_NAME}")
# `hf://datasets/A/B/FILE`, `hf:A/B`, and the addresses that the hub's pages show, whatever the host is called.
_OF_THE_HUB = re.compile(
    rf"(?:hf:/{{0,2}}|https?:/{{1,2}}[\w.-]+/)(?:datasets/)?({_NAME}/{_NAME})(?:/(?:resolve|blob|raw)/[^/]+)?(?:/(.*))?"
)
_FROM_THE_SPEC = "paths in a spec count from its own folder"


def absent(path: Path) -> tuple[str, str]:
    """What to say of a path where nothing is: a message, and a hint with the command that helps."""
    text = str(path)
    if "://" in text or ":/" in text:
        found = _OF_THE_HUB.fullmatch(text)
        if found and ("datasets/" in text or text.startswith("hf:")):
            return "does not exist here", f"download it first: {_command(found[1], found[2] or '')}"
        return "does not exist", "download it first and name the local file"
    name = f"{path.parent.name}/{path.name}"
    if not text.lower().endswith(SUFFIXES) and not path.parent.exists() and _DATA_SET.fullmatch(name):
        return (
            "does not exist",
            f"if `{name}` is a data set of the Hugging Face Hub, download it first: {_command(name)}",
        )
    if not path.suffix and path.parent.exists():
        return "does not exist", f"{_FROM_THE_SPEC}; `hf download ORG/NAME` fetches a data set of the Hugging Face Hub"
    return "does not exist", _FROM_THE_SPEC


def _command(name: str, file: str = "") -> str:
    """The command that fetches a data set, or one file of it, and what to do then."""
    folder = name.partition("/")[2]
    wanted = f" {file}" if file and re.fullmatch(r"[\w./-]+", file) else ""
    then = f"`data: {folder}/{wanted.strip()}`" if wanted else f"one of its files as `data: {folder}/FILE`"
    return f"`hf download {name}{wanted} --repo-type dataset --local-dir {folder}`, and name {then}"


def files_in(folder: Path) -> str:
    """What to say of a folder: the data files that lie in it."""
    try:
        found = sorted(path.relative_to(folder).as_posix() for path in _data_files(folder))
    except OSError:
        found = []
    return f"name one of its files: {', '.join(found[:3])}" if found else "name one file of JSON lines"


def _data_files(folder: Path) -> list[Path]:
    """Data files in it, or one folder further down."""
    near = islice(chain(folder.glob("*"), folder.glob("*/*")), MOST_LOOKED_AT)
    return [path for path in near if path.name.lower().endswith(SUFFIXES) and path.is_file()]
