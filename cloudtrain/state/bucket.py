"""The state in a bucket (S3, Google Cloud Storage), behind the same interface as a folder.

An object cannot be appended to: a key that ends in `.jsonl` is kept as one object per line below `<key>.d/`, under
names that sort by time and are unique, and is joined when it is read. So a line is whole or absent, and two writers
cannot disturb each other. Both vendors list what was written at once, and both know writes under a condition.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import cached_property, partial
from pathlib import Path
from typing import IO, Any

from cloudtrain.errors import UsageError
from cloudtrain.state import credentials, federated
from cloudtrain.state.address import Address, parse
from cloudtrain.state.errors import StrangeKey, explain, is_behind_the_end, is_no_bucket
from cloudtrain.state.protocol import AlreadyThere, Holder

LINES = ".d"  # what is added to a key to name the folder of its lines
TIMEOUT_S, CONNECT_S, RETRY_S, TRIES = 10, 5, 20, 4
READERS = 8
PART_BYTES = 5 << 20  # the least that S3 takes as a part


class ObjectFolder:
    """The state below a prefix of a bucket. `objects`: the client, for tests; else made from the address."""

    def __init__(self, url: str, objects: Any = None) -> None:
        self.address = parse(url)
        self.url = url
        self._given = objects
        self._lines: dict[str, bytes] = {}  # a line's object never changes: it is read once
        self._last_ns = 0
        self._lock = threading.Lock()

    @cached_property
    def objects(self) -> Any:
        """The client. Raises UsageError when there are no credentials."""
        return self._given if self._given is not None else client(self.address)

    def read(self, key: str) -> bytes | None:
        import obstore

        with self._translate_errors():
            if key.endswith(".jsonl") and (names := self._below(key + LINES)):
                return b"".join(self._whole_lines(names))
            try:
                return bytes(obstore.get(self.objects, key).bytes())
            except FileNotFoundError as error:
                self._not_the_bucket(error)
                return None
        raise AssertionError("unreachable")

    def read_from(self, key: str, start: int, limit: int) -> bytes:
        if limit <= 0:
            return b""
        if key.endswith(".jsonl"):
            return self._lines_from(key, start, limit)
        with self._translate_errors():
            return self._part(key, start, limit)
        raise AssertionError("unreachable")

    def size(self, key: str) -> int:
        import obstore

        with self._translate_errors():
            try:
                return int(obstore.head(self.objects, key)["size"])
            except FileNotFoundError:
                return 0
        raise AssertionError("unreachable")

    def write(self, key: str, data: bytes) -> None:
        import obstore

        with self._translate_errors():
            obstore.put(self.objects, key, data, use_multipart=False)

    def upload(self, key: str, file: IO[bytes]) -> None:
        """Replace the document by an open file's content, in parts: each has the time-out of one request."""
        import obstore

        with self._translate_errors():
            obstore.put(self.objects, key, file, chunk_size=PART_BYTES)

    def create(self, key: str, data: bytes) -> None:
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        writer = uuid.uuid4().hex
        with self._translate_errors():
            try:
                obstore.put(self.objects, key, data, mode="create", attributes={"writer": writer}, use_multipart=False)
            except (AlreadyExistsError, PreconditionError):
                # A lost answer makes the client send it again, which then meets its own object.
                if obstore.get(self.objects, key).attributes.get("writer") != writer:
                    raise AlreadyThere(f"`{key}` is already there") from None

    def append(self, key: str, line: bytes) -> None:
        import obstore

        if not key.endswith(".jsonl"):
            raise ValueError(f"`{key}` is not a document of lines")
        with self._lock:
            self._last_ns = max(self._last_ns + 1, time.time_ns())
            name = f"{key}{LINES}/{self._last_ns:020d}-{uuid.uuid4().hex[:12]}"
        with self._translate_errors():
            obstore.put(self.objects, name, line.rstrip(b"\n") + b"\n", use_multipart=False)

    def delete(self, key: str) -> None:
        import obstore

        with self._translate_errors():
            gone = [*self._all_below(key), *self._all_below(key + LINES)]
            for start in range(0, len(gone), 500):
                obstore.delete(self.objects, gone[start : start + 500])
            with contextlib.suppress(FileNotFoundError):
                obstore.delete(self.objects, key)

    def children(self, key: str) -> list[str]:
        import obstore

        with self._translate_errors():
            found = obstore.list_with_delimiter(self.objects, key or None)
            paths = [meta["path"] for meta in found["objects"]]
            paths += [path.removesuffix(LINES) for path in found["common_prefixes"]]
            return sorted({name for path in paths if not (name := path.rpartition("/")[2]).startswith(".")})
        raise AssertionError("unreachable")

    def files(self, key: str) -> list[str]:
        with self._translate_errors():
            return sorted(path[len(key) + 1 :] for path in self._below(key))
        raise AssertionError("unreachable")

    def folder(self, key: str) -> Path:
        raise UsageError(
            f"state `{self.address.base}` is a bucket, and this needs a folder of this machine",
            "set CLOUDTRAIN_STATE to a folder for runs on this machine",
        )

    def place(self, key: str) -> str:
        return f"{self.address.base}/{key.rstrip('/')}"

    @contextlib.contextmanager
    def hold(self, key: str) -> Iterator[None]:
        from cloudtrain.state import lease

        with contextlib.ExitStack() as held:
            with self._translate_errors():
                held.enter_context(lease.hold(self.objects, key))
            yield

    def is_held(self, key: str) -> bool:
        return self.holder(key) is not None

    def holder(self, key: str) -> Holder | None:
        from cloudtrain.state import lease

        with self._translate_errors():
            return lease.holder(self.objects, key)
        raise AssertionError("unreachable")

    def _part(self, key: str, start: int, length: int) -> bytes:
        """Bytes of an object; none where it is absent, or ends before."""
        import obstore
        from obstore.exceptions import BaseError

        try:
            return bytes(obstore.get_range(self.objects, key, start=start, length=length))
        except FileNotFoundError as error:
            self._not_the_bucket(error)
            return b""
        except BaseError as error:
            # A range behind the end is an error there. Said by its code: the next look may find another, longer object.
            if is_behind_the_end(error) or self.size(key) <= start:
                return b""
            raise

    def _below(self, key: str) -> list[str]:
        import obstore

        return sorted(meta["path"] for batch in obstore.list(self.objects, key) for meta in batch)

    def _all_below(self, key: str) -> list[str]:
        """The same for what is to be removed: what cannot be listed was not written by us, and stays."""
        try:
            with self._translate_errors():
                return self._below(key)
        except StrangeKey:
            return []

    def _lines_from(self, key: str, start: int, limit: int) -> bytes:
        """The joined lines from a byte on: no more of them are fetched than that takes, and no more of any."""
        joined = b""
        with self._translate_errors():
            for name in self._below(key + LINES):
                if len(joined) >= start + limit:
                    break
                joined += self._part(name, 0, start + limit)
        return joined[start : start + limit]

    def _whole_lines(self, names: list[str]) -> list[bytes]:
        import obstore

        def fetch(name: str) -> bytes:
            return bytes(obstore.get(self.objects, name).bytes())

        missing = [name for name in names if name not in self._lines]
        if missing:
            with ThreadPoolExecutor(READERS) as readers:
                self._lines.update(zip(missing, readers.map(fetch, missing), strict=True))
        return [self._lines[name] for name in names]

    def _not_the_bucket(self, error: FileNotFoundError) -> None:
        """An object may be missing, the bucket may not: a run that is not found there would be called unknown."""
        if is_no_bucket(error):
            raise explain(self.address, error) from None

    @contextlib.contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Turn the client's errors into messages that name the bucket."""
        from obstore.exceptions import BaseError

        try:
            yield
        except (BaseError, FileNotFoundError, TimeoutError) as error:
            raise explain(self.address, error) from None


