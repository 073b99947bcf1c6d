"""What an EC2 guest makes of its user data."""

from __future__ import annotations

import re
from base64 import b64decode
from gzip import decompress

from cloudtrain.simulator.aws.wire import Refused

USER_DATA_BYTES = 16384  # EC2 user guide, before the encoding


def guest_script(user_data: str | None) -> bytes:
    """What cloud-init makes of user data: unpacked when it is packed. Raises Refused for more than EC2 takes."""
    data = b64decode(user_data or "")
    if len(data) > USER_DATA_BYTES:
        raise Refused("InvalidParameterValue", f"User data is limited to {USER_DATA_BYTES} bytes")
    return decompress(data) if data.startswith(b"\x1f\x8b") else data


def guest_deadline(script: bytes) -> float | None:
    """When a guest that runs this script shuts down; None when the script sets no timer."""
    text = script.decode(errors="replace")
    at = re.search(r"^deadline=(\d+)$", text, re.MULTILINE)
    return float(at[1]) if at and text.startswith("#!") and re.search(r"^shutdown -h ", text, re.MULTILINE) else None
