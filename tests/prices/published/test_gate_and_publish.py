"""`cloudtrain prices gate` and `publish`: what passes is archived and signed, one list's fault keeps no other back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from cloudtrain.prices import folder
from cloudtrain.prices.published import archive, origin
from cloudtrain.prices.table import Row
from tests.conftest import Result
from tests.prices.published.conftest import AT, DAY_S, PROVIDERS, Publisher, key, private_pem, public_line

Command = Callable[..., Result]
pytestmark = pytest.mark.usefixtures("user")
FAULTS: dict[str, Callable[[Row], Row]] = {
    "zero": lambda row: {**row, "od_usd_h": "0"},
    "a filler": lambda row: {**row, "od_usd_h": "700"},
    "spot above list": lambda row: {**row, "spot_usd_h": "12", "spot_observed": "2026-11-24"},
    "a day that is not yet": lambda row: {**row, "observed": "2026-12-24"},
    "no day": lambda row: {**row, "observed": "lately"},
    "another size": lambda row: {**row, "accel_mem_gib": "999"},
    "another provider": lambda row: {**row, "provider": "aws"},
    "no number": lambda row: {**row, "od_usd_h": "two"},
}  # fmt: skip


def publish(cloudtrain: Command, publisher: Publisher, target: Path, *more: str) -> Result:
    """`cloudtrain prices publish` with the publisher's key in a variable."""
    publisher.monkeypatch.setenv("PRICES_KEY", private_pem(publisher.key))
    return cloudtrain("prices", "publish", publisher.place, "--to", target, "--key-env", "PRICES_KEY", *more)


def test_a_refreshed_folder_passes(cloudtrain: Command, publisher: Publisher) -> None:
    """Every list, against the shipped one; JSON by its schema."""
    found = cloudtrain("prices", "gate", publisher.place, "-o", "json")
    assert found.code == 0, found
    document = json.loads(found.out)
    jsonschema.validate(document, json.loads(cloudtrain("schema", "prices-gate").out))
    assert [(each["provider"], each["passes"]) for each in document] == [(name, True) for name in PROVIDERS]
    assert all(0 < each["changed"] <= each["prices"] for each in document)


def test_the_shipped_lists_pass(cloudtrain: Command) -> None:
    """A folder without a manifest is read by the names of its files; those of disks and extras are no price lists."""
    found = cloudtrain("prices", "gate", folder.shipped_file("aws").parent)
    assert (found.code, "disks" in found.out) == (0, False), found


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_and_keeps_no_other_back(fault: str, cloudtrain: Command, publisher: Publisher) -> None:
    """Exit code 2, and the other lists are judged all the same."""
    publisher.holds("runpod", change=FAULTS[fault])
    found = cloudtrain("prices", "gate", publisher.place, "-o", "json")
    verdicts = {each["provider"]: each for each in json.loads(found.out)}
    assert (found.code, "runpod do not pass" in found.err) == (2, True), found
    assert verdicts["runpod"]["faults"]
    assert verdicts["colab"]["passes"]


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe", b"provider\nrunpod\n", None, "another price"])
def test_a_damaged_list_does_not_pass(damage: bytes | str | None, cloudtrain: Command, publisher: Publisher) -> None:
    """Another file than the manifest names, or none."""
    (path,) = publisher.place.glob("runpod-*/runpod.csv")
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage if isinstance(damage, bytes) else path.read_bytes().replace(b"2.5095", b"2.4095"))
    found = cloudtrain("prices", "gate", publisher.place)
    assert (found.code, "runpod" in found.err) == (2, True), found


def test_another_folder_may_be_compared_with(cloudtrain: Command, publisher: Publisher, tmp_path: Path) -> None:
    """What differs from last night is counted, not what differs from the shipped list."""
    shutil.copytree(publisher.place, tmp_path / "before")
    publisher.holds("runpod", AT - 60, "1.2")
    words = ("prices", "gate", publisher.place, "--against", tmp_path / "before", "-o", "json")
    changed = {each["provider"]: each["changed"] for each in json.loads(cloudtrain(*words).out)}
    assert changed["colab"] == 0
    assert changed["runpod"] > 0


@pytest.mark.parametrize("place", ["", "nowhere", "disks.csv"])
def test_a_folder_without_lists_is_bad_input(place: str, cloudtrain: Command, tmp_path: Path) -> None:
    """It is empty, it is none, it is a file."""
    (tmp_path / "disks.csv").write_text("a,b\n")
    assert cloudtrain("prices", "gate", tmp_path / place).code == 2


