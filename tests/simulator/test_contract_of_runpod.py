"""The fake RunPod speaks the contract that RunPod publishes, when that document is at hand."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.runpod import KEY, RunpodCloud
from cloudtrain.simulator.runpod.validation import data
from tests.patience import PATIENCE_S

DOCUMENT = os.environ.get("CLOUDTRAIN_RUNPOD_OPENAPI", "")
pytestmark = pytest.mark.skipif(
    not DOCUMENT, reason="CLOUDTRAIN_RUNPOD_OPENAPI does not name RunPod's OpenAPI document of API v2"
)
REQUESTS = {
    "createPod": "CreatePodRequest",
    "podAction": "PodActionRequest",
    "createCluster": "CreateClusterRequest",
    "createNetworkVolume": "CreateNetworkVolumeRequest",
    "createTemplate": "CreateTemplateRequest",
    "createRegistry": "CreateRegistryRequest",
}
LIMITS = ("enum", "minimum", "maximum", "minLength", "maxItems")


@pytest.fixture(scope="module")
def published() -> dict[str, Any]:
    """RunPod's document."""
    document: dict[str, Any] = json.loads(Path(DOCUMENT).read_text())
    return document


def flat(published: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """A schema with its references and `allOf` parts in one."""
    if "$ref" in schema:
        target: Any = published
        for part in schema["$ref"][2:].split("/"):
            target = target[part]
        schema = {**target, **{k: v for k, v in schema.items() if k != "$ref"}}
    merged = {key: value for key, value in schema.items() if key != "allOf"}
    merged.setdefault("properties", {})
    for part in schema.get("allOf", []):
        piece = flat(published, part)
        merged["properties"] = {**piece.pop("properties", {}), **merged["properties"]}
        merged["required"] = [*merged.get("required", []), *piece.pop("required", [])]
        merged = {**piece, **merged}
    return merged


def differences(published: dict[str, Any], ours: dict[str, Any], schema: dict[str, Any], where: str) -> Iterator[str]:
    """Where our schema says something else than RunPod's."""
    theirs = flat(published, schema)
    if ours.get("type") != theirs.get("type"):
        yield f"{where}: type {ours.get('type')}, theirs {theirs.get('type')}"
    if sorted(ours.get("required", [])) != sorted(theirs.get("required", [])):
        yield f"{where}: required {ours.get('required')}, theirs {theirs.get('required')}"
    for limit in LIMITS:
        if ours.get(limit) != theirs.get(limit):
            yield f"{where}: {limit} {ours.get(limit)}, theirs {theirs.get(limit)}"
    closed = theirs.get("additionalProperties", theirs.get("unevaluatedProperties", True))
    if (ours.get("additionalProperties", True) is False) != (closed is False):
        yield f"{where}: closed {ours.get('additionalProperties')}, theirs {closed}"
    for name, inner in ours.get("properties", {}).items():
        if name not in theirs["properties"]:
            yield f"{where}.{name}: not theirs"
        else:
            yield from differences(published, inner, theirs["properties"][name], f"{where}.{name}")
    for inner in ("items", "additionalProperties"):
        if isinstance(ours.get(inner), dict):
            yield from differences(published, ours[inner], theirs[inner], f"{where}[{inner}]")


@pytest.mark.parametrize("operation", REQUESTS)
def test_what_the_fake_accepts_is_what_runpod_accepts(published: dict[str, Any], operation: str) -> None:
    """Names, types, required properties, limits and closedness are those of the published document."""
    schema = published["components"]["schemas"][REQUESTS[operation]]
    assert list(differences(published, data("requests")[operation], schema, operation)) == []


def test_the_fake_knows_every_property_of_a_pod(published: dict[str, Any]) -> None:
    """Nothing that RunPod takes for a pod is refused by the fake as unknown."""
    theirs = flat(published, published["components"]["schemas"]["CreatePodRequest"])["properties"]
    assert data("requests")["createPod"]["properties"].keys() == theirs.keys()


def test_what_the_fake_answers_is_what_runpod_answers(published: dict[str, Any]) -> None:
    """Every good answer and every problem is valid against the published schema of its operation."""
    import jsonschema

    cloud = RunpodCloud(Clock(1.79e9))
    gpu = {"id": "AMD Instinct MI300X OAM", "count": 2}
    compute = {"gpuTypeId": gpu["id"], "gpuCountPerPod": 1, "podCount": 2}
    calls: list[tuple[str, str, str, Any, str]] = [
        ("POST", "/v2/pods", "/v2/pods", {"name": "a", "image": "i", "gpu": gpu}, "201"),
        ("POST", "/v2/pods", "/v2/pods", {"name": "a", "image": "i", "cpu": {"id": "cpu5c", "vcpuCount": 2}}, "201"),
        ("POST", "/v2/pods", "/v2/pods", {"name": "a", "image": "i"}, "400"),
        ("POST", "/v2/pods", "/v2/pods", {}, "422"),
        ("GET", "/v2/pods", "/v2/pods", None, "200"),
        ("GET", "/v2/pods/{id}", "/v2/pods/pod0000001", None, "200"),
        ("GET", "/v2/pods/{id}", "/v2/pods/none", None, "404"),
        ("POST", "/v2/clusters", "/v2/clusters", {"name": "c", "type": "RAY", "compute": compute}, "201"),
        ("GET", "/v2/clusters", "/v2/clusters", None, "200"),
        ("GET", "/v2/pods", "/v2/pods?includeClusterPods=true", None, "200"),
        (
            "POST",
            "/v2/network-volumes",
            "/v2/network-volumes",
            {"name": "v", "size": 10, "dataCenter": "EU-RO-1"},
            "201",
        ),
        ("GET", "/v2/network-volumes", "/v2/network-volumes", None, "200"),
        ("POST", "/v2/templates", "/v2/templates", {"name": "t", "image": "i"}, "201"),
        ("GET", "/v2/templates", "/v2/templates", None, "200"),
        ("POST", "/v2/registries", "/v2/registries", {"name": "r", "username": "u", "password": "p"}, "201"),
        ("GET", "/v2/registries", "/v2/registries", None, "200"),
        ("GET", "/v2/catalog/gpus", "/v2/catalog/gpus?include=AVAILABILITY&product=POD", None, "200"),
        ("GET", "/v2/catalog/gpus/{id}", f"/v2/catalog/gpus/{gpu['id']}", None, "200"),
        ("GET", "/v2/catalog/cpus", "/v2/catalog/cpus", None, "200"),
        ("GET", "/v2/catalog/datacenters", "/v2/catalog/datacenters", None, "200"),
        ("GET", "/v2/account/ssh-keys", "/v2/account/ssh-keys", None, "200"),
        ("GET", "/v2/billing/pods", "/v2/billing/pods", None, "200"),
        ("GET", "/v2/billing/pods", "/v2/billing/pods?bucketSize=hour&lastN=3&podId=pod0000001", None, "200"),
    ]
    try:
        for method, template, path, body, status in calls:
            cloud.clock.advance(300)  # what there is costs something on the bill
            with requests.Session() as session:
                session.trust_env = False
                headers = {"Authorization": f"Bearer {KEY}"}
                reply = session.request(method, cloud.url + path, json=body, headers=headers, timeout=PATIENCE_S)
            assert str(reply.status_code) == status, (path, reply.text)
            answer = published["paths"][template][method.lower()]["responses"][status]
            if "$ref" in answer:
                answer = published["components"]["responses"][answer["$ref"].rsplit("/", 1)[1]]
            schema = next(iter(answer["content"].values()))["schema"]
            whole = {**schema, "components": published["components"]}
            problems = list(jsonschema.Draft202012Validator(whole).iter_errors(reply.json()))
            assert problems == [], (path, problems[:2])
    finally:
        cloud.stop()
