"""`cloudtrain prices pull` against a loopback server: what is taken, what is refused, and that a refusal changes nothing."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from decimal import Decimal
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from random import Random

import pytest

from cloudtrain.errors import UsageError
from cloudtrain.prices import folder, history, install
from cloudtrain.prices.published import origin
from cloudtrain.prices.published.download import Answer
from cloudtrain.prices.records import Held
from cloudtrain.prices.table import Row, price_in
from tests.conftest import Result
from tests.prices.published.conftest import (
    AT,
    DAY_S,
    PROVIDERS,
    Publisher,
    answered,
    kept,
    key,
    prices,
    public_line,
    public_pem,
    shipped,
)
from tests.prices.published.server import Server, redirects

Pull = Callable[..., Result]


@pytest.fixture
def pull(cloudtrain: Pull, server: Server, key_file: Path, user: Path) -> Pull:
    """`cloudtrain prices pull` from the server, with the publisher's key."""

    def call(*more: str) -> Result:
        return cloudtrain("prices", "pull", "--url", server.url, "--public-key", str(key_file), *more)

    return call


def refused(found: Result, says: str, user: Path, before: dict[str, bytes]) -> None:
    """It ended with bad input and that sentence, and nothing here is another."""
    assert (found.code, says in found.err) == (2, True), found
    assert kept(user) == before


def test_published_prices_are_taken(
    pull: Pull, server: Server, publisher: Publisher, user: Path, tmp_path: Path
) -> None:
    """Whole lists: prices and days of the publisher's, source and history say that they were pulled."""
    server.has(publisher.published(tmp_path / "out"))
    found = pull("-o", "json")
    assert found.code == 0, found
    assert [(each["provider"], each["state"]) for each in json.loads(found.out)] == [
        ("colab", "renewed"),
        ("runpod", "renewed"),
    ]
    for provider in PROVIDERS:
        for cell, row in shipped(provider).cells:
            usd, day = prices(provider)[cell]
            old = price_in(row, cell.market)
            assert usd == (None if old is None else round(old * Decimal("1.05"), 6).normalize())
            assert old is None or day == "2026-11-24"
    assert {entry.source for entry in install.manifest().lists.values()} == {"pull"}
    assert {change.source for change in history.changes("runpod")} == {"pull"}
    assert [name for name, _ in server.asked][:2] == [origin.MANIFEST, origin.SIGNATURE]


def test_a_quote_reads_what_was_pulled(
    pull: Pull, cloudtrain: Pull, server: Server, publisher: Publisher, tmp_path: Path
) -> None:
    """And says on which day it was seen."""
    server.has(publisher.published(tmp_path / "out"))
    assert pull().code == 0
    lines = json.loads(cloudtrain("quote", "llama-3.1-8b", "--infra", "runpod", "-o", "json").out)["lines"]
    mi300x = next(line for line in lines if line["hardware"] == "mi300x" and line["count"] == 1)
    assert mi300x["price"]["as_of"] == "2026-11-24"


def test_nothing_newer_is_one_question(
    pull: Pull, server: Server, publisher: Publisher, user: Path, tmp_path: Path
) -> None:
    """The second time the manifest's etag is sent, and nothing is written."""
    server.has(publisher.published(tmp_path / "out"))
    assert pull().code == 0
    before, asked = kept(user), len(server.asked)
    found = pull()
    assert (found.code, "nothing newer" in found.err) == (0, True)
    (again,) = server.asked[asked:]
    assert again[0] == origin.MANIFEST
    assert again[1]
    assert kept(user) == before


def test_a_list_that_was_lost_is_taken_again(
    pull: Pull, server: Server, publisher: Publisher, user: Path, tmp_path: Path
) -> None:
    """Though nothing newer has been published."""
    server.has(publisher.published(tmp_path / "out"))
    assert pull().code == 0
    before = prices("runpod")
    (folder.refreshed()["runpod"] / "runpod.csv").write_bytes(b"damaged")
    assert prices("runpod") != before
    assert pull().code == 0
    assert prices("runpod") == before


