"""Fakes of Google Cloud's services."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cloudtrain.simulator.gcp.whole import GoogleCloud


def roomy() -> GoogleCloud:
    """An account with room, at both APIs that rent machines: no quota is in the way."""
    from cloudtrain.simulator.gcp.whole import GoogleCloud

    return GoogleCloud()
