#!/bin/sh
# The machine ends itself by an absolute time (to the minute, never later), without network, agent or permission; its
# shutdown behaviour is `terminate`. A timer of `shutdown` does not survive a reboot, so this runs at every boot.
deadline=@DEADLINE@
ahead=$(cat "${CLOUDTRAIN_HOME:-/var/lib/cloudtrain}/ahead" 2>/dev/null || echo 0) # what the job knows of a wrong clock
minutes=$(( (deadline - $(date +%s) - ahead) / 60 ))
[ "$minutes" -gt 0 ] || minutes=0
shutdown -h "+$minutes" || { { sleep $((minutes * 60)); poweroff -f; } & }
again="${CLOUDTRAIN_PER_BOOT:-/var/lib/cloud/scripts/per-boot}/cloudtrain-deadline"
[ "$0" = "$again" ] || { mkdir -p "${again%/*}" && cp "$0" "$again" && chmod 700 "$again"; }
