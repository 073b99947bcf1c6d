"""The fake Cloud Tasks: queues, and tasks that send their DELETE when the clock passes their time, and repeat it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.faults import Faults
from cloudtrain.simulator.gcp.tpu.catalog import ACT_AS, REGIONS, WORKER, Refusal, refusal
from cloudtrain.simulator.gcp.tpu.schema import instant, seconds

Document = dict[str, Any]
LONGEST_AHEAD_S = 30 * 86400.0
NAME_KEPT_S = 86400.0  # how long the name of a deleted or executed task cannot be used again
PAGE = 2
DEFAULT_RETRY: Document = {"maxAttempts": 100, "minBackoff": "0.1s", "maxBackoff": "3600s", "maxDoublings": 16}


@dataclass
class Task:
    """A task that waits for its time, or for its next attempt."""

    body: Document
    when: float
    hidden_until: float
    attempts: int = 0


@dataclass
class TaskState:
    """All regions of one project. `send(method, path, query)` performs what a task asks of the TPU API."""

    clock: Clock
    faults: Faults
    project: str
    send: Callable[[str, str, dict[str, list[str]]], None]
    queues: dict[str, Document] = field(default_factory=dict)
    tasks: dict[str, Task] = field(default_factory=dict)
    used: dict[str, float] = field(default_factory=dict)  # name -> until when it is not free

    def create_queue(self, call: str, parent: str, body: Document) -> Document:
        """Make a queue. Raises Refusal."""
        self._admit(call, parent)
        path = str(body.get("name", ""))
        if not re.fullmatch(re.escape(parent) + r"/queues/[A-Za-z0-9-]{1,100}", path):
            raise Refusal("INVALID_ARGUMENT", f"Queue name {path!r} does not go with {parent}.")
        if path in self.queues:
            raise Refusal("ALREADY_EXISTS", f"Queue '{path}' already exists.")
        self.queues[path] = {
            **body,
            "state": "RUNNING",
            "retryConfig": {**DEFAULT_RETRY, **body.get("retryConfig", {})},
        }
        return self.queues[path]

    def queue(self, path: str) -> Document:
        """The queue of a full name. Raises Refusal."""
        if path not in self.queues:
            raise Refusal("NOT_FOUND", "Queue does not exist.")
        return self.queues[path]

    def create_task(self, call: str, parent: str, body: Document) -> Document:
        """Put a task into a queue. Raises Refusal."""
        self._admit(call, parent.rpartition("/queues/")[0])
        self.queue(parent)
        task = dict(body.get("task", {}))
        path = str(task.get("name", ""))
        if not re.fullmatch(re.escape(parent) + r"/tasks/[A-Za-z0-9_-]{1,500}", path):
            raise Refusal("INVALID_ARGUMENT", f"Task name {path!r} does not go with the queue.")
        now = self.clock.now()
        if path in self.tasks or self.used.get(path, 0.0) > now:
            raise Refusal(
                "ALREADY_EXISTS", "The task cannot be created because a task with this name existed too recently."
            )
        when = max(now, instant(task["scheduleTime"])) if "scheduleTime" in task else now
        if when > now + LONGEST_AHEAD_S:
            raise Refusal("INVALID_ARGUMENT", "The schedule time is more than 30 days in the future.")
        _check_request(task.get("httpRequest", {}))
        stale = self.faults.take(call, "stale")
        task["scheduleTime"] = datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.tasks[path] = Task(task, when, now + stale.seconds if stale else 0.0)
        self.clock.at(when, lambda: self._fire(path))
        return task

    def task(self, path: str) -> Document:
        """The task of a full name. Raises Refusal."""
        if path not in self.tasks:
            raise Refusal("NOT_FOUND", "The task does not exist, or was executed or deleted.")
        return self.tasks[path].body

    def delete_task(self, call: str, path: str) -> Document:
        """Take a task out. Raises Refusal."""
        self.task(path)
        if self.faults.take(call, "refused"):
            raise refusal("refused")
        self._drop(path)
        return {}

    def page(self, parent: str, token: str) -> tuple[list[Document], str]:
        """One page of a queue's tasks, and the token of the next. Raises Refusal."""
        self.queue(parent)
        now = self.clock.now()
        mine = [t.body for name, t in self.tasks.items() if name.startswith(f"{parent}/") and t.hidden_until <= now]
        begin = int(token or 0)
        return mine[begin : begin + PAGE], str(begin + PAGE) if begin + PAGE < len(mine) else ""

    def _admit(self, call: str, region: str) -> None:
        if fault := self.faults.take(call, "quota", "permission", "balance"):
            raise refusal(fault.kind)
        if region not in {f"projects/{self.project}/locations/{name}" for name in REGIONS}:
            raise Refusal("NOT_FOUND", f"Location {region!r} is not a valid location.")

    def _fire(self, path: str) -> None:
        task = self.tasks.get(path)
        if task is None or task.when > self.clock.now():
            return
        retry = self.queues[path.rpartition("/tasks/")[0]]["retryConfig"]
        parts = urlsplit(task.body["httpRequest"]["url"])
        task.attempts += 1
        try:
            if self.faults.take("tasks.fire", "unavailable"):
                raise refusal("unavailable")
            self.send(task.body["httpRequest"]["httpMethod"], parts.path, parse_qs(parts.query))
        except Refusal:
            if task.attempts >= retry["maxAttempts"] > 0:
                self._drop(path)
                return
            pause_s = seconds(retry["minBackoff"]) * 2 ** min(task.attempts - 1, retry["maxDoublings"])
            task.when = self.clock.now() + min(pause_s, seconds(retry["maxBackoff"]))
            self.clock.at(task.when, lambda: self._fire(path))
            return
        self._drop(path)

    def _drop(self, path: str) -> None:
        del self.tasks[path]
        self.used[path] = self.clock.now() + NAME_KEPT_S


def _check_request(request: Document) -> None:
    parts = urlsplit(str(request.get("url", "")))
    if parts.scheme != "https" or not parts.netloc:
        raise Refusal("INVALID_ARGUMENT", "HttpRequest.url must be a full address.")
    if parts.netloc != "tpu.googleapis.com":
        raise Refusal("INVALID_ARGUMENT", f"this fake cannot reach {parts.netloc}")
    if request.get("body") and request.get("httpMethod") not in ("POST", "PUT", "PATCH"):
        raise Refusal("INVALID_ARGUMENT", "A body does not go with this method.")
    if request.get("oauthToken", {}).get("serviceAccountEmail") != WORKER:
        raise Refusal("PERMISSION_DENIED", ACT_AS)
