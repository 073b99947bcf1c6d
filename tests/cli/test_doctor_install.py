"""`cloudtrain doctor --install-pulumi`: says what it gets, gets it whole, and a failure leaves nothing half.

The SDK's own installer runs; only the script that it would download is another one. Go, too, is played by a script.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

import pytest

from cloudtrain.provisioner import provisioner
from tests.cli.clouds_here import without_credentials
from tests.conftest import Result

Command = Callable[..., Result]
SCRIPT = """#!/bin/sh
set -e
while [ $# -gt 0 ]; do
    case "$1" in
        --install-root) root="$2"; shift ;;
        --version) version="$2"; shift ;;
    esac
    shift
done
mkdir -p "$root/bin"
printf '#!/bin/sh\\necho v%s\\n' "${OTHER_VERSION:-$version}" > "$root/bin/pulumi"
chmod +x "$root/bin/pulumi"
touch "$root/bin/pulumi-language-python"
"""


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


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """Let the installer's script be this one; returns the addresses that were asked for it."""
    from pulumi.automation import _cmd

    def choose(script: str) -> list[str]:
        asked: list[str] = []

        def download(url: str, path: str) -> None:
            asked.append(url)
            if not script:
                raise URLError("no way to the network")
            Path(path).write_text(script)

        monkeypatch.setattr(_cmd, "_download_to_file", download)
        return asked

    return choose


def litter(own_world: Path) -> list[str]:
    """What lies in the cache below `pulumi`."""
    folder = own_world / "cache" / "pulumi"
    return sorted(os.listdir(folder)) if folder.exists() else []


def test_it_says_what_it_downloads_and_installs_the_engine(
    cloudtrain: Command, own_world: Path, serve: Callable[[str], list[str]]
) -> None:
    """Version, source, size and place on stderr; then it is found and has been run. Again: nothing is downloaded."""
    asked = serve(SCRIPT)
    version = provisioner().version
    result = cloudtrain("doctor", "local", "--install-pulumi")
    assert result.code == 0, result.out
    said = f"Pulumi {version} from https://get.pulumi.com (about 150 MB) into {own_world}/cache/pulumi/v{version}"
    assert said in result.err
    assert f"{version} in {own_world}/cache/pulumi/v{version}" in result.out
    assert litter(own_world) == [f"v{version}"]
    assert provisioner().find() == (own_world / "cache" / "pulumi" / f"v{version}", version)
    again = cloudtrain("doctor", "local", "--install-pulumi")
    assert (again.code, len(asked)) == (0, 1)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("", "no way to the network"),
        ("#!/bin/sh\necho 'error: out of space' >&2\nexit 3\n", "error: out of space"),
        (SCRIPT + "echo broken half way >&2\nexit 1\n", "broken half way"),
        ("#!/bin/sh\ntrue\n", "could not be installed"),
        (SCRIPT.replace("${OTHER_VERSION:-$version}", "3.260.0"), "not version"),
        (SCRIPT.replace("${OTHER_VERSION:-$version}", "4.0.0"), "could not be installed"),
        (SCRIPT.replace("echo v%s", "exit 7; echo %s"), "could not be installed"),
    ],
)
def test_a_failure_is_a_line_and_leaves_nothing_half(
    cloudtrain: Command, own_world: Path, serve: Callable[[str], list[str]], script: str, words: str
) -> None:
    """No network, a script that ends early or half way, one that makes nothing, or another version: exit 1, no engine."""
    serve(script)
    result = cloudtrain("doctor", "local", "--install-pulumi")
    assert (result.code, words in result.err) == (1, True), result.err
    assert "Pulumi's installation" in result.out
    assert "no module proxy" in result.out
    assert litter(own_world) == []


def test_without_the_makers_site_it_is_built_from_its_module(
    cloudtrain: Command, own_world: Path, serve: Callable[[str], list[str]], no_go: Callable[[str], None]
) -> None:
    """What it does, how long it takes and why is said first; nothing but the engine stays."""
    serve("")
    no_go(GO)
    result = cloudtrain("doctor", "local", "--install-pulumi")
    assert result.code == 0, result.out
    assert "no way to the network" in result.err
    assert "building it from its Go module instead (3 to 8 minutes" in result.err
    assert provisioner().find()[1] == provisioner().version
    assert litter(own_world) == [f"v{provisioner().version}"]


def test_a_broken_installation_stays_until_a_whole_one_replaces_it(
    cloudtrain: Command, own_world: Path, serve: Callable[[str], list[str]]
) -> None:
    """What is there stays until something better is whole."""
    root = provisioner().target()
    (root / "bin").mkdir(parents=True)
    (root / "bin" / "pulumi").write_text("#!/bin/sh\nexit 1\n")
    (root / "bin" / "pulumi").chmod(stat.S_IRWXU)
    assert "does not run" in cloudtrain("doctor", "local").out
    serve("")
    cloudtrain("doctor", "local", "--install-pulumi")
    assert (root / "bin" / "pulumi").exists()
    serve(SCRIPT)
    assert cloudtrain("doctor", "local", "--install-pulumi").code == 0
    assert litter(own_world) == [root.name]


def test_ctrl_c_leaves_nothing_half(
    cloudtrain: Command, own_world: Path, serve: Callable[[str], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted while the installer works."""
    from pulumi.automation import _cmd

    def interrupted(url: str, path: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(_cmd, "_download_to_file", interrupted)
    assert cloudtrain("doctor", "local", "--install-pulumi").code == 130
    assert litter(own_world) == []


def test_a_cache_that_cannot_be_written_is_a_line(
    cloudtrain: Command, own_world: Path, serve: Callable[[str], list[str]]
) -> None:
    """A file in the place of the cache."""
    serve(SCRIPT)
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
