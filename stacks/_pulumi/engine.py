"""The one interface to the Pulumi engine: a run's own Pulumi stack and its operations.

A run's Pulumi stack is under `runs/<id>/pulumi` of the state: the backend, and on this machine a work folder
with the project file that names our plugin, and a home. Nothing of the user's own Pulumi is touched.
"""

from __future__ import annotations

import json
import os
import sysconfig
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloudtrain.errors import Unavailable, UsageError
from cloudtrain.providers import Resource, Stack, load
from cloudtrain.settings import cache_folder

from . import checkpoint
from . import command as pulumi_command
from .stack import open_stack

if TYPE_CHECKING:
    from cloudtrain.state.protocol import Store

PROJECT = "cloudtrain"
DONE = {"create": "created", "delete": "deleted", "update": "ready", "same": "there already", "refresh": "refreshed"}
PLUGIN = "pulumi-resource-cloudtrain"
CHECKPOINT = 3  # the version of a stack's record of which `nothing_pending` knows the shape


class Engine:
    """Operations on one run's stack. Each raises Unavailable with the engine's words when the engine refuses."""

    def __init__(self, store: Store, run: str, log: Callable[[str], None] = lambda text: None) -> None:
        self.store = store
        self.run = run
        self.log = log
        self.work = work_folder(store, run)

    def up(self, cloud: str, resources: Sequence[Resource]) -> dict[str, Any]:
        """Make the resources; returns role -> {id, outputs}."""
        self.refuse_foreign()
        made: dict[str, Any] = {}
        stack = self.stack(program(cloud, resources, made))
        self.operate(lambda: stack.up(on_event=self.tell, show_secrets=False))
        if missing := {resource.role for resource in resources} - made.keys():
            raise Unavailable(f"the Pulumi engine did not say what it made as {sorted(missing)}", "repeat the command")
        return made

    def preview(self, cloud: str, resources: Sequence[Resource]) -> dict[str, int]:
        """What `up` would do, counted by the engine; makes nothing."""
        stack = self.stack(program(cloud, resources, {}))
        return dict(self.operate(stack.preview).change_summary)

    def destroy(self) -> None:
        """Delete what the state knows. One failure does not keep the others alive."""
        self.refuse_foreign()
        self.operate(lambda: self.stack().destroy(on_event=self.tell, continue_on_error=True, show_secrets=False))

    def clear(self) -> None:
        """Look at what is left in the state, and drop the creates that never finished, if there are any."""
        self.refuse_foreign()
        if self.nothing_pending():
            return
        self.operate(lambda: self.stack().refresh(clear_pending_creates=True, show_secrets=False))

    def cancel(self) -> None:
        """Remove the locks. Only when their owner is dead: a living update would not notice."""
        self.operate(lambda: self.stack().cancel())

    def pending(self) -> list[tuple[str, dict[str, Any]]]:
        """(kind, inputs) of every create that was begun and has no end in the state."""
        self.refuse_foreign()
        if self.nothing_pending():
            return []
        exported = self.operate(lambda: self.stack().export_stack()).deployment or {}
        found = []
        for operation in exported.get("pending_operations") or ():
            properties = operation["resource"].get("inputs") or {}
            if operation["type"] == "creating" and "kind" in properties:
                found.append((properties["kind"], inputs_of(properties)))
        return found

    def nothing_pending(self) -> bool:
        """Whether the state says, in a known shape, that no operation is pending.

        It is read where the engine keeps it, which spares a process that would say the same. One that is packed,
        damaged or of another version says nothing: then the engine is asked.
        """
        try:
            document = json.loads(self.store.read(f"{self.stack_folder}/{self.run_stack}.json") or b"")
            latest = document["checkpoint"].get("latest") or {}
            return document["version"] == CHECKPOINT and not latest.get("pending_operations")
        except (ValueError, KeyError, TypeError, AttributeError):
            return False

    def refuse_foreign(self) -> None:
        """Raises UsageError for a state that the engine must not be given: it runs code for what a type names."""
        for name in self.store.children(self.stack_folder):
            if why := checkpoint.foreign(self.store.read(f"{self.stack_folder}/{name}") or b""):
                words = "its machines are looked for at the provider all the same"
                raise UsageError(f"the engine's state of run `{self.run}` is not used: {why}", words)

    def exists(self) -> bool:
        """Whether the backend holds a stack of this run."""
        return bool(self.store.children(self.stack_folder))

    def forget(self) -> None:
        """Remove the stack and its work folder. Only when nothing of it is left."""
        import shutil

        self.store.delete(f"runs/{self.run}/pulumi")
        shutil.rmtree(self.work, ignore_errors=True)

    def operate(self, work: Callable[[], Any]) -> Any:
        """Do one operation in a worker thread. Raises KeyboardInterrupt when it was interrupted, after its end."""
        from pulumi.automation.errors import CommandError

        self.command.interrupted = False
        try:
            return pulumi_command.in_worker(work, self.command.stop)
        except CommandError as error:
            raise Unavailable(f"the Pulumi engine refused: {error_lines(str(error))}", "repeat the command") from None

    @cached_property
    def command(self) -> Any:
        """The CLI, found once."""
        return pulumi_command.safe_command(pulumi_command.find(), self.work)

    def stack(self, program: Callable[[], None] | None = None) -> Any:
        """The run's stack: with a program, made when it is not there; without, for what the state alone can do."""
        (self.work / "Pulumi.yaml").write_text(project_file())
        there = any(f"{self.run_stack}{end}" in self.store.children(self.stack_folder) for end in (".json", ".json.gz"))
        return open_stack(
            self.run_stack,
            new=program is not None and not there,
            program=program,
            work_dir=str(self.work),
            pulumi_command=self.command,
            pulumi_home=str(self.work / "home"),
            env_vars=self.environment(),
        )

    @property
    def stack_folder(self) -> str:
        """The state key below which the engine keeps the stack's record and its copies."""
        return f"runs/{self.run}/pulumi/.pulumi/stacks/{PROJECT}"

    @property
    def plugin_folder(self) -> Path:
        """Where our plugins of this run leave their pid files."""
        return self.work / "plugins"

    @property
    def run_stack(self) -> str:
        """The stack's name: the run's, made plain."""
        return stack_name(self.run)

    def environment(self) -> dict[str, str]:
        """Quiet, offline, ours; credentials reach the plugin through the environment that it inherits."""
        return {
            "PULUMI_BACKEND_URL": backend_url(self.store, self.run),
            "PULUMI_CONFIG_PASSPHRASE": "",  # no secret ever enters the state, so there is nothing to protect
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
            "CLOUDTRAIN_STATE": self.store.url,
            "CLOUDTRAIN_PLUGIN_RUN": self.run,
            "CLOUDTRAIN_PLUGIN_PIDS": str(self.plugin_folder),
        }

    def tell(self, event: Any) -> None:
        """The engine's event as a line of progress, if it is one."""
        diagnostic = getattr(event, "diagnostic_event", None)
        if diagnostic is not None and diagnostic.severity == "info" and diagnostic.message.strip():
            self.log(diagnostic.message.strip())
        done = getattr(event, "res_outputs_event", None)
        if done is not None and done.metadata.type.startswith(f"{PROJECT}:"):
            _, cloud, kind = done.metadata.type.split(":")
            verb = str(done.metadata.op.value)
            word = "kept, it is shared" if verb == "delete" and is_shared(cloud, kind) else DONE.get(verb, verb)
            self.log(f"{done.metadata.urn.rpartition('::')[2]}: {word}")


