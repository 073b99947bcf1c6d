"""What a TPU machine does at every start: its job, and at the deadline its own end, with its own account's rights."""

from __future__ import annotations

from importlib.resources import files

ADDRESS = "https://tpu.googleapis.com"


def delete_path(queued_path: str) -> str:
    """The path at which a DELETE ends a queued resource together with its node."""
    return f"/v2/{queued_path}?force=true"


def delete_url(queued_path: str) -> str:
    """The same as a whole address."""
    return f"{ADDRESS}{delete_path(queued_path)}"


def startup_script(queued_path: str, deadline: float, job: str = "") -> str:
    """The script for one machine: its timer, `deadline` in epoch seconds, and the part that begins its job."""
    text = files("cloudtrain.templates").joinpath("machine", "tpu_startup.sh").read_text()
    return text.replace("@DEADLINE@", str(int(deadline))).replace("@PATH@", delete_path(queued_path)) + job
