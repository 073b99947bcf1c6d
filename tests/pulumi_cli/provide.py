"""Find Pulumi's command line for the tests, or make it as `cloudtrain doctor --install-pulumi` does.

python tests/pulumi_cli/provide.py          prints the folder that holds bin/pulumi
"""

from __future__ import annotations

import sys

from cloudtrain.cli.doctor import install
from cloudtrain.errors import UsageError
from cloudtrain.provisioner import provisioner


def main() -> int:
    """0 and the folder on stdout; what is being done, and what went wrong, on stderr."""
    door = provisioner()
    try:
        print(door.find()[0])
        return 0
    except UsageError:
        failed = install()
    for line in failed:
        print(line.finding.message, file=sys.stderr)
    if not failed:
        print(door.target())
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