def test_an_older_catalogue_is_refused(
    pull: Pull, server: Server, publisher: Publisher, user: Path, tmp_path: Path
) -> None:
    """Replayed with its own good signature, by whoever kept it."""
    for provider in PROVIDERS:
        publisher.holds(provider, AT - DAY_S - 60)
    older = publisher.published(tmp_path / "out", AT - DAY_S)
    publisher.holds("runpod", AT - 60, "1.1")
    server.has(publisher.published(tmp_path / "out", AT - 30))
    assert pull().code == 0
    before = kept(user)
    server.has(older)
    refused(pull(), "replays an older one", user, before)


def test_two_catalogues_of_one_time_are_refused(
    pull: Pull, server: Server, publisher: Publisher, user: Path, tmp_path: Path
) -> None:
    """Whichever came second."""
    server.has(publisher.published(tmp_path / "out"))
    assert pull().code == 0
    before = kept(user)
    publisher.holds("runpod", AT - 3000, "1.1")
    server.has(publisher.published(tmp_path / "out"))
    refused(pull(), "at the same time", user, before)


def test_a_catalogue_of_the_future_is_refused(
    pull: Pull, server: Server, publisher: Publisher, user: Path, tmp_path: Path
) -> None:
    """It would keep every later one out. A clock that is minutes apart is none."""
    server.has(publisher.published(tmp_path / "out", AT + 3600))
    refused(pull(), "in the future", user, {})
    server.has(publisher.published(tmp_path / "out", AT + 600))
    assert pull().code == 0


@pytest.mark.parametrize("signature", ["another's", "cut", "empty", "of other bytes"])
def test_a_wrong_signature_is_refused(
    signature: str, pull: Pull, server: Server, publisher: Publisher, user: Path, tmp_path: Path
) -> None:
    """Before anything else of it is asked for."""
    files = publisher.published(tmp_path / "out")
    right = files[origin.SIGNATURE]
    wrong = {
        "another's": key(2).sign(files[origin.MANIFEST]),
        "cut": right[:-1],
        "empty": b"",
        "of other bytes": key(1).sign(b"something else"),
    }
    server.has({**files, origin.SIGNATURE: wrong[signature]})
    refused(pull(), "none of the publisher's", user, {})
    assert [name for name, _ in server.asked] == [origin.MANIFEST, origin.SIGNATURE]


@pytest.mark.parametrize("part", [0, 0.3, 0.6, 1])
@pytest.mark.parametrize("which", ["manifest", "signature", "archive"])
def test_a_changed_byte_is_refused(  # noqa: PLR0917
    which: str, part: float, pull: Pull, server: Server, publisher: Publisher, user: Path, tmp_path: Path
) -> None:
    """Of any of the three files, wherever."""
    files = publisher.published(tmp_path / "out")
    name = {"manifest": origin.MANIFEST, "signature": origin.SIGNATURE}.get(which, next(iter(files)))
    changed = bytearray(files[name])
    changed[round((len(changed) - 1) * part)] ^= 1
    server.has({**files, name: bytes(changed)})
    refused(pull(), "hash is another" if which == "archive" else "none of the publisher's", user, {})


