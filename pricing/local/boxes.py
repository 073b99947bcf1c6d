"""A machine of one's own that is not this one, as an offer."""

from __future__ import annotations

from decimal import Decimal

from cloudtrain.offer import Box, Limits, Offer

from .power import electricity, of_chips, of_cores

_BY_HAND = "it is not this machine: install cloudtrain on it"


def box_offer(box: Box, usd_per_kwh: Decimal | None) -> Offer:
    """The box, priced by its watts; where these are not said by what is assumed of such a one, and the note says so."""
    usual = of_cores(box.count, "vCPU") if box.is_host else of_chips(box.hardware, box.count)
    usd_per_hour, price, note = electricity(box.watts, usual, usd_per_kwh, "--watts")
    # with its key, which is what a row's id is made of
    title = box.title if box.title.lower() == box.hardware else f"{box.title} ({box.hardware})"
    return Offer(
        provider="local",
        name="owned: " + (title if box.is_host else f"{box.count} x {title}"),
        region="",
        zone="",
        hardware=box.hardware,
        count=box.count,
        memory_bytes=box.memory_bytes,
        vcpus=box.count if box.is_host else None,
        host_memory_bytes=box.memory_bytes if box.is_host else None,
        market="owned",
        usd_per_hour=usd_per_hour,
        price=price,
        limits=Limits(by_hand=_BY_HAND),
        note="; ".join(part for part in (box.note, note) if part),
    )
