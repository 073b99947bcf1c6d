"""The time limit of a TPU machine that has none of its own: a Cloud Tasks task that deletes it at the deadline.

It is armed before the machine is asked for. A task whose target is not there yet, or no more, gets a 404, which Cloud
Tasks counts as failing and repeats for a while: that also ends a machine which a late request makes after the deadline.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cloudtrain.errors import NotFound, Rejected, Unavailable
from cloudtrain.providers import ResourceState

from . import rest
from .errors import AlreadyThere
from .rest import TASKS
from .tpu_machine import find_queued, queued_path, rfc3339
from .tpu_startup import delete_url

QUEUE_NAME = "cloudtrain"
LONGEST_DAYS = 30  # how far ahead a task may be scheduled
RETRY = {"maxAttempts": 12, "minBackoff": "60s", "maxBackoff": "600s", "maxDoublings": 4}  # together an hour and a half


def queue_path(inputs: Mapping[str, Any]) -> str:
    """The queue's full name: its id here."""
    place = inputs["place"]
    return f"projects/{place['project']}/locations/{place['tasks']}/queues/{QUEUE_NAME}"


def task_path(inputs: Mapping[str, Any]) -> str:
    """The task's full name: its id here."""
    return f"{queue_path(inputs)}/tasks/{inputs['name']}"


def create_queue(inputs: Mapping[str, Any]) -> ResourceState:
    """Make the queue that all runs share. Raises provider errors."""
    path = queue_path(inputs)
    try:
        rest.call(TASKS, "POST", f"/{path.rpartition('/queues/')[0]}/queues", body={"name": path, "retryConfig": RETRY})
    except AlreadyThere:
        return status_queue(inputs, path)
    return ResourceState(path, "ready", "RUNNING")


def find_queue(inputs: Mapping[str, Any]) -> list[ResourceState]:
    """The queue, if it is there."""
    try:
        return [status_queue(inputs, queue_path(inputs))]
    except NotFound:
        return []


def status_queue(inputs: Mapping[str, Any], id: str) -> ResourceState:  # noqa: A002  # the seam's word
    """The queue with its state. Raises NotFound."""
    return ResourceState(id, "ready", str(named(id)["state"]))


def named(id: str) -> dict[str, Any]:  # noqa: A002
    """The document of a queue or a task. Raises NotFound, and Unavailable for an answer that is none."""
    document = rest.call(TASKS, "GET", f"/{id}")
    if document.get("name") != id:
        raise Unavailable(f"Cloud Tasks answered with something else than {id}", "try again")
    return document


def delete_queue(inputs: Mapping[str, Any], id: str) -> None:  # noqa: A002
    """Delete the queue with every task in it. Nothing in cloudtrain does; a person may."""
    rest.call(TASKS, "DELETE", f"/{id}")


def create_task(inputs: Mapping[str, Any]) -> ResourceState:
    """Arm the limit. Raises Rejected when the queue is paused, the deadline too far away or the name used up."""
    try:
        state = status_queue(inputs, queue_path(inputs)).message
    except NotFound:
        raise Unavailable(f"the Cloud Tasks queue {QUEUE_NAME} is not to be seen yet", "try again") from None
    if state != "RUNNING":
        fix = f"gcloud tasks queues resume {QUEUE_NAME} --location {inputs['place']['tasks']}"
        raise Rejected(f"the Cloud Tasks queue {QUEUE_NAME} is {state}: a time limit in it would never fire", fix)
    task = {
        "name": task_path(inputs),
        "scheduleTime": rfc3339(inputs["expires"]),
        "httpRequest": {
            "url": delete_url(queued_path(_target(inputs))),
            "httpMethod": "DELETE",
            "oauthToken": {"serviceAccountEmail": inputs["worker"], "scope": rest.SCOPE},
        },
    }
    try:
        rest.call(TASKS, "POST", f"/{queue_path(inputs)}/tasks", body={"task": task})
    except AlreadyThere as error:
        if found := find_task(inputs):
            return found[0]
        # Cloud Tasks keeps the name of a deleted or executed task for hours.
        raise Rejected(f"the time limit's name is used up: {error.message}", "start the run again") from None
    except NotFound as error:
        raise Unavailable(error.message, "try again") from None
    except Rejected as error:
        raise Rejected(error.message, f"a time limit reaches {LONGEST_DAYS} days; see `cloudtrain doctor`") from None
    return ResourceState(task_path(inputs), "ready", f"fires at {task['scheduleTime']}")


def find_task(inputs: Mapping[str, Any]) -> list[ResourceState]:
    """The task, if it has not fired with success and was not deleted."""
    try:
        return [status_task(inputs, task_path(inputs))]
    except NotFound:
        return []


def status_task(inputs: Mapping[str, Any], id: str) -> ResourceState:  # noqa: A002
    """The task with the time when it fires. Raises NotFound."""
    return ResourceState(id, "ready", f"fires at {named(id)['scheduleTime']}")


def delete_task(inputs: Mapping[str, Any], id: str) -> None:  # noqa: A002
    """Disarm the limit. Raises Rejected while what it guards still exists and is not being deleted."""
    guarded = find_queued(_target(inputs))
    if any(seen.state in ("building", "ready") for seen in guarded):
        raise Rejected(f"{id} is the time limit of {guarded[0].id}, which is still there", "delete that first")
    rest.call(TASKS, "DELETE", f"/{id}")


def _target(inputs: Mapping[str, Any]) -> dict[str, Any]:
    return {"place": inputs["place"], "name": inputs["target"], "tags": inputs["tags"], "api": "v2"}
