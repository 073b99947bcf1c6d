"""The form of a record: frozen, strict, with a version; and how it becomes the bytes of a document."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

VERSION = 1
Number = int | float  # as it was written: 3 stays 3
StateId = Annotated[str, Field(pattern="^[0-9a-f]{8}$")]  # see `state/identity.py`
LARGEST = Decimal(10) ** 15
Usd = Annotated[  # dollars, kept as text
    Decimal,
    Field(ge=-LARGEST, le=LARGEST, max_digits=80),
    PlainSerializer(lambda amount: format(amount, "f"), return_type=str),
]
Instant = Annotated[float, Field(ge=-1e15, le=1e15)]  # epoch seconds, finite


class Form(BaseModel):
    """A part of a record. Made strictly: an unknown field or another type raises pydantic's ValidationError."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    def replace(self, **changes: Any) -> Self:
        """The same with some fields changed, checked like a new one. Raises pydantic's ValidationError."""
        known = {name: getattr(self, name) for name in self.model_fields_set if name in type(self).model_fields}
        made = type(self)(**{**known, **changes})
        if self.model_extra:  # of a newer version: not ours to lose
            object.__setattr__(made, "__pydantic_extra__", self.model_extra)
        return made


class Record(Form):
    """A document of its own."""

    version: Literal[1] = 1

    @classmethod
    def upgraded(cls, data: bytes) -> bytes:
        """A document as it was written before records had a version, in today's form. What is damaged stays so."""
        return data

    def as_document(self) -> dict[str, Any]:
        """As plain JSON: what was set, and what a newer version's document held that we do not know."""
        found = {"version": self.version, **self.model_dump(mode="json", exclude_unset=True)}
        return {**found, **{name: value for name, value in (self.model_extra or {}).items() if name not in found}}

    def as_bytes(self) -> bytes:
        """The bytes of the document."""
        return json.dumps(self.as_document(), indent=1).encode()

    def as_line(self) -> bytes:
        """The same as one line of a `.jsonl` document."""
        return json.dumps(self.as_document()).encode()
