"""Which models of the registry are of the same kind as another: same maker, architecture and generation, smaller."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cloudtrain.models import registry

if TYPE_CHECKING:
    from cloudtrain.models.spec import ModelSpec


def smaller_kin(spec: ModelSpec) -> list[ModelSpec]:
    """Smaller models of the same kind, the largest first; none for a model whose maker is not known."""
    maker = maker_of(spec)
    same = [other for other in registry.all_models() if maker and maker_of(other) == maker]
    kin = [other for other in same if kind_of(other) == kind_of(spec) and other.params_total < spec.params_total]
    return sorted(kin, key=lambda other: -other.params_total)


def maker_of(spec: ModelSpec) -> str:
    """Who published it; "" for a folder."""
    return spec.hub_id.rpartition("/")[0].lower()


def kind_of(spec: ModelSpec) -> tuple[str, str, str, str]:
    """(maker, architecture without its variant, first word, generation): `llama-3.1-8b` is a third llama of meta's.

    The generation is the first number of the name unless it is a size.
    """
    name = spec.hub_id.rpartition("/")[2]
    found = re.match(r"([a-z]+)(?:\D*?(\d{1,2})(?:\.\d+)?(?![\d.]*[bm\d]))?", name.lower())
    word, generation = (found[1], found[2] or "") if found else ("", "")
    return maker_of(spec), spec.family.partition("_")[0], word, generation
