"""Which worker runs what: a file whose tests share something that takes long to make stays with one.

pytest-xdist 3.8 writes the group of a test into its name, and pytest 9.2 does not let it: what `xdist_group` marked was
made by every worker. Here the mark stands for the whole file, and is found in its text: who schedules imports no test.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest


@cache
def shares(path: Path) -> bool:
    """Whether tests of that file share something."""
    return path.is_file() and "mark.xdist_group(" in path.read_text()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """For `--dist loadgroup`; any other way of sharing the work is left as it is."""
    if config.getoption("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadGroupScheduling

    class WholeFiles(LoadGroupScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return file if shares(config.rootpath / file) else str(super()._split_scope(nodeid))

    return WholeFiles(config, log)
