"""`cloudtrain doctor --install-pulumi`: says what it gets, gets it whole and by checksum; a failure leaves nothing half.

The sites of its makers are played by a table of addresses. Go, too, is played by a script.
"""

from __future__ import annotations

import io
import os
import stat
import subprocess
import sys
import tarfile
from collections.abc import Callable
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest

from cloudtrain.provisioner import provisioner
from tests.cli.clouds_here import without_credentials
from tests.conftest import Result

Command = Callable[..., Result]
VERSION = provisioner().version
SCRIPT = f"#!/bin/sh\necho v{VERSION}\n"
ARCHIVE, LIST = "get.pulumi.com", "github.com"  # where which comes from


GO = """#!/bin/sh
while [ $# -gt 0 ]; do
    if [ "$1" = -o ]; then shift; target="$1"; fi
    if [ "$1" = -ldflags ]; then shift; version="${1##*Version=}"; fi
    shift
done
grep -q pulumi/pkg/v3 go.mod && test -s go.sum || { echo 'no module here' >&2; exit 1; }
printf '#!/bin/sh\\necho %s\\n' "$version" > "$target"
chmod +x "$target"
"""


@pytest.fixture(autouse=True)
def no_go(monkeypatch: pytest.MonkeyPatch, empty_machine: None, own_world: Path) -> Callable[[str], None]:
    """A Go that says that it cannot, or another one."""
    folder = own_world / "go"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)

    def choose(script: str) -> None:
        (folder / "go").write_text(script)
        (folder / "go").chmod(stat.S_IRWXU)

    choose("#!/bin/sh\necho 'no module proxy' >&2\nexit 1\n")
    return choose


@pytest.fixture
def empty_machine(monkeypatch: pytest.MonkeyPatch, own_world: Path) -> None:
    """No engine anywhere, no credentials, a cache of its own."""
    without_credentials(monkeypatch, own_world)
    monkeypatch.delenv("CLOUDTRAIN_PULUMI_ROOT", raising=False)
    monkeypatch.setenv("CLOUDTRAIN_CACHE", str(own_world / "cache"))
    folders = [f for f in os.environ["PATH"].split(os.pathsep) if not os.access(Path(f) / "pulumi", os.X_OK)]
    monkeypatch.setenv("PATH", os.pathsep.join(folders))


class Sites:
    """What the two sites have: the archive with this script as the command line, and the list of checksums."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.script: str | None = SCRIPT
        self.member = "pulumi/pulumi"
        self.down: set[str] = set()
        self.listed: Callable[[str, bytes], str] = lambda name, archive: f"{sha256(archive).hexdigest()}  {name}\n"
        self.cut = 0

    def archive(self) -> bytes:
        """A release, with what else is in one."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as files:
            for name in (self.member, "pulumi/pulumi-resource-pulumi-python"):
                data = (self.script or "").encode()
                member = tarfile.TarInfo(name)
                member.size, member.mode = len(data), 0o755
                files.addfile(member, io.BytesIO(data))
        return packed.getvalue()

    def open(self, url: str, timeout: float) -> io.BytesIO:
        """What `urlopen` answers."""
        self.asked.append(url)
        host, name = url.split("/")[2], fetch().archive_name()
        if host in self.down:
            raise URLError("no way to the network")
        if host == LIST:
            return io.BytesIO(f"{'0' * 64}  another.tar.gz\n{self.listed(name, self.archive())}".encode())
        assert url.endswith(f"/{name}")
        return io.BytesIO(self.archive()[self.cut :])


def fetch() -> Any:
    """The module that downloads."""
    return import_module("cloudtrain.stacks._pulumi.fetch")


@pytest.fixture
def sites(monkeypatch: pytest.MonkeyPatch) -> Sites:
    """Both sites up, with the right release."""
    made = Sites()
    monkeypatch.setattr(fetch().urllib.request, "urlopen", made.open)
    return made


def litter(own_world: Path) -> list[str]:
    """What lies in the cache below `pulumi`."""
    folder = own_world / "cache" / "pulumi"
    return sorted(os.listdir(folder)) if folder.exists() else []


def test_it_says_what_it_downloads_and_installs_the_engine(cloudtrain: Command, own_world: Path, sites: Sites) -> None:
    """Version, source, size and place on stderr; then it is found and has been run. Again: nothing is downloaded."""
    result = cloudtrain("doctor", "local", "--install-pulumi")
    assert result.code == 0, result.out
    said = f"Pulumi {VERSION} from https://get.pulumi.com (about 150 MB) into {own_world}/cache/pulumi/v{VERSION}"
    assert said in result.err
    assert f"{VERSION} in {own_world}/cache/pulumi/v{VERSION}" in result.out
    assert litter(own_world) == [f"v{VERSION}"]
    root = own_world / "cache" / "pulumi" / f"v{VERSION}"
    assert provisioner().find() == (root, VERSION)
    assert sorted(path.name for path in root.rglob("*")) == ["bin", "pulumi"]  # and no plugin that runs code
    asked = list(sites.asked)
    assert {url.split("/")[2] for url in asked} == {ARCHIVE, LIST}
    again = cloudtrain("doctor", "local", "--install-pulumi")
    assert (again.code, sites.asked) == (0, asked)


def other_version(sites: Sites) -> None:
    sites.script = SCRIPT.replace(VERSION, "3.260.0")


