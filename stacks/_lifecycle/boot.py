"""What a machine is sent to start its job by itself: the first program, and the address of the run's ticket.

The address is made when the machine is: journal and state hold only the ticket's key. It is the same in a repeat.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cloudtrain.plan import Plan


def inputs(plan: Plan) -> dict[str, Any]:
    """What a machine's inputs hold for its job: {"boot": {"ticket": key, "signed_at": ...}}; empty without a job."""
    return {} if plan.boot is None else {"boot": dict(plan.boot)}


def program() -> str:
    """The text of the first program."""
    from importlib.resources import files

    return files("cloudtrain.templates").joinpath("machine", "boot.py").read_text()


def ticket_url(given: Mapping[str, Any]) -> str:
    """The signed address of the ticket; "" for a machine without a job. Raises UsageError, BucketDenied."""
    if not given.get("boot"):
        return ""
    from cloudtrain.signing import urls

    return urls.ticket_url(given)


def shell(given: Mapping[str, Any], over: str) -> str:
    """The part of a start script that begins the job; `over` is the command that ends the machine. "" without a job."""
    url = ticket_url(given)
    if not url:
        return ""
    from importlib.resources import files

    if not url.isprintable() or "'" in url:
        raise ValueError("the ticket's address cannot stand in a script")
    text = files("cloudtrain.templates").joinpath("machine", "job.sh").read_text()
    return text.replace("@OVER@", over).replace("@TICKET@", url).replace("@BOOT@", program().rstrip("\n"))
