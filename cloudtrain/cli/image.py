"""`cloudtrain image`: the trainer as a container image, for places that start containers."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from cloudtrain.cli.options import output_option
from cloudtrain.cli.output import print_json, print_message, print_rows
from cloudtrain.cli.tables import Column, figure
from cloudtrain.units import GB

F = TypeVar("F", bound=Callable[..., Any])
COLUMNS = (Column("image"), Column("flavour"), figure("size"), Column("created", fold=False, drop=1),
           Column("PyTorch", drop=2), Column("current"))  # fmt: skip


@click.group("image")
def command() -> None:
    """Build, push and list the trainer's container images. A run does not need one: it can make its environment."""


def recipe_options(function: F) -> F:
    """What decides an image, for every command that names one."""
    for option in (
        click.option(
            "--engine",
            type=click.Choice(["podman", "docker"]),
            help="The container engine.  [default: the one that runs]",
        ),
        click.option(
            "--torch",
            type=click.Choice(["index", "pypi", "base"]),
            default="index",
            show_default=True,
            help="PyTorch from its own index, PyPI's build (4 GB more, NVIDIA's libraries), or what --base has.",
        ),
        click.option("--base", default="", metavar="IMAGE", help="Base image with Python 3.11 or later."),
        click.option("--flavour", default="cpu", show_default=True, help="cpu, longcat or rocm."),
    ):
        function = option(function)
    return function


@command.command("build")
@recipe_options
@click.option(
    "--wheels",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Folder with PyTorch's wheel, where its index cannot be reached.",
)
def build(flavour: str, base: str, torch: str, engine: str | None, wheels: Path | None) -> None:
    """Build the image of --flavour with podman or docker, unless it is here; prints its name."""
    from cloudtrain.trainer import container_engine, image

    recipe = image.Recipe(flavour, base, torch)
    named = next((os.environ[name] for name in image.CERTIFICATES if os.environ.get(name)), None)
    certificates = Path(named) if named and Path(named).is_file() else None
    click.echo(image.build(container_engine.find(engine), recipe, wheels, certificates, print_message))


@command.command("push")
@recipe_options
@click.option("--registry", metavar="HOST/PATH", help="Target registry.  [default: the setting `registry`]")
def push(flavour: str, base: str, torch: str, engine: str | None, registry: str | None) -> None:
    """Push the image of --flavour, unless the registry has it; prints the name there, with its digest."""
    from cloudtrain import settings
    from cloudtrain.trainer import container_engine, image

    recipe = image.Recipe(flavour, base, torch)
    where = settings.load(flags={"registry": registry}).registry
    click.echo(image.push(container_engine.find(engine), recipe, where, print_message))


@command.command("ls")
@click.option(
    "--engine", type=click.Choice(["podman", "docker"]), help="The container engine.  [default: the one that runs]"
)
@output_option()
def ls(engine: str | None, output: str) -> None:
    """The trainer images on this machine. Current: this version would build the same."""
    from cloudtrain.trainer import container_engine, image

    images = image.here(container_engine.find(engine))
    if output == "json":
        print_json([document(one) for one in images])
        return
    print_rows(output, COLUMNS, [row(one, output) for one in images])
    if not images and output == "table":
        print_message("no image is here; `cloudtrain image build` makes one")


def document(image: Any) -> dict[str, Any]:
    """An image for JSON; see `cloudtrain schema image`."""
    return {
        "names": list(image.names),
        "flavour": image.flavour,
        "size_bytes": image.size_bytes,
        "created_at": image.created,
        "lock_hash": image.lock_hash,
        "torch": image.torch,
        "current": image.current,
    }


def row(image: Any, output: str) -> list[Any]:
    """An image for a person, or exact numbers for CSV."""
    size = image.size_bytes if output == "csv" else f"{image.size_bytes / GB:.2f} GB"
    current = "yes" if image.current else "no"
    return [" ".join(image.names), image.flavour, size, image.created[:19], image.torch, current]
