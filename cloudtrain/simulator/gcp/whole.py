"""One project of the fake Google Cloud with both of the APIs that rent machines, behind a door each."""

from __future__ import annotations

from typing import Any

from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.gcp.compute import GceCloud
from cloudtrain.simulator.gcp.tpu import TpuCloud

QUICK_S = 0.1  # until a slice is granted, until it is ready, until it is gone: Google takes minutes


class GoogleCloud(GceCloud):
    """A Compute Engine with `slices` beside it: the Cloud TPU API, with the same clock and room for machines."""

    slices: TpuCloud | None = None

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__(clock)
        self.slices = TpuCloud(self.clock)
        self._join()

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "machines_run" and self.slices is not None:
            self.slices.machines_run = value

    def reset(self, clock: Clock | None = None) -> None:
        super().reset(clock)
        if self.slices is not None:
            self.slices.reset(self.clock)
            self._join()

    def _join(self) -> None:
        assert self.slices is not None
        self.slices.room, self.slices.tpu.quotas = self.room, self.quotas
        self.slices.tpu.wait_s = self.slices.tpu.boot_s = self.slices.tpu.delete_s = QUICK_S

    def environment(self) -> dict[str, str]:
        assert self.slices is not None
        return {**self.slices.environment(), **super().environment()}

    def leftovers(self) -> list[str]:
        assert self.slices is not None
        return [*super().leftovers(), *self.slices.leftovers()]

    def stop(self) -> None:
        super().stop()
        if self.slices is not None:
            self.slices.stop()