def test_the_manifest_comes_last(cloudtrain: Command, publisher: Publisher, tmp_path: Path) -> None:
    """Printed in the order in which the files are to be uploaded: with the manifest they count."""
    found = publish(cloudtrain, publisher, tmp_path / "out")
    assert found.code == 0, found
    names = [Path(line).name for line in found.out.splitlines()]
    assert names == ["prices-2026-11-24T120000Z.tar.gz", origin.SIGNATURE, origin.MANIFEST]
    key(1).public_key().verify(
        (tmp_path / "out" / origin.SIGNATURE).read_bytes(), (tmp_path / "out" / origin.MANIFEST).read_bytes()
    )


def test_the_same_lists_are_published_as_the_same_bytes(publisher: Publisher, tmp_path: Path) -> None:
    """Whatever the clock of the files says."""
    first = publisher.published(tmp_path / "first")
    for path in publisher.place.rglob("*.csv"):
        path.touch()
    assert publisher.published(tmp_path / "second") == first


def test_a_list_with_a_fault_is_left_out(cloudtrain: Command, publisher: Publisher, tmp_path: Path) -> None:
    """The run is red, and the others are published all the same."""
    publisher.holds("runpod", change=FAULTS["a filler"])
    found = publish(cloudtrain, publisher, tmp_path / "out")
    assert (found.code, "runpod" in found.err) == (2, True), found
    manifest = json.loads((tmp_path / "out" / origin.MANIFEST).read_text())
    assert list(manifest["lists"]) == ["colab"]
    packed = (tmp_path / "out" / manifest["archive"]["name"]).read_bytes()
    assert list(archive.unpacked(packed, ["colab.csv"], origin.MOST_BYTES)) == ["colab.csv"]


def test_nothing_that_passes_publishes_nothing(cloudtrain: Command, publisher: Publisher, tmp_path: Path) -> None:
    """Neither archive nor manifest is written."""
    for provider in PROVIDERS:
        publisher.holds(provider, change=FAULTS["another provider"])
    assert publish(cloudtrain, publisher, tmp_path / "out").code == 2
    assert not (tmp_path / "out").exists()


def test_a_key_that_nobody_believes_signs_nothing(
    cloudtrain: Command, publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once there are keys in the wheel, a wrong secret is noticed before users are."""
    monkeypatch.setattr(origin, "PUBLIC_KEYS", (public_line(key(2)), public_line(key(3))))
    found = publish(cloudtrain, publisher, tmp_path / "out")
    assert (found.code, "belongs to none of the public keys" in found.err) == (2, True)
    assert not (tmp_path / "out").exists()
    publisher.key = key(3)
    assert publish(cloudtrain, publisher, tmp_path / "out").code == 0


@pytest.mark.parametrize("kind", ["unset", "empty", "no key", "public", "rsa", "on the command line"])
def test_a_wrong_private_key_is_said_and_not_shown(
    kind: str, cloudtrain: Command, publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes from a variable, never from the command line."""
    rsa = generate_private_key(65537, 1024).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    texts = {"empty": "", "no key": "planted secret", "public": public_line(key(1)), "rsa": rsa.decode()}
    if kind in texts:
        monkeypatch.setenv("PRICES_KEY", texts[kind])
    name = private_pem(key(1)) if kind == "on the command line" else "PRICES_KEY"
    found = cloudtrain("prices", "publish", publisher.place, "--to", tmp_path / "out", "--key-env", name)
    assert (found.code, found.out) == (2, "")
    secret = private_pem(key(1)).splitlines()[1]
    assert not any(text in found.err for text in ("planted", secret, rsa.decode().splitlines()[1]))
    assert not (tmp_path / "out").exists()


def test_a_folder_without_a_manifest_is_not_published(
    cloudtrain: Command, publisher: Publisher, tmp_path: Path
) -> None:
    """Nobody could say when its prices were asked for."""
    publisher.place = folder.shipped_file("aws").parent
    assert publish(cloudtrain, publisher, tmp_path / "out").code == 2


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_openssl_agrees_with_the_signature(publisher: Publisher, key_file: Path, tmp_path: Path) -> None:
    """As the documentation has it: anybody can check what is published, without cloudtrain."""
    import subprocess

    publisher.published(tmp_path / "out", AT - DAY_S / 48)
    words = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", key_file, "-rawin", "-in", origin.MANIFEST]
    done = subprocess.run(
        [*words, "-sigfile", origin.SIGNATURE], cwd=tmp_path / "out", capture_output=True, text=True, check=False
    )
    assert (done.returncode, "Verified Successfully" in done.stdout) == (0, True), done


def test_what_nobody_could_pull_is_not_published(
    cloudtrain: Command, publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Archive or manifest above the limits of a pull: said while it can be mended."""
    for limit in ("MOST_BYTES", "MOST_MANIFEST_BYTES"):
        with monkeypatch.context() as patch:
            patch.setattr(origin, limit, 500)
            found = publish(cloudtrain, publisher, tmp_path / "out")
        assert (found.code, "larger than `prices pull` takes" in found.err) == (2, True)
        assert not (tmp_path / "out").exists()
