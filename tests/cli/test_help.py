"""Help texts, kept whole: what `cloudtrain --help` and every command's --help print."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cloudtrain.cli import root
from tests.conftest import Result


def test_help_texts_are_current(golden: Callable[..., Result], cloudtrain: Callable[..., Result]) -> None:
    """The page of each command is the one that was reviewed."""
    for name in root.list_commands(None):  # type: ignore[arg-type]
        golden(f"help-{name}", name, "--help")
    golden("help", "--help")


def test_every_command_answers_without_a_home_folder(cloudtrain: Callable[..., Result], monkeypatch: object) -> None:
    """--help works for a user that has no home and no settings."""
    assert cloudtrain("--help").code == 0


def test_the_list_of_commands_cuts_no_sentence(
    cloudtrain: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a command is for fits into one line of a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    _, found, commands = cloudtrain("--help").out.partition("Commands:")
    assert found
    assert "..." not in commands
