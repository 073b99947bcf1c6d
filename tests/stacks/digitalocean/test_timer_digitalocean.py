"""The script that a droplet is sent: its timer ends the work at the deadline, also after a reboot, and not the price."""

from __future__ import annotations

import time
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest

from cloudtrain.providers import Stack, load
from cloudtrain.simulator.digitalocean import DigitaloceanCloud
from tests.patience import until
from tests.stacks.digitalocean.digitalocean_world import LINE

BODY = {"name": "ct-x", "region": LINE.region, "size": LINE.offer, "image": "gpu-amd-base", "tags": []}


@pytest.fixture
def fake() -> Iterator[DigitaloceanCloud]:
    """A fake whose droplets are real processes."""
    load("stacks", "digitalocean", Stack)
    fake = DigitaloceanCloud()
    fake.machines_run = True
    yield fake
    fake.stop()


def made(fake: DigitaloceanCloud, seconds: float, job: str = "") -> Any:
    """A droplet that runs, with a deadline in so many seconds."""
    script = import_module("cloudtrain.stacks.digitalocean.droplets").user_data(time.time() + seconds, job)
    with fake.clock.lock:
        droplet = fake.place({**BODY, "user_data": script})
    fake.keep_time()
    return droplet


def is_off(fake: DigitaloceanCloud, droplet: Any) -> bool:
    return bool(droplet.status(fake.clock.now()) == "off")


def test_the_deadline_switches_it_off_and_its_price_stays(fake: DigitaloceanCloud) -> None:
    droplet = made(fake, 1.5, "echo working\n")
    until(lambda: is_off(fake, droplet))
    assert fake.clock.now() >= droplet.created + 0.5
    assert fake.room.console(str(droplet.id)) == "working\n"
    assert [entry.usd_per_hour for entry in fake.ledger.running()] == [2.46]


def test_the_timer_comes_back_after_a_reboot(fake: DigitaloceanCloud) -> None:
    """A script of the first boot does not run at others, so it leaves itself behind."""
    droplet = made(fake, 3600.0, 'echo up; [ -e "$HOME/again" ] && echo due; touch "$HOME/again"\n')
    until(lambda: "up" in fake.room.console(str(droplet.id)))
    box = fake.room.running[str(droplet.id)]
    (kept,) = (box.folder / "per-boot").iterdir()
    text = kept.read_text()
    kept.write_text(text.replace(text.partition("deadline=")[2].partition("\n")[0], str(int(time.time()))))
    with fake.clock.lock:
        fake.restart(str(droplet.id))
    until(lambda: is_off(fake, droplet))
    assert fake.room.console(str(droplet.id)).split() == ["up", "up", "due"]


def test_a_clock_that_is_behind_is_heeded(fake: DigitaloceanCloud) -> None:
    """What the job knows of it lies in a file."""
    droplet = made(fake, 3600.0, 'mkdir -p "$CLOUDTRAIN_HOME"; echo 4000 >"$CLOUDTRAIN_HOME/ahead"; reboot\n')
    until(lambda: is_off(fake, droplet))


def test_it_fits_into_user_data() -> None:
    """64 KiB, with the first program and a signed address."""
    load("stacks", "digitalocean", Stack)
    droplets, boot = (
        import_module(f"cloudtrain.stacks.{name}") for name in ("digitalocean.droplets", "_lifecycle.boot")
    )
    assert len(droplets.user_data(2e9, boot.program() + "x" * 4096)) < 40_000
