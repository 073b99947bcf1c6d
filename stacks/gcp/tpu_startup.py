"""What a TPU machine does at every start: watch the deadline and delete itself then, with its own account's rights."""

from __future__ import annotations

_SCRIPT = """#!/bin/bash
# Deletes this machine at the deadline, whoever is still there to do so. Asks again until it is gone.
cat > /run/cloudtrain-deadline.sh <<'END'
while [ "$(date +%s)" -lt {deadline} ]; do sleep 20; done
metadata=http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token
while :; do
  token=$(curl -s -H 'Metadata-Flavor: Google' "$metadata" | sed -n 's/.*"access_token" *: *"\\([^"]*\\)".*/\\1/p')
  printf 'Authorization: Bearer %s' "$token" | curl -s -X DELETE -H @- '{url}'
  sleep 60
done
END
nohup bash /run/cloudtrain-deadline.sh > /dev/null 2>&1 &
"""


def delete_url(queued_path: str) -> str:
    """The address at which a DELETE ends a queued resource together with its node."""
    return f"https://tpu.googleapis.com/v2/{queued_path}?force=true"


def startup_script(queued_path: str, deadline: float) -> str:
    """The script for one machine. `deadline` in epoch seconds. The token goes through a pipe, never through argv."""
    return _SCRIPT.format(deadline=int(deadline), url=delete_url(queued_path))
