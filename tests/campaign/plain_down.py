"""`python -m tests.campaign.plain_down RUN`: what Pulumi alone offers after a crash, cancel and destroy."""

from __future__ import annotations

import sys
from importlib import import_module

from cloudtrain import settings
from cloudtrain.state.store import open_store

if __name__ == "__main__":
    engine = import_module("cloudtrain.stacks._pulumi.engine").Engine(open_store(settings.load().state), sys.argv[1])
    if engine.exists():
        engine.cancel()
        engine.destroy()
