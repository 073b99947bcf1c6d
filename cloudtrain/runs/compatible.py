"""The last look before a question is asked: does what would be shipped work on the machines that would be rented."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cloudtrain.errors import NothingViable
from cloudtrain.quote import environments
from cloudtrain.seams import Stack, load

if TYPE_CHECKING:
    from cloudtrain.quote.line import Line
    from cloudtrain.quote.request import Request

Document = Callable[["Line"], Mapping[str, Any]]


def verdict(line: Line, request: Request, document: Document) -> environments.Verdict:
    """Of the job on a line's machine; `no` for a line without a recipe."""
    recipe, cloud = line.case.recipe, load("stacks", line.offer.provider, Stack).cloud
    if recipe is None:
        return environments.Verdict("no", "there is no recipe for it")
    image = cloud.image(document(line)) if cloud is not None else ""
    job = environments.Job(recipe.flavour, request.spec.family, request.method)
    return environments.verdict(job, line.offer.hardware, line.case.devices, image)


def that_work(lines: Sequence[Line], request: Request, document: Document, experimental: bool) -> list[Line]:
    """The lines on which a job can start and its environment works, in their order.

    Raises NothingViable, with the nearest thing that works, when there were lines and none of them does.
    """
    able = [line for line in lines if line.case.launch == "yes"]
    found = [(line, verdict(line, request, document)) for line in able]
    allowed = ("yes", "experimental") if experimental else ("yes",)
    working = [line for line, each in found if each.word in allowed]
    if able and not working:
        line, first = found[0]
        hint = f"nearest: {first.instead}" if first.instead else ""
        if first.word == "experimental":
            hint = f"--experimental tries it; {hint}" if hint else "--experimental tries it"
        raise NothingViable(f"{line.offer.name} at {line.offer.provider} would not run this job: {first.reason}", hint)
    return working
