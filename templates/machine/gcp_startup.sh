#!/bin/sh
# A second clock: two minutes after Compute Engine should have deleted this machine, the machine asks for it itself.
# Not before: a stopped machine loses Compute Engine's limit and keeps its disk and the disk's price, so powering off is
# the last resort, for a service account that may not delete. This runs at every boot; the deadline is absolute.
deadline=@DEADLINE@
limit=$((deadline + ${CLOUDTRAIN_SLACK_S:-120}))
metadata="${CLOUDTRAIN_METADATA:-http://metadata.google.internal}/computeMetadata/v1"
compute="${CLOUDTRAIN_COMPUTE:-https://compute.googleapis.com}/compute/v1"

ask() { curl -sf -m 20 -H 'Metadata-Flavor: Google' "$metadata/$1"; }

delete_self() {
    token=$(ask instance/service-accounts/default/token | sed 's/.*"access_token" *: *"\([^"]*\)".*/\1/') || return 1
    # A member of a managed group would be made again: its group goes, and the member with it.
    target=$(ask instance/attributes/created-by) ||
        target="projects/$(ask project/project-id)/$(ask instance/zone | sed 's,.*/zones/,zones/,')/instances/$(ask instance/name)"
    # The token goes through standard input: the arguments of a process can be read by anybody on the machine.
    printf 'header = "Authorization: Bearer %s"\n' "$token" |
        curl -sf -m 60 -X DELETE -K - "$compute/$target" >/dev/null
}

watch() {
    ahead="${CLOUDTRAIN_HOME:-/var/lib/cloudtrain}/ahead" # what the job knows of a wrong clock
    while now=$(($(date +%s) + $(cat "$ahead" 2>/dev/null || echo 0))) && [ "$now" -lt "$limit" ]; do
        left=$((limit - now))
        sleep $((left < 60 ? left : 60))
    done
    for wait_s in ${CLOUDTRAIN_WAITS_S:-0 10 30 60}; do
        sleep "$wait_s"
        delete_self && sleep "${CLOUDTRAIN_PATIENCE_S:-300}" # the power goes meanwhile
    done
    ${CLOUDTRAIN_POWEROFF:-poweroff}
}

watch </dev/null >/dev/null 2>&1 &
