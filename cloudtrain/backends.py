"""The trainer back ends: the description in each folder of `templates/` that holds a `backend.json`.

A new back end is a new folder and no edit elsewhere. Everybody who has to do with a trainer (quote, environment, image,
bundle, token check, local stack, the machine) goes by this description. A flavour names one set of packages, and no two
back ends have a flavour of the same name: so a flavour names its back end too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from cloudtrain.errors import UsageError, nearest

_SAID = {"version", "about", "title", "programs", "estimator", "preference", "cannot"}
KEYS = _SAID | {"accelerators", "image", "flavours", "compiled"}
NOT_SHIPPED = (".in", ".sh", ".pyc")
NOT_SHIPPED_FOLDERS = {"quote", "__pycache__"}


class Flavour(NamedTuple):
    """One environment of a back end: the packages in it, and what it computes on ("" when it trains nothing).

    `packages` is {"locks": [files], "pytorch": {"lock", "build", "or_pypi"}?, "pythons": [versions]?}; `image` is None
    where no image is made of it, else {"base", "imports", "keep": {pattern below site-packages: [names that stay]}}.
    """

    name: str
    accelerator: str
    packages: dict[str, Any]
    disk: str  # how large it gets, for a person
    image: dict[str, Any] | None


class BackEnd(NamedTuple):
    """A folder of `templates/`. `programs` are paths from it, by what they do: train, check_data, ask, merge, ...

    `accelerators` are {name: {"variables", "device_file", "alone", "platform", "absent", "memory"}}; `cannot` is a list
    of {"field", "only": [values], "why"} over the job document.
    """

    name: str
    folder: Path
    title: str
    programs: dict[str, str]
    estimator: str  # which formulas of `estimate` are its own
    preference: dict[
        str, int
    ]  # back end of the accelerator table -> rank there among our trainers, 0 without one; see `takes`
    cannot: tuple[dict[str, Any], ...]
    accelerators: dict[str, dict[str, Any]]
    flavours: dict[str, Flavour]
    compiled: str = ""  # the variable that names a folder for compiled programs; "": it keeps none

    def program(self, what: str) -> Path | None:
        """The path of the program that does it; None where the back end has none."""
        name = self.programs.get(what)
        return None if name is None else (self.folder / name).resolve()

    def variables(self, accelerator: str) -> dict[str, str]:
        """The environment variables that a trainer on that accelerator is started with."""
        found: dict[str, str] = self.accelerators.get(accelerator, {}).get("variables", {})
        return found

    def on_the_host(self, flavour: str) -> bool:
        """Whether what a flavour computes with is the process's own memory."""
        accelerator = self.flavours[flavour].accelerator
        return self.accelerators.get(accelerator, {}).get("memory") == "host"

    def flavour_on(self, accelerator: str) -> str | None:
        """Its first flavour that computes there."""
        return next((name for name, each in self.flavours.items() if each.accelerator == accelerator), None)

    def takes(self, hardware: str, asked: str = "") -> bool:
        """Whether it may train on a back end of the accelerator table: below 0 only where asked for by its name."""
        return self.name == asked or (not asked and self.preference.get(hardware, 0) >= 0)

    def table(self, name: str) -> Path | None:
        """A table that it adds to the quote's own, such as `compatibility.csv`; None where it has none."""
        path = self.folder / "quote" / name
        return path if path.is_file() else None


def templates() -> Path:
    """The folder of everything that is shipped, in a checkout and in a wheel."""
    from importlib import import_module

    return Path(str(import_module("cloudtrain.templates").__file__)).parent


def shipped(folder: Path) -> list[Path]:
    """The files of a folder of `templates/` that go to a machine: not the quote's tables, nor what makes the locks."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix not in NOT_SHIPPED)
    return [path for path in found if not NOT_SHIPPED_FOLDERS & set(path.relative_to(folder).parts[:-1])]


@cache
def all_backends() -> tuple[BackEnd, ...]:
    """Every back end, by name. Raises UsageError for a description that cannot be used."""
    found: list[BackEnd] = []
    owners: dict[str, str] = {}
    for path in sorted(templates().glob("*/backend.json")):
        backend = read(path)
        for flavour in backend.flavours:
            if flavour in owners:
                raise UsageError(
                    f"{path}: the flavour `{flavour}` is one of back end `{owners[flavour]}` already", "rename it"
                )
            owners[flavour] = backend.name
        found.append(backend)
    return tuple(found)


def read(path: Path) -> BackEnd:
    """The description in one file. Raises UsageError with the file and what is wrong."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        unknown = next((key for key in document if key not in KEYS), None)
        if unknown is not None:
            close = nearest(unknown, sorted(KEYS))
            raise UsageError(f"{path}: unknown key `{unknown}`", f"did you mean `{close}`?" if close else "")
        shared = document.get("image", {})
        return BackEnd(
            path.parent.name,
            path.parent,
            document["title"],
            document["programs"],
            document.get("estimator", ""),
            document.get("preference", {}),
            tuple(document.get("cannot", ())),
            document.get("accelerators", {}),
            {
                name: Flavour(
                    name,
                    about.get("accelerator", ""),
                    about["packages"],
                    about["disk"],
                    {**shared, **about["image"]} if "image" in about else None,
                )
                for name, about in document["flavours"].items()
            },
            document.get("compiled", ""),
        )
    except KeyError as absent:
        raise UsageError(f"{path}: the key {absent} is missing", "see templates/README.md") from None
    except (OSError, ValueError, TypeError, AttributeError) as broken:
        raise UsageError(f"{path}: cannot be read ({broken})", "see templates/README.md") from None


def in_order(hardware: str) -> Iterator[str]:
    """The trainers' names, the preferred ones for a back end of the accelerator table first; "" (none of ours) last."""
    yield from (each.name for each in sorted(all_backends(), key=lambda each: -each.preference.get(hardware, 0)))
    yield ""


def named(name: str) -> BackEnd:
    """The back end of that name that trains. Raises UsageError with the nearest one."""
    known = {each.name: each for each in all_backends() if each.program("train") is not None}
    if name not in known:
        close = nearest(name, list(known))
        raise UsageError(
            f"unknown trainer `{name}`", f"did you mean `{close}`?" if close else f"known: {', '.join(known)}"
        )
    return known[name]


def of_flavour(name: str) -> BackEnd:
    """The back end that has this flavour. Raises UsageError with the nearest one."""
    known = flavours()
    if name not in known:
        close = nearest(name, list(known))
        hint = f"did you mean `{close}`?" if close else f"known: {', '.join(known)}"
        raise UsageError(f"unknown trainer flavour `{name}`", hint)
    return known[name]


@cache
def flavours() -> dict[str, BackEnd]:
    """Every flavour's back end, by the flavour's name."""
    return {flavour: backend for backend in all_backends() for flavour in backend.flavours}
