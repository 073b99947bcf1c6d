"""A publisher with a folder of refreshed lists and a key of its own, a user with another folder, a server between."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from cloudtrain.listings import Listing
from cloudtrain.prices import folder, install, merge
from cloudtrain.prices.published import publish
from cloudtrain.prices.records import Held, ListEntry
from cloudtrain.prices.table import Cell, Row, Table, as_bytes, parse, price_in
from tests.conftest import NOW
from tests.prices.answering import shipped
from tests.prices.published.server import Server

AT = 1795521600.0  # 2026-11-24T12:00:00Z, as NOW
DAY_S = 86400.0
PROVIDERS = ("colab", "runpod")  # small lists


def key(number: int) -> Ed25519PrivateKey:
    """A throw-away key pair, always the same."""
    return Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)


def public_pem(private: Ed25519PrivateKey) -> bytes:
    """Its public half, as openssl writes it."""
    return private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def public_line(private: Ed25519PrivateKey) -> str:
    """The same as the constant in the wheel has it."""
    der = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(der).decode()


def private_pem(private: Ed25519PrivateKey) -> str:
    """Its private half."""
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def answered(old: Table, day: str, factor: str) -> Table:
    """A list after its provider answered for all of it on a day, at so many times the price."""
    listings = {
        cell: Listing(*cell, merge_safe(price * Decimal(factor)), "a test")
        for cell, row in old.cells
        if (price := price_in(row, cell.market)) is not None
    }
    return merge.merge(old, listings, day)


def merge_safe(usd: Decimal) -> Decimal:
    """With as many digits as prices have."""
    return round(usd, 6)


@dataclass
class Publisher:
    """`place` is its folder of refreshed lists, as CLOUDTRAIN_PRICES names it."""

    place: Path
    monkeypatch: pytest.MonkeyPatch
    key: Ed25519PrivateKey = field(default_factory=lambda: key(1))

    def holds(
        self,
        provider: str,
        at: float = AT - 3600,
        factor: str = "1.05",
        change: Callable[[Row], Row] = lambda row: row,
        held: tuple[Held, ...] = (),
    ) -> None:
        """It asked this provider at that time; `change` is done to every row, as no refresh would."""
        day = folder.list_folder(self.place, provider, at, "0" * 64).name.removeprefix(f"{provider}-")[:10]
        table = answered(shipped(provider), day, factor)
        self.lists(provider, Table(table.columns, tuple(change(row) for row in table.rows)), at, held)

    def lists(self, provider: str, table: Table, at: float = AT - 3600, held: tuple[Held, ...] = ()) -> None:
        """This very list counts there."""
        text = as_bytes(table)
        base = folder.digest(folder.shipped_file(provider).read_bytes())
        entry = ListEntry(
            sha256=folder.digest(text), base_sha256=base, asked_at=at, asked=10, kept=0, tool="0", source="refresh",
            held=held,
        )  # fmt: skip
        with self.monkeypatch.context() as patch:
            patch.setenv("CLOUDTRAIN_PRICES", str(self.place))
            with install.lock():
                install.install(provider, text, entry)

    def published(self, target: Path, at: float = AT - 1800) -> dict[str, bytes]:
        """The three files, by name; what does not pass the gate is left out."""
        _, files = publish.publish(self.place, None, target, self.key, at)
        return {path.name: path.read_bytes() for path in files}

    def unjudged(
        self, at: float = AT - 1800, rename: Callable[[str], str] = lambda provider: provider
    ) -> dict[str, bytes]:
        """The three files without a gate, as a publisher with other code would make them."""
        from cloudtrain.prices.published import check
        from cloudtrain.prices.published.manifest import PublishedList

        texts, lists = {}, {}
        for provider, (path, entry) in check.lists(self.place).items():
            assert entry is not None
            texts[rename(provider)] = path.read_bytes()
            lists[rename(provider)] = PublishedList(
                sha256=entry.sha256, asked_at=entry.asked_at, asked=1, kept=0, tool="0", held=entry.held
            )
        return publish.made(lists, texts, self.key, at)


@pytest.fixture
def publisher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Publisher:
    """It has asked Colab and RunPod an hour ago: everything costs 5 % more."""
    made = Publisher(tmp_path / "publisher", monkeypatch)
    for provider in PROVIDERS:
        made.holds(provider)
    return made


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder of refreshed lists, empty; the clock stands still."""
    monkeypatch.setenv("CLOUDTRAIN_NOW", NOW)
    monkeypatch.setenv("CLOUDTRAIN_PRICES", str(tmp_path / "user"))
    return tmp_path / "user"


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    """The publisher's public key."""
    path = tmp_path / "publisher.pem"
    path.write_bytes(public_pem(key(1)))
    return path


@pytest.fixture
def server() -> Iterator[Server]:
    """Hands out nothing yet."""
    made = Server()
    yield made
    made.close()


def kept(place: Path) -> dict[str, bytes]:
    """All that lies in a folder of refreshed lists, but for its lock."""
    return {
        str(path.relative_to(place)): path.read_bytes()
        for path in sorted(place.rglob("*"))
        if path.is_file() and path.name != install.LOCK
    }


def prices(provider: str) -> dict[Cell, tuple[Decimal | None, str]]:
    """What a quote would read here: dollars and the day, of every price."""
    here = folder.refreshed().get(provider)
    path = folder.shipped_file(provider) if here is None else here / f"{provider}.csv"
    table = parse(path.read_bytes(), str(path))
    return {cell: (price_in(row, cell.market), row["observed"]) for cell, row in table.cells}