def is_shared(cloud: str, kind: str) -> bool:
    """Whether a thing of this kind belongs to all runs."""
    record = load("stacks", cloud, Stack).cloud
    return record is not None and kind in record.drivers and record.drivers[kind].shared


def program(cloud: str, resources: Sequence[Resource], made: dict[str, Any]) -> Callable[[], None]:
    """The resources as a Pulumi program, which fills `made` with role -> {id, outputs} as they come to exist.

    Each is exported too, as JSON: the engine does not end a program before its exports are known.
    """

    def run() -> None:
        import pulumi

        declared: dict[str, Any] = {}
        for resource in resources:
            declared[resource.role] = _declared(pulumi, cloud, resource, declared)
            both = pulumi.Output.all(declared[resource.role].id, declared[resource.role].outputs)

            def keep(pair: Sequence[str], role: str = resource.role) -> str:
                made[role] = {"id": pair[0], "outputs": json.loads(pair[1] or "{}")}
                return json.dumps(made[role])

            pulumi.export(resource.role, both.apply(keep))

    return run


def _declared(pulumi: Any, cloud: str, resource: Resource, made: Mapping[str, Any]) -> Any:
    properties = {
        "cloud": cloud,
        "kind": resource.kind,
        "inputs": json.dumps(dict(resource.inputs), sort_keys=True),
        "needs": {role: {"id": made[role].id, "outputs": made[role].outputs} for role in resource.after},
        "outputs": None,
    }

    class Declared(pulumi.CustomResource):  # type: ignore[misc]
        outputs: Any

    kind = f"{PROJECT}:{cloud}:{resource.kind}"
    depends = pulumi.ResourceOptions(depends_on=[made[role] for role in resource.after])
    return Declared(kind, resource.role, properties, depends)


