"""Write what the documents take from the code: `make docs`. A test holds every such part current.

A part stands between `<!-- made: NAME -->` and `<!-- /made -->`; the words around it are written by hand.
"""

from __future__ import annotations

import contextlib
import csv
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
ROOT = DOCS.parent
DAY = "2026-11-24T12:00:00Z"  # the clock of shown quotes: it decides how old their prices are
PROGRAMS = ("cloudtrain", "pricing", "stacks", "templates", "tests")
VARIABLE = re.compile(r"(?<![A-Z0-9])_?CLOUDTRAIN_[A-Z0-9_]*[A-Z0-9]\b(?!_)")
SHORT_QUOTE = "quote llama-3.1-8b --infra colab --infra gcp --infra runpod"
WHOLE_QUOTE = "quote longcat-flash --table -o md --infra aws --infra colab --infra gcp --infra kaggle --infra runpod"


def main() -> int:
    """Write every file whose made parts are not current; say which."""
    for path, text in made().items():
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            print(f"wrote {path.relative_to(ROOT)}")
    return 0


def made() -> dict[Path, str]:
    """Every file that is made or has a made part, with the text that it should have."""
    from cloudtrain.spec import json_schema

    files = {DOCS / "examples" / json_schema.FILE: json_schema.text()}
    for name, (path, part) in PARTS.items():
        files[path] = with_part(files.get(path) or path.read_text(), name, part())
    return files


def with_part(text: str, name: str, part: str) -> str:
    """`text` with what is between the marks of `name` replaced. Raises ValueError when the marks are missing."""
    begin, end = f"<!-- made: {name} -->\n", "<!-- /made -->"
    head, found, rest = text.partition(begin)
    if not found or end not in rest:
        raise ValueError(f"there is no part `{name}`")
    return f"{head}{begin}{part}{rest[rest.index(end) :]}"


def table(headers: tuple[str, ...], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    lines = [headers, tuple("---" for _ in headers), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def spec_keys() -> str:
    """The keys of cloudtrain.yaml, with the defaults of a spec that says no more than it must."""
    from cloudtrain.spec.json_schema import json_schema
    from cloudtrain.spec.schema import Spec

    least = Spec.model_validate({"model": "M", "data": {"path": "D"}}).model_dump()
    return table(("key", "default", "takes", "meaning"), _spec_rows(json_schema(), least, ""))


def _spec_rows(group: dict[str, Any], defaults: dict[str, Any], above: str) -> Iterator[tuple[str, ...]]:
    """A row for every key of a group, and for those of the groups in it."""
    for key, entry in group["properties"].items():
        inner = next((kind for kind in entry.get("anyOf", []) if "properties" in kind), entry)
        default = "needed" if key in group.get("required", []) else _default(defaults[key])
        if "properties" in inner:
            yield f"`{above}{key}`", default, "a group of keys", entry["description"]
            yield from _spec_rows(inner, defaults[key], f"{key}.")
        else:
            yield f"`{above}{key}`", default, _takes(entry), entry["description"]


def _default(value: Any) -> str:
    """A default as it would stand in the file."""
    if value is None or isinstance(value, dict):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _takes(entry: dict[str, Any]) -> str:
    """What a key takes, from its JSON Schema."""
    if "enum" in entry:
        return ", ".join(f"`{word}`" for word in entry["enum"] if word is not None)
    kinds = entry.get("anyOf", [entry])
    types = {name for kind in kinds for name in ([kind["type"]] if isinstance(kind["type"], str) else kind["type"])}
    if "boolean" in types:
        return "`true`, `false`"
    if not types & {"integer", "number"}:
        return "text or a list" if "array" in types else "text"
    words = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}
    bounds = [f"{word} {float(kind[bound]):,.0f}" for kind in kinds for bound, word in words.items() if bound in kind]
    return f"{'whole number' if 'integer' in types else 'number'} {', '.join(bounds)}"


def settings() -> str:
    """What `config set` takes."""
    from cloudtrain.settings import KEYS

    rows = ((f"`{row.key}`", f"`{row.environment}`", _default(row.default or None), row.help) for row in KEYS)
    return table(("key", "environment variable", "default", "meaning"), rows)


def variables_for(audience: str) -> Callable[[], str]:
    """The table of the environment variables that concern `audience`."""

    def part() -> str:
        from cloudtrain.settings import KEYS

        own = [(row.environment, "user", f"setting `{row.key}`: {row.help}") for row in KEYS]
        rows = ((f"`{name}`", meaning) for name, concerns, meaning in own + variables() if concerns == audience)
        return table(("variable", "meaning"), rows)

    return part


def variables() -> list[tuple[str, str, str]]:
    """Name, audience and meaning of every variable but those of the settings."""
    with open(DOCS / "variables.csv", newline="") as file:
        return [(row["name"], row["for"], row["meaning"]) for row in csv.DictReader(file)]


def variables_in_code() -> set[str]:
    """Every variable of ours that a program names; the beginning of others only counts where the table has it."""
    files = [
        path for folder in PROGRAMS for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".sh", ".json")
    ]
    found = {word for path in [*files, ROOT / "Makefile"] for word in VARIABLE.findall(path.read_text())}
    explained = {name for name, _, _ in variables()}
    return {word for word in found if word in explained or not any(other.startswith(f"{word}_") for other in found)}


