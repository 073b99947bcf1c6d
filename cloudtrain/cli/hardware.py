"""`cloudtrain hardware`: machines of one's own, which every quote then shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cloudtrain.cli import words
from cloudtrain.cli.options import Memory, Watts, output_option
from cloudtrain.cli.output import print_json, print_message, print_rows
from cloudtrain.cli.tables import Column, figure
from cloudtrain.errors import UsageError
from cloudtrain.units import GIB, gib

if TYPE_CHECKING:
    from cloudtrain.offer import Box

COLUMNS = (Column("name"), Column("hardware"), figure("number"), figure("memory"), figure("watts"))


@click.group("hardware", short_help="Keep the machines that you own: every quote shows them.")
def command() -> None:
    """Keep the machines that you own, wherever they stand: every quote has a row for each."""


@command.command("list")
@output_option()
def list_(output: str) -> None:
    """The machines that are kept."""
    from cloudtrain.quote.boxes import box_of
    from cloudtrain.settings import boxes

    found = [(machine.hardware, box_of(machine)) for machine in boxes.read()]
    if output == "json":
        print_json([document(name, box) for name, box in found])
        return
    rows = [[name, box.hardware, box.count, gib(box.memory_bytes), box.watts or "-"] for name, box in found]
    print_rows(output, COLUMNS, rows)
    if output == "table" and not found:
        print_message("none is kept: cloudtrain hardware add NAME[:N]")


@command.command("add")
@click.argument("name", metavar="NAME[:N]", shell_complete=words.hardware)
@click.option(
    "--memory", "memory_bytes", type=Memory(), help="What each chip has, or a processor's machine in all: 128GB."
)
@click.option("--watts", type=Watts(), help="What all of it draws while it trains.")
def add(name: str, memory_bytes: int | None, watts: Any) -> None:
    """Keep a machine, for example `RX 7900 XTX`, mi210:2, `M4 Max` --memory 128GB, cpu-zen:64 --memory 256GB."""
    from cloudtrain.quote.boxes import box_of
    from cloudtrain.settings import boxes

    memory = "" if memory_bytes is None else f"{memory_bytes / GIB:g}GiB"
    machine = boxes.Kept(name.strip(), memory, "" if watts is None else f"{watts:f}")
    box = box_of(machine)
    others = tuple(other for other in boxes.read() if other.hardware != machine.hardware)
    boxes.write((*others, machine))
    print_message(f"kept: {box.count} x {box.title}, {gib(box.memory_bytes)}; every quote shows it")


@command.command("forget")
@click.argument("name", metavar="NAME[:N]")
def forget(name: str) -> None:
    """Take a machine out again, by the name under which it is listed."""
    from cloudtrain.settings import boxes

    machines = boxes.read()
    others = tuple(machine for machine in machines if machine.hardware != name.strip())
    if len(others) == len(machines):
        raise UsageError(f"no machine `{name}` is kept", "`cloudtrain hardware list` shows the names")
    boxes.write(others)
    print_message("forgotten")


def document(name: str, box: Box) -> dict[str, Any]:
    """A machine for JSON; see `cloudtrain schema hardware`."""
    return {
        "name": name,
        "hardware": box.hardware,
        "count": box.count,
        "memory_bytes": box.memory_bytes,
        "watts": None if box.watts is None else float(box.watts),
    }
