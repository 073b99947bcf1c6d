"""What is owned, for what its power costs: this machine's processor, each set of accelerators in it, other boxes."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from cloudtrain.offer import Offer, Range, Terms
from cloudtrain.providers import Context, PriceSource

from .boxes import box_offer
from .detection import accelerators
from .power import electricity, of_chips, of_cores
from .processor import Processor, processor
from .system import System, this_system

NAME = "this machine"  # never the host name: quotes are pasted into issues and reports


def offers(context: Context) -> Iterable[Offer]:
    """This machine as offers, the processor first, then one per kind of accelerator; then other boxes. None is rented.

    A box that is like a part of this machine, by what was said of it, is that part.
    """
    here = machine_offers(context, this_system())
    kinds = {(offer.hardware, offer.count) for offer in here}
    elsewhere = (
        box for box in context.boxes if box.said or box.watts is not None or (box.hardware, box.count) not in kinds
    )
    return [*here, *(box_offer(box, context.usd_per_kwh) for box in elsewhere)]


def machine_offers(context: Context, system: System) -> list[Offer]:
    """`system` as offers, each priced by what it draws: as the settings say, else as is assumed of it."""
    host = processor(system)
    probe = context.probe
    if probe and (probe.hardware, probe.cores) != (host.hardware, host.cores):
        probe = None  # of before a limit, a move or another processor
    cores = of_cores(*_cores(host))
    rows = [(NAME, host.hardware, host.cores, host.ram_bytes, host.note, cores)]
    for device, count in accelerators(system).items():
        name, usual = f"{NAME}: {count} x {device.name}", of_chips(device.hardware or device.name.lower(), count)
        rows.append((name, device.hardware, count, device.memory_bytes, device.note, usual))
    priced = [(row, electricity(context.watts, row[-1], context.usd_per_kwh)) for row in rows]
    return [
        Offer(
            provider="local",
            name=name,
            region="",
            zone="",
            hardware=hardware,
            count=count,
            memory_bytes=memory_bytes,
            vcpus=host.cores,
            host_memory_bytes=host.ram_bytes or None,
            market="owned",
            usd_per_hour=usd_per_hour,
            price=price,
            note="; ".join(part for part in (note, assumed) if part),
            products=probe.products if probe and name == NAME else None,
            threads_per_core=host.threads_per_core if name == NAME else None,
        )
        for (name, hardware, count, memory_bytes, note, _), (usd_per_hour, price, assumed) in priced
    ]


def _cores(host: Processor) -> tuple[int, str]:
    """How many cores of its own the processor has, or how many vCPUs where nobody says how many of these share one."""
    if host.threads_per_core is None:
        return host.cores, "vCPU"
    return -(-host.cores // host.threads_per_core), "core"


provider = PriceSource(
    "local",
    offers,
    owned=True,
    terms=Terms(
        boot_s=Range(0, 0, 0),
        image_bytes_per_s=Range(5e6, 25e6, 100e6),
        download_bytes_per_s=Range(5e6, 25e6, 100e6),
        disk_usd_per_gb_month=Decimal(0),
        address_usd_per_hour=Decimal(0),
        egress_usd_per_gb=Decimal(0),
        minimum_billed_s=0,
        source="nothing is rented; the download rate of 5 to 100 MB/s is a guess at a home or office line",
        image_needed=False,
        sees_client_files=True,
    ),
)
