"""Runs something in a fork that dies at one of its steps on the disk, before the step, after it, or in the middle."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

DEAD = 9
STEPS = ((os, "replace"), (os, "rename"), (os, "fsync"), (os, "mkdir"), (os, "unlink"), (shutil, "rmtree"))


def dies_at(step: int, work: Callable[[], object]) -> bool:
    """Whether the fork died at this step (counted from 1); False: the work has fewer, and was done."""
    pid = os.fork()
    if not pid:
        try:
            _work(step, work)
        finally:
            os._exit(1)  # an exception: seen by the parent
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code in (0, DEAD), code
    return code == DEAD


def _work(step: int, work: Callable[[], object]) -> None:
    left = step

    def count() -> None:
        nonlocal left
        left -= 1
        if not left:
            os._exit(DEAD)

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            count()
            found = real(*args, **kwargs)
            count()
            return found

        return call

    def torn(path: Path, text: bytes) -> None:
        with open(path, "wb") as file:
            file.write(text[: len(text) // 2])
            file.flush()
            count()
            file.write(text[len(text) // 2 :])
        count()

    def torn_append(path: Path, text: bytes) -> None:
        with open(path, "ab") as file:
            file.write(
                b"\n" + text[: len(text) // 2]
            )  # as the real one after a torn line; readers pass blank ones over
            file.flush()
            count()
        with open(path, "ab") as file:
            file.write(text[len(text) // 2 :])
        count()

    for module, name in STEPS:
        mock.patch.object(module, name, counted(getattr(module, name))).start()
    mock.patch("cloudtrain.prices.install._write", torn).start()
    mock.patch("cloudtrain.prices.history._append", torn_append).start()
    work()
    os._exit(0)
