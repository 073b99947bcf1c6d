"""The gRPC door of the fake Cloud TPU API: `google.cloud.tpu.v2.Tpu` and `google.longrunning.Operations`."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from cloudtrain.simulator.faults import TRANSPORT
from cloudtrain.simulator.gcp.tpu.catalog import Refusal, refusal
from cloudtrain.simulator.gcp.tpu.state import TpuState
from cloudtrain.simulator.http_server import Front

if TYPE_CHECKING:
    import grpc

Document = dict[str, Any]
SOCKET_CLOSED = "Socket closed"  # what a client is told when the connection breaks


class Rpc:
    """The methods over a cloud whose `tpu` is the state. Call names are `Tpu.CreateQueuedResource` and the like."""

    def __init__(self, cloud: Front, state: Callable[[], TpuState]) -> None:
        self.cloud, self.state = cloud, state
        self.methods: dict[str, Callable[[str, Document], tuple[str, Document]]] = {
            "CreateQueuedResource": self._create_queued,
            "GetQueuedResource": lambda call, r: ("QueuedResource", self._show("queued", r)),
            "ListQueuedResources": lambda call, r: ("ListQueuedResourcesResponse", self._list("queued", r)),
            "DeleteQueuedResource": lambda call, r: (
                "Operation",
                self.state().delete_queued(call, r["name"], bool(r.get("force"))),
            ),
            "CreateNode": lambda call, r: (
                "Operation",
                self.state().create_node(call, r["parent"], r.get("nodeId", ""), r.get("node", {})),
            ),
            "GetNode": lambda call, r: ("Node", self._show("nodes", r)),
            "ListNodes": lambda call, r: ("ListNodesResponse", self._list("nodes", r)),
            "DeleteNode": lambda call, r: ("Operation", self.state().delete_node(call, r["name"])),
        }

    def perform(self, call: str, request: Document) -> tuple[str, Document]:
        """Do it under the clock's lock. The answer's type and its REST form. Raises Refusal."""
        with self.cloud.clock.lock:
            self.cloud.clock.run_due()
            return self.methods[call.partition(".")[2]](call, request)

    def transport(self, call: str, request: Document) -> tuple[str, Document]:
        """The same behind a network on which replies and requests get lost, as `Front.answer` is. Raises Refusal."""
        fault = self.cloud.faults.take(call, *TRANSPORT)
        self.cloud.calls.append(call)
        self.cloud.keep_time()
        lost = Refusal("UNAVAILABLE", SOCKET_CLOSED)
        if fault and fault.kind == "dropped":
            raise lost
        if fault and fault.kind in ("throttled", "unavailable"):
            raise refusal(fault.kind)
        if fault and fault.kind == "late":
            clock = self.cloud.clock
            clock.at(clock.now() + fault.seconds, lambda: self._late(call, request))
            raise lost
        if self.cloud.slow_s and call.startswith(("Tpu.Create", "Tpu.Delete")):
            time.sleep(self.cloud.slow_s)
        try:
            answer = self.perform(call, request)
        except Refusal:
            if fault:
                raise lost from None
            raise
        if fault:
            raise lost
        return answer

    def operation(self, name: str) -> Document:
        """A long-running operation. Raises Refusal."""
        self.cloud.calls.append("Operations.GetOperation")
        with self.cloud.clock.lock:
            self.cloud.clock.run_due()
            if name not in self.state().operations:
                raise Refusal("NOT_FOUND", f"Operation '{name}' was not found")
            return self.state().operations[name]

    def _late(self, call: str, request: Document) -> None:
        with suppress(Refusal):
            self.perform(call, request)

    def _create_queued(self, call: str, request: Document) -> tuple[str, Document]:
        body = request.get("queuedResource", {})
        arguments = (request.get("parent", ""), request.get("queuedResourceId", ""), body, request.get("requestId", ""))
        return "Operation", self.state().create_queued(call, *arguments)

    def _show(self, records: str, request: Document) -> Document:
        state = self.state()
        return state.show(state.find(getattr(state, records), request.get("name", "")))

    def _list(self, records: str, request: Document) -> Document:
        state = self.state()
        found, following = state.page(
            getattr(state, records).values(), request.get("parent", ""), request.get("pageToken", "")
        )
        return {"nodes" if records == "nodes" else "queuedResources": found, "nextPageToken": following}


def serve(rpc: Rpc) -> tuple[grpc.Server, int]:
    """A running server on a free port of loopback, and the port."""
    import grpc

    server = grpc.server(ThreadPoolExecutor(max_workers=4), options=[("grpc.so_reuseport", 0)])
    handlers = {method: _handler(rpc, method) for method in rpc.methods}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("google.cloud.tpu.v2.Tpu", handlers),))
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("google.longrunning.Operations", {"GetOperation": _operations(rpc)}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, port


def _handler(rpc: Rpc, method: str) -> Any:
    import grpc
    from google.cloud.tpu_v2 import types
    from google.protobuf.json_format import MessageToDict

    kind = getattr(types, f"{method}Request")

    def handle(request: Any, context: Any) -> bytes:
        try:
            name, document = rpc.transport(f"Tpu.{method}", MessageToDict(kind.pb(request)))
        except Refusal as refused:
            return _abort(context, refused)
        return _encode(name, document)

    return grpc.unary_unary_rpc_method_handler(handle, request_deserializer=kind.deserialize)


def _operations(rpc: Rpc) -> Any:
    import grpc
    from google.longrunning import operations_pb2

    def handle(request: Any, context: Any) -> bytes:
        try:
            return _encode("Operation", rpc.operation(request.name))
        except Refusal as refused:
            return _abort(context, refused)

    return grpc.unary_unary_rpc_method_handler(
        handle, request_deserializer=operations_pb2.GetOperationRequest.FromString
    )


def _abort(context: Any, refused: Refusal) -> bytes:
    import grpc

    context.abort(grpc.StatusCode[refused.code], refused.message)  # raises
    return b""


def _encode(name: str, document: Document) -> bytes:
    from google.cloud.tpu_v2 import types
    from google.longrunning import operations_pb2
    from google.protobuf.json_format import ParseDict

    if name == "Operation":
        message = operations_pb2.Operation(name=document["name"], done=document["done"])
    else:
        kind = getattr(types, name)
        # v2 does not know what only v2alpha1 has.
        message = ParseDict(document, kind.pb(kind()), ignore_unknown_fields=True)
    return bytes(message.SerializeToString())
