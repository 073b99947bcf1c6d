"""A fault of the fakes: an answer that is cut in the middle, after the call was performed."""

from __future__ import annotations

import http.client
import urllib.request

import pytest

from cloudtrain.simulator.runpod import KEY, RunpodCloud
from tests.patience import PATIENCE_S


def test_an_answer_is_cut_in_the_middle_and_only_once() -> None:
    """The client sees a length that it does not get; the next answer is whole."""
    cloud = RunpodCloud()
    try:
        cloud.faults.add("listPods", "cut")
        request = urllib.request.Request(cloud.url + "/v2/pods", headers={"Authorization": f"Bearer {KEY}"})
        with pytest.raises(http.client.IncompleteRead), urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            answer.read()
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            assert answer.read()
        assert cloud.calls == ["listPods", "listPods"]
    finally:
        cloud.stop()
