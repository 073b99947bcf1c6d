"""Fakes of Google Cloud's services."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cloudtrain.simulator.gcp.compute import GceCloud


def roomy() -> GceCloud:
    """An account with room: no quota is in the way."""
    from cloudtrain.simulator.gcp.compute import GceCloud

    return GceCloud()
