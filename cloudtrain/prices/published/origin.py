"""Where the published catalogue is, whose signature on it counts, and how much of it is read.

Nothing is published yet: address and keys are empty until somebody has set the job up (docs/published-prices.md).
"""

from __future__ import annotations

ADDRESS = ""  # the folder, https://, in which the three files lie
# Ed25519, as `openssl pkey -pubout` writes them without its first and last line. Two while one takes the other's place.
PUBLIC_KEYS: tuple[str, ...] = ()
# Who may answer, each redirect included: where releases are asked for, and where their files lie.
HOSTS = ("github.com", "objects.githubusercontent.com", "release-assets.githubusercontent.com")

MANIFEST, SIGNATURE = "manifest.json", "manifest.json.sig"
MOST_BYTES = 5_000_000  # of the archive, packed and unpacked; today's lists are 0.1 MB
MOST_MANIFEST_BYTES = 1_000_000  # prices that wait are in it
MOST_SIGNATURE_BYTES = 4096  # it has 64
SECONDS = 60.0  # for all of it
EARLY_S = 15 * 60.0  # a manifest may be so much ahead of this machine's clock
