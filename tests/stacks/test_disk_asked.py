"""The disk that each cloud is really asked for: at least what the job writes, for every model and method."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest

from cloudtrain.models import registry
from cloudtrain.models.spec import ModelSpec
from cloudtrain.providers import Context, Resource, Stack, load, names
from cloudtrain.quote import catalog, engine
from cloudtrain.quote.document import frozen
from cloudtrain.quote.request import Request
from cloudtrain.quote.row import QuoteRow
from cloudtrain.simulator.digitalocean.validation import data

GB = 10**9
DROPLETS = data()
METHODS = ("qlora", "lora", "dora", "freeze", "full")
WHOLE = ("qlora", "full")  # what is written least and most: all models in the gate
PACKAGES = {"cpu": 5.4, "longcat": 5.3, "tpu": 1.57, "rocm": 15.0}  # GB: `du` of those made here; rocm at least
KEPT = 2
ACCOUNT = {"project": "p", "account": "1", "user": "u", "key": "k", "owner": "o"}


def launchable(spec: ModelSpec, method: Any) -> list[QuoteRow]:
    """Every row of a quote that `up` can start on a rented machine."""
    asked = Request(spec=spec, method=method, max_hours=1e9, experimental=True)
    quoted = engine.quote(asked, Context(catalog.folder()))
    return [line for line in quoted.lines if line.assessment.launch == "yes" and line.offer.provider != "local"]


def least_gb(spec: ModelSpec, line: QuoteRow) -> float:
    """What the job writes, counted here once more: weights, packages, checkpoints with the next one, result."""
    recipe = line.assessment.recipe
    assert recipe is not None
    width = 4 if recipe.options.dtype == "fp32" else 2
    if recipe.options.method in ("full", "freeze"):
        result = width * spec.params_total
        checkpoint = result if recipe.options.method == "freeze" else 3 * result
    else:
        result = width * spec.params_lora(16, recipe.options.targets)
        checkpoint = 3 * result
    written = spec.published_bytes + (KEPT + 1) * checkpoint + result
    return written / GB + PACKAGES[recipe.flavour]


def asked_gb(line: QuoteRow) -> int:
    """The size in the body of the create call that the provider's own stack would send."""
    record = frozen(line)
    cloud = load("stacks", record.provider, Stack).cloud
    assert cloud is not None
    plan: Any = SimpleNamespace(run="one", state="", attempt=1, line=record, deadline=2e9, boot=None)
    made = {each.role: each for each in cloud.resources(plan, ACCOUNT)}
    machine = made.get("template", made["machine"])  # a group's machines are made after its template
    return SENT[record.provider](machine)


def sent_to_aws(machine: Resource) -> int:
    inputs = {**machine.inputs, "needs": {"firewall": {"id": "sg-1"}}}
    request = import_module("cloudtrain.stacks.aws.machine").request(inputs, None)
    disk = request["BlockDeviceMappings"][0]["Ebs"]
    assert disk.get("Throughput") == machine.inputs.get("disk_mb_per_s")
    return int(disk["VolumeSize"])


def sent_to_google(machine: Resource) -> int:
    if machine.kind.startswith(("queued_resource", "flex")):
        return 100  # the Cloud TPU API's own, which nobody can ask to be larger
    body = import_module("cloudtrain.stacks.gcp.kinds").NOUNS[machine.kind].body(machine.inputs)
    disks = body.get("properties", body)["disks"]
    return int(disks[0]["initializeParams"]["diskSizeGb"])


def sent_to_runpod(machine: Resource) -> int:
    return int(import_module("cloudtrain.stacks.runpod.pods").body(machine.inputs)["disk"])


def sent_to_digitalocean(machine: Resource) -> int:
    """A droplet comes with its disk: the size that is ordered has so much."""
    size = import_module("cloudtrain.stacks.digitalocean.droplets").body(machine.inputs)["size"]
    gb = {row["slug"]: row["disk"] for row in DROPLETS["sizes"]}
    return int(gb[size])


SENT: dict[str, Any] = {
    "aws": sent_to_aws,
    "gcp": sent_to_google,
    "runpod": sent_to_runpod,
    "digitalocean": sent_to_digitalocean,
}


def one_of_each(lines: list[QuoteRow]) -> Iterator[QuoteRow]:
    """The best row of each provider."""
    seen: set[str] = set()
    for line in lines:
        if line.viable and line.offer.provider not in seen:
            seen.add(line.offer.provider)
            yield line


@pytest.mark.parametrize(
    ("method", "every"),
    [
        *(pytest.param(method, 1, marks=() if method in WHOLE else pytest.mark.soak) for method in METHODS),
        *((method, 4) for method in METHODS if method not in WHOLE),
    ],
)
def test_no_launchable_row_asks_for_less_than_is_written(method: str, every: int) -> None:
    """Every model of the registry, every row; and the call itself for the row that each provider would get.

    The methods between those that write least and most: each fourth model here, all of them in the soak.
    """
    calls = 0
    for spec in registry.all_models()[::every]:
        lines = launchable(spec, method)
        needed: dict[int, float] = {}  # by assessment: most rows are one machine in many places
        for line in lines:
            disk = line.assessment.disk
            assert disk is not None
            least = needed.setdefault(id(line.assessment), least_gb(spec, line))
            assert disk.gb >= least, (spec.name, line.offer.name)
            assert disk.most_gb is None or disk.gb <= disk.most_gb, (spec.name, line.offer.name)
        for line in one_of_each(lines):
            assert line.assessment.disk is not None
            assert asked_gb(line) == line.assessment.disk.gb >= needed[id(line.assessment)], (spec.name, line.offer)
            calls += 1
    assert calls > 40 / every, calls


def test_every_machine_that_is_made_gets_the_disk_of_its_row() -> None:
    """All kinds of machines of all clouds, for a 70 B model."""
    kinds = {
        (line.offer.provider, line.offer.name): line for line in launchable(registry.find("llama-3.3-70b"), "qlora")
    }
    assert (
        {provider for provider, _ in kinds}
        == set(SENT)
        == {n for n in names("stacks") if load("stacks", n, Stack).cloud}
    )
    for line in kinds.values():
        assert line.assessment.disk is not None
        assert asked_gb(line) == line.assessment.disk.gb > 141