@pytest.mark.parametrize("which", ["manifest", "signature", "archive"])
def test_a_gigabyte_is_refused_early(
    which: str, pull: Pull, server: Server, publisher: Publisher, user: Path, tmp_path: Path
) -> None:
    """It is not read, and takes little memory."""
    files = publisher.published(tmp_path / "out")
    sent = []

    def gigabyte(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        for _ in range(1 << 10):
            handler.wfile.write(bytes(1 << 20))
            sent.append(1 << 20)

    server.has(files)
    name = {"manifest": origin.MANIFEST, "signature": origin.SIGNATURE}.get(which, next(iter(files)))
    server.files[name] = gigabyte
    tracemalloc.start()
    try:
        refused(pull(), "larger than", user, {})
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sum(sent) < 100 << 20
    assert peak < 64 << 20


@pytest.mark.parametrize("which", ["manifest", "archive"])
def test_who_sends_elsewhere_is_not_followed(
    which: str, pull: Pull, server: Server, publisher: Publisher, user: Path, tmp_path: Path
) -> None:
    """Another server has the very same files, and is not asked."""
    files = publisher.published(tmp_path / "out")
    elsewhere = Server()
    elsewhere.has(files)
    server.has(files)
    name = origin.MANIFEST if which == "manifest" else next(iter(files))
    server.files[name] = redirects(f"{elsewhere.url}/{name}")
    refused(pull(), "not followed", user, {})
    assert elsewhere.asked == []
    elsewhere.close()


def test_an_archive_that_is_missing_is_refused(
    pull: Pull, server: Server, publisher: Publisher, user: Path, tmp_path: Path
) -> None:
    """A manifest that came too early."""
    files = publisher.published(tmp_path / "out")
    server.has({name: data for name, data in files.items() if not name.startswith("prices-")})
    refused(pull(), "404", user, {})


def test_a_list_that_fails_the_gate_leaves_the_others(
    pull: Pull, server: Server, publisher: Publisher, user: Path
) -> None:
    """RunPod's prices are of another kind; the others count. The next pull asks for everything again."""
    publisher.holds("runpod", factor="700")
    server.has(publisher.unjudged())
    found = pull()
    assert (found.code, "runpod" in found.err, "per chip-hour" in found.out) == (2, True, True), found
    assert set(folder.refreshed()) == {"colab"}
    asked = len(server.asked)
    assert pull().code == 2
    assert server.asked[asked] == (origin.MANIFEST, "")


def test_most_prices_jumping_alike_are_refused_unless_accepted(
    pull: Pull, server: Server, publisher: Publisher, user: Path
) -> None:
    """As if they were in another unit."""
    publisher.holds("colab", factor="1.9")
    server.has(publisher.unjudged())
    assert pull().code == 2
    assert set(folder.refreshed()) == {"runpod"}
    assert pull("--accept-jumps").code == 0
    assert set(folder.refreshed()) == {"colab", "runpod"}


def test_a_price_that_waits_at_the_publisher_stays(pull: Pull, server: Server, publisher: Publisher) -> None:
    """The others of its place are taken all the same."""
    first = shipped("runpod").rows[0]
    held = Held(
        offer=first["offer"], region=first["region"], zones=first["zones"], market="on_demand",
        old=Decimal("2.39"), new=Decimal(9), since=AT - 3600,
    )  # fmt: skip
    publisher.holds("runpod", change=lambda row: first if row["offer"] == first["offer"] else row, held=(held,))
    server.has(publisher.unjudged())
    assert pull().code == 0
    assert install.manifest().lists["runpod"].held == (held,)


def test_a_provider_of_a_newer_version_is_passed_over(pull: Pull, server: Server, publisher: Publisher) -> None:
    """This version has no rows of it."""
    server.has(publisher.unjudged(rename={"colab": "newcloud", "runpod": "runpod"}.__getitem__))
    found = pull()
    assert (found.code, "newcloud: passed over" in found.err) == (0, True)
    assert set(folder.refreshed()) == {"runpod"}


@pytest.mark.parametrize("name", ["../colab", "colab/x", "COLAB", "", "colab.csv"])
def test_a_name_that_is_none_is_refused(
    name: str, pull: Pull, server: Server, publisher: Publisher, user: Path
) -> None:
    """Though it is signed."""
    server.has(publisher.unjudged(rename={"colab": name, "runpod": "runpod"}.__getitem__))
    refused(pull(), "none of a list or an archive", user, {})


def resigned(
    files: dict[str, bytes], publisher: Publisher, change: Callable[[dict[str, dict[str, object]]], None]
) -> dict[str, bytes]:
    """The files with another manifest, signed by the publisher."""
    document = json.loads(files[origin.MANIFEST])
    change(document)
    text = json.dumps(document).encode()
    return {**files, origin.MANIFEST: text, origin.SIGNATURE: publisher.key.sign(text)}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda document: document["lists"].pop("colab"), "does not name"),
        (lambda document: document["lists"].update(aws=document["lists"]["colab"]), "lacks aws.csv"),
        (lambda document: document["archive"].update(name="../../prices-1.tar.gz"), "none of a list or an archive"),
        (lambda document: document["archive"].update(name="https://elsewhere.example/prices-1.tar.gz"), "none of a list"),
        (lambda document: document.update(version=2), "version"),
        (lambda document: document.pop("archive"), "cannot be read"),
        (lambda document: document.update(made="yesterday"), "cannot be read"),
    ],
)  # fmt: skip
def test_archive_and_manifest_have_to_agree(  # noqa: PLR0917
    change: Callable[[dict[str, dict[str, object]]], None],
    says: str,
    pull: Pull,
    server: Server,
    publisher: Publisher,
    user: Path,
    tmp_path: Path,
) -> None:
    """A signature of the publisher's does not help a manifest that is none."""
    server.has(resigned(publisher.published(tmp_path / "out"), publisher, change))
    refused(pull(), says, user, {})


