"""`pulumi-resource-cloudtrain`: the provider plugin that the Pulumi engine starts, on its raw protocol.

One resource is `{cloud, kind, inputs (JSON text), needs}`; what is done with it is `_crud.py`. The engine passes its
own address as the only argument and reads our port from the first line of stdout. It sends Cancel and SIGINT at the
end of every operation, also of a successful one. When its end of our stdin closes, it is dead: we make nothing more.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import any_pb2, empty_pb2, struct_pb2
from google.rpc import status_pb2  # not the SDK's copy: two of one name cannot live in a process with Google's clients
from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc, plugin_pb2, provider_pb2_grpc
from pulumi.runtime.proto import provider_pb2 as protocol

from cloudtrain import __version__
from cloudtrain.errors import CloudtrainError
from cloudtrain.providers import ResourceState, Stack, load

from .._lifecycle import crud
from .._lifecycle.journal import Journal
from .engine import inputs_of

THREADS = 8
RUN_VARIABLE, STATE_VARIABLE, PID_VARIABLE = "CLOUDTRAIN_PLUGIN_RUN", "CLOUDTRAIN_STATE", "CLOUDTRAIN_PLUGIN_PIDS"


class Plugin(provider_pb2_grpc.ResourceProviderServicer):
    """The protocol's calls. `stopping` is set by Cancel, SIGINT and the death of the engine."""

    def __init__(self, engine: str) -> None:
        self.engine = engine
        self.stopping = threading.Event()
        self._log: Any = None

    def Handshake(self, request: Any, context: Any) -> Any:
        """The engine's address, if it was not on the command line."""
        self.engine = request.engine_address or self.engine
        return protocol.ProviderHandshakeResponse(accept_secrets=True)

    def Attach(self, request: Any, context: Any) -> Any:
        """The engine's address, when it found us running already."""
        self.engine = request.address
        return empty_pb2.Empty()

    def GetPluginInfo(self, request: Any, context: Any) -> Any:
        """Our version."""
        return plugin_pb2.PluginInfo(version=__version__)

    def CheckConfig(self, request: Any, context: Any) -> Any:
        """There is nothing to configure: credentials come from the environment at the time of a call."""
        return protocol.CheckResponse(inputs=request.news)

    def DiffConfig(self, request: Any, context: Any) -> Any:
        """Never a difference."""
        return protocol.DiffResponse(changes=protocol.DiffResponse.DIFF_NONE)

    def Configure(self, request: Any, context: Any) -> Any:
        """Nothing to do."""
        return protocol.ConfigureResponse(acceptSecrets=True, supportsPreview=True)

    def Check(self, request: Any, context: Any) -> Any:
        """A kind that the cloud's file does not know is refused before anything is made."""
        news = struct_to_dict(request.news)
        failures = []
        try:
            if news.get("kind") not in load_cloud(str(news.get("cloud"))).drivers:
                failures = [protocol.CheckFailure(property="kind", reason=f"unknown kind {news.get('kind')}")]
        except CloudtrainError as error:
            failures = [protocol.CheckFailure(property="cloud", reason=error.message)]
        return protocol.CheckResponse(inputs=request.news, failures=failures)

    def Diff(self, request: Any, context: Any) -> Any:
        """Whatever differs is made anew: a plan is never changed in place."""
        olds, news = struct_to_dict(request.old_inputs or request.olds), struct_to_dict(request.news)
        changed = [key for key in ("cloud", "kind", "inputs") if olds.get(key) != news.get(key)]
        kind = protocol.DiffResponse.DIFF_SOME if changed else protocol.DiffResponse.DIFF_NONE
        return protocol.DiffResponse(changes=kind, replaces=changed, deleteBeforeReplace=True)

    def Create(self, request: Any, context: Any) -> Any:
        """Make it and wait; a preview makes nothing."""
        if request.preview:
            return protocol.CreateResponse(id="", properties=request.properties)
        properties = struct_to_dict(request.properties)
        world, kind, inputs = self.world(properties, request.urn)
        try:
            seen = crud.create(world, kind, inputs)
        except crud.HalfMade as half:
            self.half_made(context, properties, half)
        except CloudtrainError as error:
            context.abort(grpc.StatusCode.UNKNOWN, f"{type(error).__name__}: {error.message}")
        return protocol.CreateResponse(id=seen.id, properties=outputs(properties, seen))

    def Update(self, request: Any, context: Any) -> Any:
        """After a half-made create: wait again."""
        properties = struct_to_dict(request.news)
        world, kind, inputs = self.world(properties, request.urn)
        seen = ResourceState(request.id, "building")
        try:
            seen = crud.wait_ready(world, kind, inputs, seen)
        except crud.HalfMade as half:
            self.half_made(context, properties, half)
        return protocol.UpdateResponse(properties=outputs(properties, seen))

    def Read(self, request: Any, context: Any) -> Any:
        """What is there now; an empty answer when it is gone."""
        properties = struct_to_dict(request.properties)
        world, kind, inputs = self.world(properties, request.urn)
        try:
            seen = crud.read(world, kind, inputs, request.id)
        except CloudtrainError as error:
            context.abort(grpc.StatusCode.UNKNOWN, f"{type(error).__name__}: {error.message}")
        if seen is None:
            return protocol.ReadResponse()
        return protocol.ReadResponse(id=seen.id, properties=outputs(properties, seen), inputs=request.inputs)

    def Delete(self, request: Any, context: Any) -> Any:
        """Ask for its end until the provider takes it."""
        world, kind, inputs = self.world(struct_to_dict(request.properties), request.urn)
        try:
            crud.delete(world, kind, inputs, request.id)
        except CloudtrainError as error:
            context.abort(grpc.StatusCode.UNKNOWN, f"{type(error).__name__}: {error.message}")
        return empty_pb2.Empty()

    def Cancel(self, request: Any, context: Any) -> Any:
        """Make nothing more and stop waiting."""
        self.stopping.set()
        return empty_pb2.Empty()

    def world(self, properties: dict[str, Any], urn: str) -> tuple[crud.World, str, dict[str, Any]]:
        """The surroundings of one operation, the kind and the inputs with what they need filled in."""
        from cloudtrain.state.store import open_store

        cloud = str(properties["cloud"])
        journal = Journal(open_store(os.environ[STATE_VARIABLE]), os.environ[RUN_VARIABLE])
        world = crud.World(
            cloud,
            load_cloud(cloud),
            journal,
            crud.steady,
            lambda seconds: void(self.stopping.wait(seconds)),
            self.stopping.is_set,
            lambda text: self.log(text, urn),
        )
        return world, str(properties["kind"]), inputs_of(properties)

    def half_made(self, context: Any, properties: dict[str, Any], half: crud.HalfMade) -> None:
        """Tell the engine that it exists and is not ready: the engine keeps its id, and destroy will delete it."""
        detail = any_pb2.Any()
        detail.Pack(
            protocol.ErrorResourceInitFailed(
                id=half.seen.id,
                properties=outputs(properties, half.seen),
                inputs=dict_to_struct(properties),
                reasons=[half.cause.message],
            )
        )
        status = status_pb2.Status(code=grpc.StatusCode.UNKNOWN.value[0], message=half.cause.message)
        status.details.append(detail)
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(grpc.StatusCode.UNKNOWN, half.cause.message)

    def log(self, text: str, urn: str) -> None:
        """A line of progress, through the engine's log."""
        with contextlib.suppress(grpc.RpcError):
            if self._log is None:
                self._log = engine_pb2_grpc.EngineStub(grpc.insecure_channel(self.engine))
            line = engine_pb2.LogRequest(severity=engine_pb2.INFO, message=text, urn=urn, ephemeral=True)
            self._log.Log(line, timeout=2.0)