def one_that_does_not_run(sites: Sites) -> None:
    sites.script = "#!/bin/sh\nexit 7\n"


def one_without_the_program(sites: Sites) -> None:
    sites.member = "pulumi/other"


def another_checksum(sites: Sites) -> None:
    sites.listed = lambda name, archive: f"{'1' * 64}  {name}\n"


def no_checksum(sites: Sites) -> None:
    sites.listed = lambda name, archive: "<html>404</html>"


def a_cut_archive(sites: Sites) -> None:
    sites.cut = 1


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (lambda sites: sites.down.add(ARCHIVE), "no way to the network"),
        (lambda sites: sites.down.add(LIST), "no way to the network"),
        (other_version, "not version"),
        (one_that_does_not_run, "could not be installed"),
        (one_without_the_program, "cannot be unpacked"),
        (another_checksum, "and not 1111111111111111...: nothing of it was run"),
        (no_checksum, "does not name"),
        (a_cut_archive, "nothing of it was run"),
    ],
)
def test_a_failure_is_a_line_and_leaves_nothing_half(
    cloudtrain: Command, own_world: Path, sites: Sites, fault: Callable[[Sites], None], words: str
) -> None:
    """A site that is down, another version, an archive that is not the listed one: exit 1, no engine, nothing run."""
    fault(sites)
    result = cloudtrain("doctor", "local", "--install-pulumi")
    assert (result.code, words in result.err) == (1, True), result.err
    assert "Pulumi's installation" in result.out
    assert "no module proxy" in result.out
    assert litter(own_world) == []


def test_a_checksum_that_we_know_is_the_only_one_believed(
    cloudtrain: Command, sites: Sites, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both sites may lie then; the list is not even asked for."""
    name = fetch().archive_name()
    monkeypatch.setattr(fetch(), "CHECKSUMS", {name: "2" * 64})
    result = cloudtrain("doctor", "local", "--install-pulumi")
    assert (result.code, "and not 2222222222222222..." in result.err) == (1, True)
    monkeypatch.setattr(fetch(), "CHECKSUMS", {name: sha256(sites.archive()).hexdigest()})
    sites.asked.clear()
    assert cloudtrain("doctor", "local", "--install-pulumi").code == 0
    assert [url.split("/")[2] for url in sites.asked] == [ARCHIVE]


def test_the_known_checksums_are_of_the_pinned_version() -> None:
    """Whoever raises the version looks them up again."""
    assert all(f"-v{VERSION}-" in name for name in fetch().CHECKSUMS)


def test_without_the_makers_site_it_is_built_from_its_module(
    cloudtrain: Command, own_world: Path, sites: Sites, no_go: Callable[[str], None]
) -> None:
    """What it does, how long it takes and why is said first; nothing but the engine stays."""
    sites.down.add(ARCHIVE)
    no_go(GO)
    result = cloudtrain("doctor", "local", "--install-pulumi")
    assert result.code == 0, result.out
    assert "no way to the network" in result.err
    assert "building it from its Go module instead (3 to 8 minutes" in result.err
    assert provisioner().find()[1] == provisioner().version
    assert litter(own_world) == [f"v{provisioner().version}"]


def test_a_broken_installation_stays_until_a_whole_one_replaces_it(
    cloudtrain: Command, own_world: Path, sites: Sites
) -> None:
    """What is there stays until something better is whole."""
    root = provisioner().target()
    (root / "bin").mkdir(parents=True)
    (root / "bin" / "pulumi").write_text("#!/bin/sh\nexit 1\n")
    (root / "bin" / "pulumi").chmod(stat.S_IRWXU)
    assert "does not run" in cloudtrain("doctor", "local").out
    sites.down.add(ARCHIVE)
    cloudtrain("doctor", "local", "--install-pulumi")
    assert (root / "bin" / "pulumi").exists()
    sites.down.clear()
    assert cloudtrain("doctor", "local", "--install-pulumi").code == 0
    assert litter(own_world) == [root.name]


def test_ctrl_c_leaves_nothing_half(
    cloudtrain: Command, own_world: Path, sites: Sites, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted while the archive is unpacked."""

    def interrupted(archive: Path, target: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(fetch(), "unpack", interrupted)
    assert cloudtrain("doctor", "local", "--install-pulumi").code == 130
    assert litter(own_world) == []


def test_a_cache_that_cannot_be_written_is_a_line(cloudtrain: Command, own_world: Path, sites: Sites) -> None:
    """A file in the place of the cache."""
    (own_world / "cache").write_text("")
    result = cloudtrain("doctor", "local", "--install-pulumi")
    assert (result.code, "could not be installed" in result.out) == (1, True)


def test_the_real_engine_is_found_with_its_version(own_world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where this machine has one: what `pulumi version` says, and nothing is written into a home."""
    monkeypatch.undo()
    command = sys.modules["cloudtrain.stacks._pulumi.command"]
    try:
        command.find()
    except Exception as error:
        pytest.skip(str(error))
    home = own_world / "home"
    home.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLOUDTRAIN_PULUMI_ROOT", str(command.find()))
        patch.setenv("HOME", str(home))
        root, version = provisioner().find()
    assert version.startswith("3.")
    assert list(home.iterdir()) == []
    assert subprocess.run([str(root / "bin" / "pulumi"), "version"], capture_output=True, check=True).stdout
