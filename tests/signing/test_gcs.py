"""Signed addresses of Google Cloud Storage: as Google's conformance tests have them, and as a strict fake takes them."""

from __future__ import annotations

import base64
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from cloudtrain.signing import gcs as signing_gcs
from cloudtrain.signing import urls
from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.gcp.storage import GcsCloud, buckets
from cloudtrain.state.bucket import ObjectFolder
from cloudtrain.state.errors import BucketDenied
from cloudtrain.state.protocol import AlreadyThere
from tests.patience import PATIENCE_S

STATE = "gs://bucket-state/team"
# googleapis/conformance-tests, storage/v1/v4_signatures.json, "Simple GET".
CONFORMANCE = "GOOG4-RSA-SHA256\n20190201T090000Z\n20190201/auto/storage/goog4_request\n"
CONFORMANCE += "00e2fb794ea93d7adb703edaebdd509821fcc7d4f1a79ac5c8d2b394df109320"
TESTER = "test-iam-credentials@dummy-project-id.iam.gserviceaccount.com"


@pytest.fixture(scope="module")
def made() -> Iterator[GcsCloud]:
    """One fake for the module: a key takes a moment to make."""
    cloud = GcsCloud()
    yield cloud
    cloud.stop()


@pytest.fixture
def google(made: GcsCloud, monkeypatch: pytest.MonkeyPatch) -> GcsCloud:
    """The fake, found by this process, with one bucket."""
    made.reset(Clock())
    made.make_bucket("bucket-state")
    for name in signing_gcs.KEY_FILES:
        monkeypatch.delenv(name, raising=False)
    for name, value in made.environment().items():
        monkeypatch.setenv(name, value)
    return made


def fetched(url: str) -> tuple[int, bytes]:
    """Status and content of an address."""
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read()


@cache
def machine_module(name: str) -> Any:
    """A file of what a machine runs, as a module."""
    path = Path(str(files("cloudtrain.templates").joinpath("machine", f"{name}.py")))
    about = spec_from_file_location(f"machine_{name}", path)
    assert about is not None
    assert about.loader is not None
    module = module_from_spec(about)
    about.loader.exec_module(module)
    return module


def mailbox(form: dict[str, Any]) -> Any:
    """What a machine writes with."""
    return machine_module("bucket").Mailbox(form, time.time() + 60)


def test_what_is_signed_is_what_googles_conformance_tests_expect(monkeypatch: pytest.MonkeyPatch) -> None:
    """The text to sign, byte for byte, and the address around its signature."""
    texts = []

    def sign(self: signing_gcs.Signer, text: str) -> str:
        texts.append(text)
        return "ab"

    monkeypatch.setattr(signing_gcs.Signer, "sign", sign)
    monkeypatch.setattr(signing_gcs, "signer", lambda address: signing_gcs.Signer(TESTER, ""))
    at = datetime(2019, 2, 1, 9, tzinfo=UTC).timestamp()
    url = urls.get_url("gs://test-bucket", "test-object", at, 10)
    assert texts == [CONFORMANCE]
    assert url == (
        "https://storage.googleapis.com/test-bucket/test-object?X-Goog-Algorithm=GOOG4-RSA-SHA256&X-Goog-Credential="
        "test-iam-credentials%40dummy-project-id.iam.gserviceaccount.com%2F20190201%2Fauto%2Fstorage%2Fgoog4_request"
        "&X-Goog-Date=20190201T090000Z&X-Goog-Expires=10&X-Goog-SignedHeaders=host&X-Goog-Signature=ab"
    )


def test_an_address_reads_only_its_object_until_it_expires(google: GcsCloud) -> None:
    """Another key, another time, a changed signature: refused."""
    ObjectFolder(STATE).write("runs/r/a b.json", b"hello")
    ObjectFolder(STATE).write("runs/r/other", b"secret")
    url = urls.get_url(STATE, "runs/r/a b.json", time.time(), 60.0)
    assert fetched(url) == (200, b"hello")
    assert fetched(url.replace("a%20b.json", "other"))[0] == 403
    assert fetched(url.replace("X-Goog-Expires=60", "X-Goog-Expires=90"))[0] == 403
    assert fetched(url.partition("?")[0])[0] == 401
    google.clock.advance(61)
    status, words = fetched(url)
    assert (status, b"ExpiredToken" in words) == (400, True)


def test_the_same_moment_gives_the_same_address(google: GcsCloud) -> None:
    """A repeat of the call that makes the machine is the same request."""
    inputs = {"boot": {"state": STATE, "ticket": "runs/r/tickets/1.json", "signed_at": 1_800_000_000}, "expires": 18e8}
    assert urls.ticket_url(inputs) == urls.ticket_url(inputs)
    assert "X-Goog-Expires=3600&" in urls.ticket_url(inputs)