def outputs(properties: dict[str, Any], seen: ResourceState) -> struct_pb2.Struct:
    """The properties with what the provider said of it, as the state keeps them."""
    kept: dict[str, Any] = {key: properties[key] for key in ("cloud", "kind", "inputs", "needs") if key in properties}
    return dict_to_struct({**kept, "outputs": json.dumps(dict(seen.outputs))})


def load_cloud(name: str) -> Any:
    """The cloud record of a provider. Raises UsageError for one that has none."""
    from cloudtrain.errors import UsageError

    cloud = load("stacks", name, Stack).cloud
    if cloud is None:
        raise UsageError(f"`{name}` has nothing to provision")
    return cloud


def struct_to_dict(struct: Any) -> dict[str, Any]:
    """A protobuf Struct as plain Python."""
    from google.protobuf.json_format import MessageToDict

    found: dict[str, Any] = MessageToDict(struct)
    return found


def dict_to_struct(document: dict[str, Any]) -> struct_pb2.Struct:
    """Plain Python as a protobuf Struct."""
    struct = struct_pb2.Struct()
    struct.update(document)
    return struct


def void(value: object) -> None:
    """Drop a value."""


def watch_stdin(plugin: Plugin) -> None:
    """The engine holds the other end: when it closes, nothing more may be made, and no answer is awaited."""
    while os.read(0, 4096):
        pass
    plugin.stopping.set()
    os._exit(0)  # a request in flight is in the journal, and cleaning up looks for it


def write_pid_file() -> None:
    """Let a teardown find this process: pid, start time and host, in the run's folder on this machine."""
    folder = Path(os.environ[PID_VARIABLE])
    from .._lifecycle.processes import start_of

    folder.mkdir(parents=True, exist_ok=True)
    (folder / str(os.getpid())).write_text(json.dumps({"pid": os.getpid(), "start": start_of(os.getpid())}))


def main() -> None:
    """Serve until the engine ends it."""
    write_pid_file()
    plugin = Plugin(sys.argv[1] if len(sys.argv) > 1 else "")

    def end(number: int, frame: object) -> None:
        plugin.stopping.set()
        os._exit(0)

    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGTERM, end)
    server = grpc.server(ThreadPoolExecutor(THREADS))
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(plugin, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    if sys.stdin is not None and not sys.stdin.closed:
        threading.Thread(target=watch_stdin, args=(plugin,), daemon=True).start()
    server.wait_for_termination()
