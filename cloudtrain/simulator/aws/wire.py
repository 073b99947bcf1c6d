"""AWS's four wire protocols for the fake: which call arrived, whether its shape is right, answers and errors.

The published service models that come with moto say what a request may hold; moto answers what it knows.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping
from functools import cache, partial
from importlib import import_module
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote, urlencode

from cloudtrain.errors import UsageError
from cloudtrain.simulator.http_server import Reply, Request

FORMS = ("ec2", "iam", "sts")  # these send forms and get XML; the others speak JSON
WARM_ACCOUNT = "100000000000"
SIGNED_AS = {"servicequotas": "service-quotas"}  # name in a signature: name of the model
SCHEDULES = {"POST": "CreateSchedule", "GET": "GetSchedule", "DELETE": "DeleteSchedule", "PUT": "UpdateSchedule"}
_numbers = itertools.count(1)


class Refused(Exception):
    """An error that AWS answers: code, message, HTTP status."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.status = code, message, status


class Call(NamedTuple):
    """A request, understood: `given` has the members' names of the service model."""

    service: str
    region: str
    name: str
    given: dict[str, Any]
    request: Request


def scope(request: Request) -> tuple[str, str, str]:
    """(access key, region, service) out of the signature, empty without one."""
    found = re.search(r"Credential=([^/]+)/\d+/([^/]+)/([^/]+)/aws4_request", request.headers.get("authorization", ""))
    return (found[1], found[2], SIGNED_AS.get(found[3], found[3])) if found else ("", "", "")


def name_of(request: Request) -> str:
    """The call's name: `RunInstances`."""
    target = request.headers.get("x-amz-target", "")
    if target:
        return target.rsplit(".", 1)[-1]
    if request.path.startswith("/schedules"):
        return "ListSchedules" if request.path.rstrip("/") == "/schedules" else SCHEDULES.get(request.method, "?")
    return dict(parse_qsl(request.body.decode(errors="replace"))).get("Action", "?")


def understood(request: Request, scoped: tuple[str, str]) -> Call:
    """The request to (region, service) by the service's model. Raises Refused for what the model does not allow."""
    region, service = scoped
    name = name_of(request)
    try:
        operation = model(service).operation_model(name)
    except Exception:
        raise Refused("InvalidAction", f"The action {name} is not valid for this web service.") from None
    given = _given(service, operation, request)
    if operation.input_shape is not None:
        try:
            check(operation.input_shape, given, name)
        except Refused as error:
            raise error if service in FORMS else Refused("ValidationException", error.message) from None
    return Call(service, region, name, given, request)


@cache
def part(name: str) -> Any:
    """A module of moto's or werkzeug's, loaded when a fake needs it: tools for simulating, not dependencies.

    Raises UsageError when it is not installed.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise UsageError(f"simulating AWS needs moto ({error.name} is missing)", "pip install 'moto[server]'") from None


@cache
def model(service: str) -> Any:
    """The published model of a service."""
    return part("moto.core.utils").get_service_model(service)


def _given(service: str, operation: Any, request: Request) -> dict[str, Any]:
    if service in FORMS:
        kind = part("moto.core.parse").EC2QueryParser if service == "ec2" else part("moto.core.parse").QueryParser
        parser = kind(operation, blob_parser=lambda value: value)
        values = dict(parse_qsl(request.body.decode(), keep_blank_values=True))
        parsed: dict[str, Any] = parser.parse({"values": values})
        return parsed
    given: dict[str, Any] = json.loads(request.body or b"{}")
    if service == "scheduler":
        given |= {key: values[0] for key, values in request.query.items()}
        if request.path.startswith("/schedules/"):
            given["Name"] = request.path.split("/")[2]
        given = {key[0].upper() + key[1:]: value for key, value in given.items()}
    return given


def check(shape: Any, value: Any, where: str) -> None:
    """Raises Refused where a value is not what the model allows: unknown, missing, too long, no such word."""
    if shape.type_name == "structure":
        _check_structure(shape, value, where)
    elif shape.type_name == "list":
        for item in value:
            check(shape.member, item, where)
    elif shape.type_name == "string" and isinstance(value, str):
        _check_text(shape, value, where)


def _check_structure(shape: Any, value: Any, where: str) -> None:
    if not isinstance(value, Mapping):
        raise Refused("ValidationException", f"{where} must be a structure")
    known = {wire: member for name, member in shape.members.items() for wire in (name, name[0].upper() + name[1:])}
    for name in shape.required_members:
        if value.get(name) is None:
            raise Refused("MissingParameter", f"The request must contain the parameter {name}")
    for name, item in value.items():
        if name not in known:
            raise Refused("UnknownParameter", f"The parameter {where}.{name} is not recognized")
        if item is not None:
            check(known[name], item, f"{where}.{name}")


def _check_text(shape: Any, value: str, where: str) -> None:
    rules = shape.metadata
    if rules.get("enum") and value not in rules["enum"]:
        raise Refused("InvalidParameterValue", f"Invalid value '{value}' for {where}")
    if not int(rules.get("min") or 0) <= len(value) <= int(rules.get("max") or len(value)):
        raise Refused("ValidationException", f"{where} has {len(value)} characters")
    pattern = rules.get("pattern")
    if pattern and "\\p" not in pattern and not re.fullmatch(pattern.strip("^$"), value):
        raise Refused("ValidationException", f"{where} does not match {pattern}")


def answer(call: Call, result: Mapping[str, Any]) -> Reply:
    """A success, as the service's protocol writes it."""
    service, tools = model(call.service), part("moto.core.serialize")
    kind = tools.get_serializer_class(call.service, service.metadata["protocol"])
    context = tools.SerializationContext(request_id=f"simulation-{next(_numbers)}")
    reply = kind(service.operation_model(call.name), context).serialize(result)
    body = reply["body"]
    return Reply(reply["status_code"], body.encode() if isinstance(body, str) else body, reply["headers"])


