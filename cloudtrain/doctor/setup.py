"""Least rights for whoever runs cloudtrain from CI: the files of each provider, and writing them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from cloudtrain.errors import MissingCredentials, UsageError
from cloudtrain.providers import Caller, Cloud, Setup, Stack, load, names
from cloudtrain.state import address

GITHUB: Final = "token.actions.githubusercontent.com"


def github(repository: str, branch: str) -> Caller:
    """What GitHub's tokens say of a branch."""
    return Caller(GITHUB, f"repo:{repository}:ref:refs/heads/{branch}")


def gitlab(repository: str, branch: str, host: str) -> Caller:
    """What the tokens of a GitLab say of a branch."""
    return Caller(host or "gitlab.com", f"project_path:{repository}:ref_type:branch:ref:{branch}")


def files(named: Sequence[str], caller: Caller, state: str, account: str) -> tuple[dict[str, str], list[str]]:
    """File name -> text, of the named providers, or of all whose account is known; and what was left out, as sentences.

    `account`: an AWS account or a Google project; "" asks the provider with the credentials here. Raises UsageError and
    provider errors.
    """
    kept = address.parse(state) if state.partition("://")[0] in address.SCHEMES else None
    able = [name for name in names("stacks") if setup_of(name)]
    found: dict[str, str] = {}
    left_out = [] if kept else [f"the state is {state}, which is no bucket: no right to one is written"]
    for name in named or able:
        cloud = setup_of(name)
        if cloud is None or cloud.setup is None:
            raise UsageError(f"`{name}` has no policies that could be written", f"name one of: {', '.join(able)}")
        try:
            found |= cloud.setup(Setup(caller, place(cloud, account), kept))
        except (MissingCredentials, UsageError) as error:
            if named:
                raise
            left_out.append(f"{name}: left out, {error.message}")
    if not found:
        raise UsageError(
            "no account is known to write policies for", "--account ID names an AWS account or a Google project"
        )
    return found, left_out


def setup_of(name: str) -> Cloud | None:
    """The provider's cloud when it has least rights to write. Raises UsageError for an unknown provider."""
    cloud = load("stacks", name, Stack).cloud
    return cloud if cloud is not None and cloud.setup is not None else None


def place(cloud: Cloud, account: str) -> dict[str, str]:
    """Where the rights are given. Raises UsageError, and MissingCredentials when nobody says."""
    if account and cloud.place_of is not None:
        return cloud.place_of(account)
    try:
        return cloud.account()
    except MissingCredentials as error:
        raise MissingCredentials(error.message, "or name the account with --account; nothing is asked then") from None


def write(folder: Path, texts: Mapping[str, str]) -> list[Path]:
    """Write the files; what is there already with other words is left, and an error. Raises UsageError."""
    targets = {folder / name: text for name, text in texts.items()}
    for path, text in targets.items():
        if path.exists() and path.read_bytes() != text.encode():
            raise UsageError(
                f"`{path}` is there already, with other words in it", "move it away, or name another folder"
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in targets.items():
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"`{folder}` cannot be written: {error.strerror}") from None
    return list(targets)