def test_a_list_of_another_hash_is_refused_alone(
    pull: Pull, server: Server, publisher: Publisher, tmp_path: Path
) -> None:
    """The archive is right, and what the manifest says of one list is not."""
    server.has(
        resigned(
            publisher.published(tmp_path / "out"),
            publisher,
            lambda document: document["lists"]["colab"].update(sha256="0" * 64),  # type: ignore[attr-defined]
        )
    )
    found = pull()
    assert (found.code, "its hash is not the manifest's" in found.out) == (2, True)
    assert set(folder.refreshed()) == {"runpod"}


def test_either_of_two_keys_is_believed(
    cloudtrain: Pull, server: Server, publisher: Publisher, user: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of this version, while one takes the other's place; and the old one no longer afterwards."""
    signed = {}
    for at, number in ((AT - 900, 1), (AT - 800, 2), (AT - 700, 1)):
        publisher.key = key(number)
        signed[at] = publisher.published(tmp_path / "out", at)
    monkeypatch.setattr(origin, "ADDRESS", server.url)
    monkeypatch.setattr(origin, "PUBLIC_KEYS", (public_line(key(1)), public_line(key(2))))
    for at in (AT - 900, AT - 800):
        server.has(signed[at])
        assert cloudtrain("prices", "pull").code == 0
    monkeypatch.setattr(origin, "PUBLIC_KEYS", (public_line(key(2)),))
    server.has(signed[AT - 700])
    refused(cloudtrain("prices", "pull"), "none of the publisher's", user, kept(user))


def test_several_key_files_are_believed(
    cloudtrain: Pull, server: Server, publisher: Publisher, key_file: Path, user: Path, tmp_path: Path
) -> None:
    """--public-key may be repeated."""
    other = tmp_path / "other.pem"
    other.write_bytes(public_pem(key(2)))
    publisher.key = key(2)
    server.has(publisher.published(tmp_path / "out"))
    words = ("prices", "pull", "--url", server.url, "--public-key", str(key_file))
    assert cloudtrain(*words).code == 2
    assert cloudtrain(*words, "--public-key", str(other)).code == 0


def test_nothing_is_published_yet(cloudtrain: Pull, user: Path, tmp_path: Path) -> None:
    """Without a place, and without a key, `pull` says so: address and keys of this version are empty."""
    assert (origin.ADDRESS, origin.PUBLIC_KEYS) == ("", ())
    found = cloudtrain("prices", "pull")
    assert (found.code, "no catalogue is published yet" in found.err) == (2, True)
    found = cloudtrain("prices", "pull", "--file", str(tmp_path))
    assert (found.code, "--public-key FILE" in found.err) == (2, True)


@pytest.mark.parametrize("named", ["folder", "manifest", "archive"])
def test_downloaded_files_are_taken(
    named: str, cloudtrain: Pull, publisher: Publisher, key_file: Path, user: Path, tmp_path: Path
) -> None:
    """Whichever of them is named."""
    files = publisher.published(tmp_path / "out")
    name = {"folder": "", "manifest": origin.MANIFEST}.get(named, next(iter(files)))
    found = cloudtrain("prices", "pull", "--file", str(tmp_path / "out" / name), "--public-key", str(key_file))
    assert found.code == 0, found
    assert set(folder.refreshed()) == set(PROVIDERS)


def test_a_downloaded_file_is_bounded(
    cloudtrain: Pull, publisher: Publisher, key_file: Path, user: Path, tmp_path: Path
) -> None:
    """And has its signature beside it."""
    publisher.published(tmp_path / "out")
    words = ("prices", "pull", "--file", str(tmp_path / "out"), "--public-key", str(key_file))
    (tmp_path / "out" / origin.SIGNATURE).unlink()
    refused(cloudtrain(*words), "manifest.json.sig", user, {})
    with open(tmp_path / "out" / origin.MANIFEST, "wb") as file:
        file.truncate(1 << 30)
    refused(cloudtrain(*words), "larger than 1 MB", user, {})


def test_an_own_newer_answer_stays(
    pull: Pull, server: Server, publisher: Publisher, user: Path, tmp_path: Path
) -> None:
    """Whoever asked a provider after the publisher did knows better."""
    own = Publisher(user, publisher.monkeypatch)
    own.holds("runpod", AT - 60, "1.2")
    before = prices("runpod")
    server.has(publisher.published(tmp_path / "out"))
    found = pull("-o", "json")
    states = {each["provider"]: each["state"] for each in json.loads(found.out)}
    assert (found.code, states) == (0, {"colab": "renewed", "runpod": "unchanged"})
    assert prices("runpod") == before


def test_an_older_price_of_theirs_is_not_taken(
    pull: Pull, server: Server, publisher: Publisher, user: Path, tmp_path: Path
) -> None:
    """Price by price: what the publisher could not ask for since keeps the day on which we saw it."""
    own = Publisher(user, publisher.monkeypatch)
    own.holds("colab", AT - DAY_S, "1.1")
    publisher.holds("colab", AT - 3 * DAY_S)
    older = publisher.published(tmp_path / "out")
    before = prices("colab")
    server.has(resigned(older, publisher, lambda document: document["lists"]["colab"].update(asked_at=AT - 3600)))  # type: ignore[attr-defined]
    assert pull().code == 0
    assert prices("colab") == before


def test_what_an_own_refresh_lacks_is_taken(
    pull: Pull, server: Server, publisher: Publisher, user: Path, tmp_path: Path
) -> None:
    """A region that did not answer us did answer the publisher, though earlier; its day is later than ours."""
    own = Publisher(user, publisher.monkeypatch)
    own.lists("runpod", answered(shipped("runpod"), "2026-11-20", "1.2"), AT - 60)
    server.has(publisher.published(tmp_path / "out"))
    assert pull().code == 0
    assert {day for usd, day in prices("runpod").values() if usd is not None} == {"2026-11-24"}
    assert install.manifest().lists["runpod"].asked_at == AT - 60


def test_a_list_of_the_future_is_refused(pull: Pull, server: Server, publisher: Publisher, tmp_path: Path) -> None:
    """In a manifest that is of today."""
    ahead = resigned(
        publisher.published(tmp_path / "out"),
        publisher,
        lambda document: document["lists"]["runpod"].update(asked_at=AT + 3600),
    )  # type: ignore[attr-defined]
    server.has(ahead)
    found = pull()
    assert (found.code, "runpod: it says" in found.out) == (2, True)
    assert set(folder.refreshed()) == {"colab"}


def test_who_is_overtaken_installs_nothing_older(publisher: Publisher, user: Path, tmp_path: Path) -> None:
    """Another process pulls a newer catalogue while ours is still on its way."""
    from cloudtrain.prices.published.place import Folder
    from cloudtrain.prices.published.pull import pull as take

    keys = [key(1).public_key()]
    publisher.published(tmp_path / "older", AT - 1800)
    publisher.published(tmp_path / "newer", AT - 900)

    class Slow(Folder):
        def get(self, name: str, most_bytes: int, etag: str = "") -> Answer | None:
            if name.startswith("prices-"):
                take(Folder(tmp_path / "newer"), keys, now=AT)
            return super().get(name, most_bytes, etag)

    with pytest.raises(UsageError, match="replays an older one"):
        take(Slow(tmp_path / "older"), keys, now=AT)


def test_sizes_are_always_ours(pull: Pull, server: Server, publisher: Publisher) -> None:
    """A list that calls a machine another one brings no price for it, and none of its sizes."""

    def larger(row: Row) -> Row:
        return {**row, "accel_mem_gib": "999", "ram_gib": "9999", "note": "best of all", "trainable": "yes"}

    publisher.holds("runpod", change=larger)
    publisher.holds("colab", change=lambda row: {**row, "accel_count": "512", "vcpus": "512"})
    server.has(publisher.unjudged())
    found = pull()
    assert "colab: " in found.err
    assert "does not list are passed over" in found.err
    text = (folder.refreshed()["runpod"] / "runpod.csv").read_text()
    assert "999" not in text
    assert "best of all" not in text
    assert prices("runpod") != {
        cell: (price_in(row, cell.market), row["observed"]) for cell, row in shipped("runpod").cells
    }


def test_a_death_between_two_lists_is_made_good(
    pull: Pull, server: Server, publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What counts already counts on, and the next pull takes the rest."""
    server.has(publisher.published(tmp_path / "out"))
    really = install.install

    def dies(provider: str, *rest: object) -> object:
        if provider == "runpod":
            raise KeyboardInterrupt
        return really(provider, *rest)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(install, "install", dies)
        assert pull().code == 130
    assert set(folder.refreshed()) == {"colab"}
    assert pull().code == 0
    assert set(folder.refreshed()) == {"colab", "runpod"}


def test_a_users_own_catalogue_stays(pull: Pull, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With CLOUDTRAIN_CATALOG nothing that is pulled would be read."""
    monkeypatch.setenv("CLOUDTRAIN_CATALOG", str(tmp_path))
    found = pull()
    assert (found.code, "CLOUDTRAIN_CATALOG is set" in found.err) == (2, True)


def damaged(files: dict[str, bytes], chance: Random) -> dict[str, bytes]:
    """The files with something done to one of them: bits turned, a piece cut out, doubled, or moved, or two exchanged."""
    name, other = chance.sample(sorted(files), 2)
    data = files[name]
    begin, end = sorted(chance.randrange(len(data) + 1) for _ in range(2))
    kinds = {
        "bit": bytes((*data[: end - 1], data[end - 1] ^ (1 << chance.randrange(8)), *data[end:])) if end else b"",
        "cut": data[:begin] + data[end:],
        "doubled": data[:end] + data[begin:],
        "ended": data[:begin],
        "followed": data + data[begin : begin + 9],
        "exchanged": files[other],
        "zeros": data[:begin] + bytes(end - begin) + data[end:],
    }
    return {**files, name: kinds[chance.choice(sorted(kinds))]}


@pytest.mark.parametrize("times", [100, pytest.param(20_000, marks=pytest.mark.soak)], ids=["some", "many"])
def test_whatever_is_damaged_nothing_counts(times: int, publisher: Publisher, user: Path, tmp_path: Path) -> None:
    """Any damage to any file leaves what was there."""
    from cloudtrain.prices.published.place import Folder
    from cloudtrain.prices.published.pull import pull as take

    whole = publisher.published(tmp_path / "out")
    chance = Random(16)
    for _ in range(times):
        files = damaged(whole, chance)
        if files == whole:
            continue
        for name, data in files.items():
            (tmp_path / "out" / name).write_bytes(data)
        with pytest.raises(UsageError):
            take(Folder(tmp_path / "out"), [key(1).public_key()], now=AT)
        assert not user.exists()
