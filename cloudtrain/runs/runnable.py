"""The last check before the launch: does what would be shipped work on the machines that would be rented."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cloudtrain.errors import NothingViable
from cloudtrain.providers import Stack, load
from cloudtrain.quote.engine import environment_verdict
from cloudtrain.quote.machine import environments

if TYPE_CHECKING:
    from cloudtrain.quote.request import Request
    from cloudtrain.quote.row import QuoteRow


def verdict(line: QuoteRow, request: Request) -> environments.Verdict:
    """Of the job on a line's machine; `no` where no stack can start it."""
    stack, recipe = load("stacks", line.offer.provider, Stack), line.assessment.recipe
    if recipe is None or recipe.backend not in stack.backends:
        return environments.Verdict("no", "`up` cannot start a job there yet")
    return environment_verdict(request, line.offer, line.assessment, stack)


def runnable_rows(lines: Sequence[QuoteRow], request: Request, experimental: bool) -> list[QuoteRow]:
    """The lines on which a job can start and its environment works, in their order.

    Raises NothingViable, with the nearest thing that works, when there were lines and none of them does.
    """
    found = [(line, verdict(line, request)) for line in lines]
    allowed = ("yes", "experimental") if experimental else ("yes",)
    working = [line for line, each in found if each.word in allowed]
    if found and not working:
        line, first = next(((line, each) for line, each in found if each.instead), found[0])
        hint = f"nearest: {first.instead}" if first.instead else ""
        if first.word == "experimental":
            hint = f"--experimental tries it; {hint}" if hint else "--experimental tries it"
        raise NothingViable(f"{line.offer.name} at {line.offer.provider} would not run this job: {first.reason}", hint)
    return working
