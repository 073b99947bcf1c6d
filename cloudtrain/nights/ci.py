"""What a tick hands to the CI system that runs it: outputs, a summary, a warning, in the form that GitHub reads."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Final

from cloudtrain.errors import UsageError, visible
from cloudtrain.nights.outcome import Tick

MOST_BYTES: Final = 1 << 20  # of a step's summary, all that is appended to it together
LEFT_OUT: Final = "\n\n(the rest is left out: a summary has at most 1 MiB)\n"


def is_github(environment: Mapping[str, str]) -> bool:
    """Whether a step of GitHub's runs this, or what plays one."""
    return environment.get("GITHUB_ACTIONS") == "true"


def write_outputs(tick: Tick, environment: Mapping[str, str]) -> None:
    """`outcome`, `run` and `date` for the steps that follow. Raises UsageError for a value that would add a line."""
    path = environment.get("GITHUB_OUTPUT")
    if not path:
        return
    values = {"outcome": tick.outcome, "run": tick.run, "date": tick.date}
    for name, value in values.items():
        if not (value.isprintable() and value.isascii()):
            raise UsageError(f"the output `{name}` would be `{visible(value)}`", "it may be one line alone")
    append(path, "".join(f"{name}={value}\n" for name, value in values.items()))


def write_summary(markdown: str, environment: Mapping[str, str]) -> None:
    """Append to the step's summary, as far as there is room for it."""
    path = environment.get("GITHUB_STEP_SUMMARY")
    if not path:
        return
    room = MOST_BYTES - size_of(path)
    data = markdown.rstrip("\n").encode() + b"\n"
    if len(data) > room:
        data = data[: max(0, room - len(LEFT_OUT))].decode(errors="ignore").encode() + LEFT_OUT.encode()
    if len(data) <= room:
        append(path, data.decode())


def warning(text: str) -> str:
    """The line that GitHub shows at the top of a green job."""
    return f"::warning title=cloudtrain::{escaped(text)}"


def escaped(text: str) -> str:
    """A text within a workflow command: one line, whatever it holds."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def stop_token() -> str:
    """What GitHub is told to wait for before it takes a line of a provider's words for a command again."""
    return secrets.token_hex(16)


def append(path: str, text: str) -> None:
    """To a file that the CI system names. Raises UsageError."""
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UsageError(f"`{path}` cannot be written: {error.strerror}", "the CI system names it") from error


def size_of(path: str) -> int:
    """Bytes of a file; 0 for one that is not there yet."""
    try:
        with open(path, "rb") as file:
            return file.seek(0, 2)
    except OSError:
        return 0
