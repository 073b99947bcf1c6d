"""cloudtrain: what a fine-tune costs to finish on everything that is not an NVIDIA GPU, and the run itself."""

from pathlib import Path

__version__ = "0.1.0"

# In a checkout `pricing/`, `stacks/` and `templates/` lie next to this package; a wheel packs them inside it. Extending
# `__path__` makes `cloudtrain.pricing` mean the same in both, with no symlink and no import hook. `append`: packed
# folders always win over a stray neighbour.
_checkout = Path(__file__).parent.parent
if (_checkout / "pyproject.toml").is_file() and not (Path(__file__).parent / "pricing").is_dir():
    __path__.append(str(_checkout))