def refusal(service: str, error: Refused) -> Reply:
    """An error, as the service's protocol writes it."""
    text = error.message.replace("&", "&amp;").replace("<", "&lt;")
    inside = f"<Code>{error.code}</Code><Message>{text}</Message>"
    if service == "ec2":
        xml = f"<Response><Errors><Error>{inside}</Error></Errors><RequestID>r-{next(_numbers)}</RequestID></Response>"
        return Reply(error.status, xml.encode(), {"Content-Type": "text/xml"})
    if service in FORMS:
        xml = f"<ErrorResponse><Error><Type>Sender</Type>{inside}</Error><RequestId>r</RequestId></ErrorResponse>"
        return Reply(error.status, xml.encode(), {"Content-Type": "text/xml"})
    body = json.dumps({"__type": error.code, "message": error.message, "Message": error.message})
    return Reply(error.status, body.encode(), {"Content-Type": "application/json", "x-amzn-ErrorType": error.code})


@cache
def whole_moto() -> Any:
    """moto's application for every service; the host of a request says which."""
    server = part("moto.server")
    return server.DomainDispatcherApplication(server.create_backend_app)


@cache
def warm() -> None:
    """Load what the first calls need, once in a process: it takes seconds, and a client does not wait for it."""
    # moto's own images, 1300 in a region, are none that we know; loading them takes most of a reset's time.
    part("moto.settings").ec2_load_default_amis = lambda: False
    modules = part("moto.backends")  # asked for every request, by a look at 170 folders: a quarter of an answer's time
    modules.list_of_moto_modules = cache(partial(tuple, list(modules.list_of_moto_modules())))
    for service, method, path, action in (
        ("ec2", "POST", "/", "DescribeVpcs"),
        ("iam", "POST", "/", "ListRoles"),
        ("scheduler", "GET", "/schedules", "ListSchedules"),
    ):
        signed = (
            f"AWS4-HMAC-SHA256 Credential=k/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=s"
        )
        body = urlencode({"Action": action, "Version": model(service).metadata["apiVersion"]})
        form = {"authorization": signed, "content-type": "application/x-www-form-urlencoded"}
        request = Request(method, path, {}, form, body.encode() if service in FORMS else b"", path)
        ask_moto(Call(service, "us-east-1", action, {}, request), WARM_ACCOUNT)
    for service in ("sts", "ssm", "pricing", "service-quotas"):
        model(service)
    forget(WARM_ACCOUNT)


def ask_moto(call: Call, account: str, more: Mapping[str, str] | None = None) -> Reply:
    """moto's answer to the request as it came, in an account of its own, with further form fields."""
    request, tools = call.request, part("werkzeug.test")
    body = request.body + "".join(f"&{key}={quote(value)}" for key, value in (more or {}).items()).encode()
    headers = {
        name: request.headers[name]
        for name in ("authorization", "content-type", "x-amz-target")
        if name in request.headers
    }
    builder = tools.EnvironBuilder(
        path=request.target,
        base_url=f"https://{call.service}.{call.region}.amazonaws.com",
        method=request.method,
        headers={**headers, "x-moto-account-id": account},
        data=body,
    )
    chunks, status, answered = tools.run_wsgi_app(whole_moto(), builder.get_environ())
    return Reply(int(status.split()[0]), b"".join(chunks), dict(answered))


def backend(service: str, account: str, region: str) -> Any:
    """moto's own objects of a service, to move states that moto does not move."""
    return part("moto.backends").get_backend(service)[account][region]


def forget(account: str) -> None:
    """Drop everything that moto holds for an account, and give the names of its buckets back: they are everybody's."""
    owners = part("moto.s3.models").s3_backends.bucket_accounts
    for name in [name for name, (_, owner) in owners.items() if owner == account]:
        owners.pop(name, None)
    for backends in list(part("moto.core.base_backend").BackendDict._instances):
        backends.pop(account, None)