def inputs_of(properties: dict[str, Any]) -> dict[str, Any]:
    """A driver's inputs out of a resource's properties: the JSON text, and the outputs of what it needs."""
    inputs: dict[str, Any] = json.loads(properties["inputs"])
    needs = properties.get("needs") or {}
    made = {role: {**json.loads(need.get("outputs") or "{}"), "id": need["id"]} for role, need in needs.items()}
    return {**inputs, "needs": made} if made else inputs


def stack_name(run: str) -> str:
    """A run's name as the engine accepts it for a stack."""
    import re

    return re.sub(r"[^A-Za-z0-9_.-]", "-", run)[:100]


def work_folder(store: Store, run: str) -> Path:
    """The run's folder on this machine for project file, home and pids; private, because a home holds a log."""
    folder = cache_folder() / "engine" / _digest(f"{store.url}/{run}")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def _digest(text: str) -> str:
    import hashlib

    return hashlib.sha256(text.encode()).hexdigest()[:16]


def backend_url(store: Store, run: str) -> str:
    """Where the engine keeps the stack: inside the run's part of the state, wherever that is."""
    if store.url.partition("://")[0] in ("s3", "gs"):
        from urllib.parse import urlencode

        from cloudtrain.state.address import parse

        address = parse(store.url)
        query = {"region": address.region} if address.region else {}
        if address.endpoint and address.scheme == "s3":
            query |= {"endpoint": address.endpoint, "disableSSL": "true", "s3ForcePathStyle": "true"}
        return store.place(f"runs/{run}/pulumi") + (f"?{urlencode(query)}" if query else "")
    folder = store.folder(f"runs/{run}/pulumi")
    folder.mkdir(parents=True, exist_ok=True)
    return f"file://{folder}"


def project_file() -> str:
    """Pulumi.yaml, naming the folder that holds our plugin. Raises UsageError when the plugin is not installed."""
    for folder in _script_folders():
        if os.access(folder / PLUGIN, os.X_OK):
            where = json.dumps(str(folder))
            return f"name: {PROJECT}\nruntime: python\nplugins:\n  providers:\n  - name: {PROJECT}\n    path: {where}\n"
    raise UsageError(f"`{PLUGIN}` is not next to this Python", "install cloudtrain again")


def _script_folders() -> Iterator[Path]:
    import sys

    yield Path(sysconfig.get_path("scripts"))
    yield Path(sys.argv[0]).absolute().parent


def error_lines(text: str) -> str:
    """The lines of the engine's output that say what went wrong."""
    lines = [line.strip() for line in text.splitlines() if "error" in line.lower() and "diagnostic" not in line.lower()]
    return " ".join(dict.fromkeys(lines))[:600] or text.strip()[-300:]
