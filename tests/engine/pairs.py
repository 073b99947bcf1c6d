"""Which pairs of a behaviour and a cloud the gate plays; every other pair is left to the soak, as the same test."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from tests.campaign.clouds import TARGETS


def gate(*names: str, of: Iterable[str] = TARGETS, fixture: str = "target") -> pytest.MarkDecorator:
    """A test on each cloud of `of`, of which the gate plays those that are named."""
    clouds = sorted(of)
    assert set(names) <= set(clouds), names
    params = [pytest.param(name, marks=() if name in names else pytest.mark.soak) for name in clouds]
    return pytest.mark.parametrize(fixture, params, indirect=True)
