"""What exists in a fake Compute Engine project, and the operations that make and remove it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.gcp.compute.documents import Refusal, not_found
from cloudtrain.simulator.ledger import Ledger

Document = dict[str, Any]
ROOT = "https://www.googleapis.com/compute/v1"
ZONE_LETTERS = {
    **dict.fromkeys(("us-central1",), "abcf"),
    **dict.fromkeys(("us-east1", "europe-west1"), "bcd"),
    **dict.fromkeys(
        ("us-east5", "us-west4", "us-south1", "europe-west4", "asia-south1", "asia-northeast1", "asia-southeast1"),
        "abc",
    ),
    **dict.fromkeys(("us-west1", "us-east4", "southamerica-west1", "europe-west3", "asia-east1"), "abc"),
    **dict.fromkeys(("northamerica-northeast1", "northamerica-northeast2", "asia-south2", "europe-north1"), "abc"),
    **dict.fromkeys(("me-west1",), "abc"),
    **dict.fromkeys(("us-central2",), "b"),
}
ZONES = [f"{region}-{letter}" for region, letters in ZONE_LETTERS.items() for letter in letters]


class Target(NamedTuple):
    """What a call is about: `scope` is `zones/x`, `regions/x` or `global`."""

    project: str
    scope: str
    collection: str
    name: str

    @property
    def link(self) -> str:
        """Its full URL."""
        return f"{ROOT}/projects/{self.project}/{self.scope}/{self.collection}/{self.name}"


class Failure(NamedTuple):
    """Why an operation failed: `error.errors[]` of it."""

    code: str
    message: str


class ResourceTable:
    """Every resource by its link, every operation, and what a list does not show yet."""

    def __init__(self, clock: Clock, ledger: Ledger, first: int = 1000) -> None:
        self.clock = clock
        self.ledger = ledger
        self.items: dict[str, Document] = {}
        self.operations: list[Document] = []
        self.hidden: dict[str, float] = {}  # link -> from when on lists show it
        self.group_errors: dict[str, list[Failure]] = {}
        self._number = first

    def number(self) -> int:
        """A new unique number."""
        self._number += 1
        return self._number

    def stamp(self) -> str:
        """Now, as Google writes it."""
        return datetime.fromtimestamp(self.clock.now(), UTC).isoformat(timespec="milliseconds")

    def of(self, collection: str) -> list[Document]:
        """All of a kind, in the order in which they were made."""
        return [item for link, item in self.items.items() if link.split("/")[-2] == collection]

    def shown(self, collection: str) -> list[Document]:
        """All of a kind that lists show by now."""
        now = self.clock.now()
        return [item for item in self.of(collection) if self.hidden.get(item["selfLink"], 0.0) <= now]

    def get(self, target: Target) -> Document:
        """The document. Refuses (404) when it is not there."""
        found = self.items.get(target.link)
        if found is None:
            raise not_found(target.link.removeprefix(f"{ROOT}/"))
        return found

    def put(self, target: Target, body: Mapping[str, Any]) -> Document:
        """Keep a new document under its name. Refuses (409) a name that is taken."""
        if target.link in self.items:
            short = target.link.removeprefix(f"{ROOT}/")
            raise Refusal(409, "alreadyExists", f"The resource '{short}' already exists")
        place, _, where = target.scope.partition("/")
        document = {**body, "id": str(self.number()), "selfLink": target.link, "creationTimestamp": self.stamp()}
        if where:
            document[place.removesuffix("s")] = f"{ROOT}/projects/{target.project}/{target.scope}"
        self.items[target.link] = document
        return document

    def drop(self, document: Document) -> None:
        """It is not there any more, unless something newer has its name."""
        if self.items.get(document["selfLink"]) is document:
            del self.items[document["selfLink"]]

    def exists(self, document: Document) -> bool:
        """Whether this very thing, not one of the same name, is still there."""
        return self.items.get(document["selfLink"]) is document

    def operate(
        self, target: Target, verb: str, seconds: float, finish: Callable[[], Failure | None] = lambda: None
    ) -> Document:
        """An operation that is running now and done in `seconds`; `finish` acts then, and may say why it failed."""
        name = f"operation-{self.number()}"
        operation: Document = {
            "kind": "compute#operation",
            "id": str(self.number()),
            "name": name,
            "operationType": verb,
            "targetLink": target.link,
            "status": "RUNNING",
            "progress": 0,
            "insertTime": self.stamp(),
            "selfLink": target._replace(collection="operations", name=name).link,
        }
        self.operations.append(operation)

        def done() -> None:
            failure = finish()
            operation.update(status="DONE", progress=100, endTime=self.stamp())
            if failure:
                operation["error"] = {"errors": [failure._asdict()]}
                operation.update(httpErrorStatusCode=400, httpErrorMessage="BAD REQUEST")

        self.clock.at(self.clock.now() + seconds, done)
        return operation
