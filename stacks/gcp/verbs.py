"""Create, find, status and delete over every kind of Compute Engine, by name: one mutating request each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cloudtrain.errors import Balance, NoCapacity, NotFound, Permission, ProviderError, Quota, Rejected, Unavailable
from cloudtrain.providers import ResourceState

from .._lifecycle import names
from .errors import AlreadyThere, refusal
from .kinds import NOUNS, Noun, tags_of
from .rest import COMPUTE, call, pages

Inputs = Mapping[str, Any]
# What a group's errors may say that waiting does not fix. A group itself would keep trying for ever.
FINAL = (NoCapacity, Quota, Permission, Balance, Rejected)


def create(kind: str, inputs: Inputs) -> ResourceState:
    """One insert. Whatever of ours has the name already is returned. Raises provider errors."""
    noun = NOUNS[kind]
    body = noun.body(inputs)
    try:
        operation = call(
            COMPUTE, "POST", noun.folder(inputs["place"]), query={"requestId": inputs["request_id"]}, body=body
        )
    except AlreadyThere as error:
        found = find(kind, inputs)
        if not found:
            raise Rejected(f"the name {inputs['name']} is in use by a resource that is not ours", error.hint) from None
        return found[0]
    raise_failure(operation)
    return ResourceState(
        str(inputs["name"]), "building", "the insert is taken", {"operation": operation.get("name", "")}
    )


def find(kind: str, inputs: Inputs) -> Sequence[ResourceState]:
    """What has our name and our key, or is being made under the name by an insert that is still running."""
    noun = NOUNS[kind]
    try:
        document = _get(noun, inputs["place"], str(inputs["name"]))
    except NotFound:
        running = _insert_of(noun, inputs["place"], str(inputs["name"]))
        if running is None or running.get("status") == "DONE":
            return []
        return [ResourceState(str(inputs["name"]), "building", "the insert is running")]
    if tags_of(document).get(names.KEY) != inputs["tags"][names.KEY]:
        return []
    return [noun.seen(inputs, document)]


def status(kind: str, inputs: Inputs, id: str) -> ResourceState:  # noqa: A002  # the seam's word
    """What it is now. Raises NotFound; an error that also is NotFound, with the reason, when its insert failed."""
    noun = NOUNS[kind]
    try:
        document = _get(noun, inputs["place"], id)
    except NotFound:
        operation = _insert_of(noun, inputs["place"], id)
        if operation is not None and operation.get("status") != "DONE":
            return ResourceState(id, "building", "the insert is running")
        if operation is not None and operation.get("error"):
            raise gave_up(refusal(operation)) from None
        raise
    seen = noun.seen(inputs, document)._replace(owner=tags_of(document).get(names.KEY, ""))
    if kind == "instance_group" and seen.state == "building":
        _raise_group_error(noun, inputs["place"], id)
    return seen


def delete(kind: str, inputs: Inputs, id: str) -> None:  # noqa: A002
    """One delete. Raises NotFound when it is gone, Unavailable while an insert of that name is still running."""
    noun = NOUNS[kind]
    try:
        operation = call(COMPUTE, "DELETE", f"{noun.folder(inputs['place'])}/{id}")
    except NotFound:
        running = _insert_of(noun, inputs["place"], id)
        if running is not None and running.get("status") != "DONE":
            raise Unavailable(f"{id} is still being made", "try again") from None
        raise
    raise_failure(operation)


def gave_up(error: ProviderError) -> ProviderError:
    """The error as one that also is a NotFound: the provider made nothing, and this is why."""
    kind = type(error)
    if isinstance(error, NotFound):
        return error
    both: ProviderError = type(kind.__name__, (kind, NotFound), {})(error.message, error.hint)
    return both


def raise_failure(operation: Mapping[str, Any]) -> None:
    """Raise what an operation says that has failed already; it may also run for minutes."""
    if operation.get("status") == "DONE" and operation.get("error"):
        raise refusal(operation)


def _get(noun: Noun, place: Mapping[str, Any], name: str) -> dict[str, Any]:
    return call(COMPUTE, "GET", f"{noun.folder(place)}/{name}")


def _insert_of(noun: Noun, place: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """The latest insert of that name that the place remembers."""
    folder = noun._replace(collection="operations").folder(place)
    query = {"filter": f'targetLink eq ".*/{noun.collection}/{name}"'}
    found = [
        operation
        for page in pages(COMPUTE, folder, query)
        for operation in page.get("items") or []
        if operation.get("operationType") == "insert"
    ]
    return max(found, key=lambda operation: str(operation.get("insertTime")), default=None)


def _raise_group_error(noun: Noun, place: Mapping[str, Any], name: str) -> None:
    for page in pages(COMPUTE, f"{noun.folder(place)}/{name}/listErrors"):
        for item in page.get("items") or []:
            error = refusal({"error": {"errors": [item.get("error") or {}]}})
            if isinstance(error, FINAL):
                raise error
