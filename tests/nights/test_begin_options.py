"""What a night's `up` is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cloudtrain.nights.begin import Beginner
from cloudtrain.nights.options import TickOptions


def test_a_night_longer_than_its_credentials_goes_on_in_segments() -> None:
    """A job's credentials end after twelve hours at the latest, and nobody is there to say so."""
    missing: Any = None
    fields = dict.fromkeys(Beginner.__dataclass_fields__, missing)
    options = TickOptions(Path("cloudtrain.yaml"), "nightly")
    told = Beginner(**{**fields, "options": options}).up_options("nightly-1")
    assert told.segments
    assert told.detach