def client(address: Address) -> Any:
    """An object store below the address' prefix. Raises UsageError without credentials."""
    from obstore.store import GCSStore, S3Store

    common: dict[str, Any] = {
        "prefix": address.prefix or None,
        "retry_config": {
            "max_retries": TRIES,
            "retry_timeout": timedelta(seconds=RETRY_S),
            "backoff": {
                "init_backoff": timedelta(seconds=0.1),
                "max_backoff": timedelta(seconds=3),
                "base": 2,
            },
        },
        "client_options": {
            "timeout": timedelta(seconds=TIMEOUT_S),
            "connect_timeout": timedelta(seconds=CONNECT_S),
            "allow_http": bool(address.endpoint),
        },
    }
    if address.scheme == "gs":
        if address.endpoint:
            common["base_url"] = address.endpoint
        if who := federated.external():
            federated.access(who)  # here its refusal is an error of ours, and not one of the client's
            common["credential_provider"] = partial(credentials.google_token, who)
        return GCSStore(address.bucket, **common)
    if address.region:
        common["region"] = address.region
    if address.endpoint:
        common |= {"endpoint": address.endpoint, "virtual_hosted_style_request": False}
    if not os.environ.get("AWS_ACCESS_KEY_ID"):
        common["credential_provider"] = credentials.amazon(address)
    elif os.environ.get(credentials.ENDS):
        common["credential_provider"] = credentials.keys_of_now
    return S3Store(address.bucket, **common)
