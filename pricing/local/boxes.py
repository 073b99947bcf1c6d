"""A machine of one's own that is not this one, as an offer."""

from __future__ import annotations

from decimal import Decimal

from cloudtrain.offer import Box, Limits, Offer, Price

ASSUMED_USD_PER_KWH = Decimal("0.20")
_BY_HAND = "it is not this machine: install cloudtrain on it"


def box_offer(box: Box, usd_per_kwh: Decimal) -> Offer:
    """The box, priced by its watts; where these are not known its power is not counted, and the note says so."""
    usd_per_hour, price, note = _power(box, usd_per_kwh)
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


def _power(box: Box, usd_per_kwh: Decimal) -> tuple[Decimal, Price, str]:
    if box.watts is None:
        return (
            Decimal(0),
            Price("settings", "", "its watts are not known", "SETTINGS"),
            "electricity not counted: --watts",
        )
    rate = usd_per_kwh or ASSUMED_USD_PER_KWH
    note = "" if usd_per_kwh else f"{rate} dollars per kWh are assumed: set electricity price"
    source = f"{box.watts} W at {rate} dollars per kWh{'' if usd_per_kwh else ', assumed'}"
    return box.watts / 1000 * rate, Price("settings", "", source, "SETTINGS"), note