def test_a_form_writes_below_its_prefix_until_its_end(google: GcsCloud, tmp_path: Path) -> None:
    """As the machine sends it: bytes and a file arrive; another run's prefix, a changed policy, a late form do not."""
    now = time.time()
    form = urls.post_policy(STATE, "runs/r/", now, now + 60)
    (tmp_path / "file").write_bytes(b"x" * 100_000)
    mailbox(form).put("log/0000000000000000", b"line\n")
    mailbox(form).put("output/file", str(tmp_path / "file"))
    found = google.objects("bucket-state")
    assert found["team/runs/r/log/0000000000000000"] == b"line\n"
    assert found["team/runs/r/output/file"] == b"x" * 100_000
    refused = machine_module("bucket").Refused
    with pytest.raises(refused, match="Policy Condition failed"):
        mailbox({**form, "prefix": "team/runs/other/"}).put("exit.json", b"{}")
    policy = json.loads(base64.b64decode(form["fields"]["policy"]))
    policy["conditions"][1][2] = ""
    changed = base64.b64encode(json.dumps(policy).encode()).decode()
    with pytest.raises(refused, match="SignatureDoesNotMatch"):
        mailbox({**form, "fields": {**form["fields"], "policy": changed}}).put("exit.json", b"{}")
    with pytest.raises(refused, match="does not cover"):
        mailbox({**form, "fields": {**form["fields"], "acl": "public-read"}}).put("exit.json", b"{}")
    google.clock.advance(61)
    with pytest.raises(refused, match="PolicyExpired"):
        mailbox(form).put("exit.json", b"{}")


def test_the_state_works_on_the_fake_as_on_any_bucket(google: GcsCloud, tmp_path: Path) -> None:
    """Conditions, listing, ranges, lines, large files, leases: with a token that the fake has checked."""
    store = ObjectFolder(STATE)
    store.create("a", b"1")
    with pytest.raises(AlreadyThere):
        store.create("a", b"2")
    store.append("events.jsonl", b'{"n": 1}')
    store.append("events.jsonl", b'{"n": 2}')
    assert store.read("events.jsonl") == b'{"n": 1}\n{"n": 2}\n'
    (tmp_path / "large").write_bytes(bytes(range(256)) * (50 << 10))
    with open(tmp_path / "large", "rb") as file:
        store.upload("large", file)
    assert store.size("large") == 12_800 << 10
    assert store.read_from("large", 256, 3) == b"\0\1\2"
    assert store.read_from("large", 13_200_000, 3) == b""
    assert store.children("") == ["a", "events.jsonl", "large"]
    with store.hold("client.lock"):
        assert store.holder("client.lock") is not None
    assert store.holder("client.lock") is None
    store.delete("events.jsonl")
    assert store.read("events.jsonl") is None
    assert google.objects("bucket-state").keys() == {"team/a", "team/large"}


def test_a_listing_of_several_pages_is_read_whole(google: GcsCloud) -> None:
    """More objects than a page has."""
    for number in range(buckets.PAGE + 5):
        google.buckets.keep("bucket-state", f"team/log/{number:016d}", b"")
    assert len(ObjectFolder(STATE).children("log")) == buckets.PAGE + 5


def test_somebody_elses_key_is_refused(google: GcsCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token, an address and a form that another account has signed."""
    other = GcsCloud()
    try:
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", other.key_file)
        url = urls.get_url(STATE, "a", time.time(), 60.0)
        form = urls.post_policy(STATE, "runs/r/", time.time(), time.time() + 60)
        assert fetched(url)[0] == 403
        with pytest.raises(machine_module("bucket").Refused, match="SignatureDoesNotMatch"):
            mailbox(form).put("exit.json", b"{}")
        with pytest.raises(BucketDenied):
            ObjectFolder(STATE).write("a", b"")
    finally:
        other.stop()


@pytest.mark.parametrize("content", ["", '{"type": "authorized_user", "refresh_token": "PLANTED-SECRET"}', "no json"])
def test_credentials_without_a_key_are_refused_with_what_to_do(
    content: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A person's login cannot sign: told before anything is made."""
    for name in signing_gcs.KEY_FILES:
        monkeypatch.delenv(name, raising=False)
    if content:
        (tmp_path / "adc.json").write_text(content)
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "adc.json"))
    with pytest.raises(BucketDenied) as told:
        urls.check(STATE)
    assert "key file of a service account" in told.value.hint
    assert "PLANTED-SECRET" not in told.value.message
    assert told.value.exit_code == 4
