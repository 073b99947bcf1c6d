"""The quote's tables of the TPU trainer against what the trainer can do: neither promises more than the other."""

from __future__ import annotations

import ast
import json

import pytest

from cloudtrain.models import families
from cloudtrain.models.families import MODEL_TYPES
from cloudtrain.quote.compatibility import VERDICTS, compatibility
from cloudtrain.quote.machine import environments
from tests.estimate.cases import rows
from tests.trainer_fixtures import TEMPLATES

TPU = TEMPLATES / "tpu"
COMPILED = {row["model"] for row in rows("tpu_steps.csv")}
CHIPS = ("v5e", "v5p", "v6e")


def decoders() -> set[str]:
    """The families of `FAMILIES` in families.py, by our names; read and not imported, because it is the trainer's."""
    tree = ast.parse((TPU / "families.py").read_text())
    table = next(
        node.value for node in tree.body if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "FAMILIES"
    )
    found = {node.value for node in ast.walk(table) if isinstance(node, ast.Constant)}
    return {MODEL_TYPES.get(str(name), str(name)) for name in found} | {"longcat_flash"}


def trained(method: str) -> set[str]:
    """The families that the table lets train with a method on some chip."""
    known = {*families.FAMILIES, *decoders()}
    return {name for name in known if compatibility("tpu", name, method, "v6e").verdict != "no trainer"}


def test_the_table_has_the_families_that_the_decoder_has() -> None:
    """No family is promised that the trainer refuses, and none is left out."""
    assert trained("lora") == trained("qlora") == decoders()


def test_the_table_has_the_methods_that_the_description_has() -> None:
    """What `cannot` leaves of the methods, and no other."""
    limits = json.loads((TPU / "backend.json").read_text())["cannot"]
    (only,) = (limit["only"] for limit in limits if limit["field"] == "method")
    able = {method for method in ("full", "lora", "qlora", "dora", "freeze") if trained(method)}
    assert able == set(only)


@pytest.mark.parametrize("chip", CHIPS)
def test_a_plain_yes_is_of_a_family_that_was_compiled(chip: str) -> None:
    """One model at least of each is in the list of compiled steps; on a chip that none was compiled for there is none."""
    from cloudtrain.models import registry

    compiled = {registry.find(name).family for name in COMPILED}
    yes = {name for name in decoders() if compatibility("tpu", name, "lora", chip).verdict == VERDICTS[0]}
    assert yes
    assert yes <= compiled
    assert compatibility("tpu", "llama", "lora", "v2").verdict == "experimental"


def test_slices_of_several_hosts_start_like_one_host() -> None:
    """Of the chips that the step is compiled for; LongCat needs several."""
    job = environments.Job("tpu", "llama", "lora")
    assert {environments.verdict(job, "tpu-v6e", 4 * hosts, "", hosts=hosts).word for hosts in (1, 4)} == {"yes"}
    assert environments.verdict(job, "tpu-v4", 16, "", hosts=4).word == "experimental"
    longcat = environments.Job("tpu", "longcat_flash", "qlora")
    assert [environments.verdict(longcat, "tpu-v6e", 4 * hosts, "", hosts=hosts).word for hosts in (1, 4)] == [
        "no",
        "yes",
    ]