def exit_codes() -> str:
    """What the end of a command tells a script, and what is raised for it."""
    from cloudtrain import errors

    raised: dict[int, list[str]] = {}
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, errors.CloudtrainError):
            raised.setdefault(kind.exit_code, []).append(f"`{kind.__name__}`")
    rows = (
        (f"{code}", f"{short}: {more}" if more else short, ", ".join(raised.get(code, [])))
        for code, (short, more) in errors.EXIT_CODES.items()
    )
    return table(("code", "meaning", "in the code"), rows)


def short_quote() -> str:
    """A quote as a terminal of 80 columns shows it to somebody without any account."""
    return f"```\n$ cloudtrain {SHORT_QUOTE}\n{at_a_terminal(SHORT_QUOTE.split(), 80)}```\n"


def whole_quote() -> str:
    """The whole quote as Markdown, but for the reader's own machine."""
    with own_folders() as environment:
        argv = [sys.executable, "-m", "cloudtrain", *WHOLE_QUOTE.split()]
        return subprocess.run(argv, env=environment, capture_output=True, text=True, check=True).stdout


def simulation() -> str:
    """Some lines of a simulated run; a test on the engine holds them against a real one."""
    return f"```\n{(ROOT / 'tests' / 'engine' / 'simulation.txt').read_text()}```\n"


def at_a_terminal(words: list[str], columns: int) -> str:
    """What a command prints on a terminal so wide."""
    mine, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    shown = b""
    with own_folders() as environment:
        process = subprocess.Popen([sys.executable, "-m", "cloudtrain", *words], env=environment, stdout=its)
        os.close(its)
        with contextlib.suppress(OSError):  # the end of a terminal is an error on Linux, and nothing on macOS
            while some := os.read(mine, 2**16):
                shown += some
        os.close(mine)
        if process.wait():
            raise RuntimeError(f"`cloudtrain {' '.join(words)}` failed")
    return shown.decode().replace("\r\n", "\n")


@contextlib.contextmanager
def own_folders() -> Iterator[dict[str, str]]:
    """The environment of somebody without settings, state, measurements, accounts; on the day of the shown quotes."""
    with tempfile.TemporaryDirectory() as home:
        moved = ("CLOUDTRAIN_", "XDG_", "COLUMNS", "HF_", "HUGGING_FACE_", "AWS_", "GOOGLE_", "RUNPOD_", "KAGGLE_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(moved)}
        yield kept | {"HOME": home, "CLOUDTRAIN_NOW": DAY, "NO_COLOR": "1", "PYTHONPATH": str(ROOT)}


AUDIENCES = ("user", "credentials", "others", "machine", "process", "simulator", "test")
PARTS: dict[str, tuple[Path, Callable[[], str]]] = {
    "spec keys": (DOCS / "spec.md", spec_keys),
    "settings": (DOCS / "settings.md", settings),
    **{f"variables: {name}": (DOCS / "environment.md", variables_for(name)) for name in AUDIENCES},
    "exit codes": (DOCS / "exit-codes.md", exit_codes),
    "short quote": (ROOT / "README.md", short_quote),
    "whole quote": (DOCS / "quote.md", whole_quote),
    "simulation": (DOCS / "simulation.md", simulation),
}

if __name__ == "__main__":
    sys.exit(main())
