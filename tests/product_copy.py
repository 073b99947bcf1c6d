"""A copy of the installed product, for tests that drop something new into it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path


def copy_of_the_product(folder: Path) -> Path:
    """The package in the copy, as a wheel lays it out; `folder` goes first on PYTHONPATH."""
    import cloudtrain.pricing
    import cloudtrain.stacks
    import cloudtrain.templates

    import cloudtrain

    ignore = shutil.ignore_patterns("__pycache__")
    package = folder / "cloudtrain"
    shutil.copytree(Path(cloudtrain.__file__).parent, package, ignore=ignore)
    for name in ("pricing", "stacks", "templates"):
        part = sys.modules[f"cloudtrain.{name}"]
        shutil.copytree(Path(next(iter(part.__path__))), package / name, ignore=ignore, dirs_exist_ok=True)
    return package
