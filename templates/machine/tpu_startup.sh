#!/bin/sh
# A TPU machine asks for its own end at the deadline, with its own account's rights, and again until it is gone: nobody
# says that a TPU which powers itself off costs nothing. This runs at every boot; the deadline is absolute.
limit=@DEADLINE@
metadata="${CLOUDTRAIN_METADATA:-http://metadata.google.internal}/computeMetadata/v1"
tpu="${CLOUDTRAIN_TPU:-https://tpu.googleapis.com}"

delete_self() {
    token=$(curl -sf -m 20 -H 'Metadata-Flavor: Google' "$metadata/instance/service-accounts/default/token" |
        sed 's/.*"access_token" *: *"\([^"]*\)".*/\1/') || return 1
    # The token goes through standard input: the arguments of a process can be read by anybody on the machine.
    printf 'header = "Authorization: Bearer %s"\n' "$token" |
        curl -sf -m 60 -X DELETE -K - "$tpu@PATH@" >/dev/null
}

watch() {
    ahead="${CLOUDTRAIN_HOME:-/var/lib/cloudtrain}/ahead" # what the job knows of a wrong clock
    while now=$(($(date +%s) + $(cat "$ahead" 2>/dev/null || echo 0))) && [ "$now" -lt "$limit" ]; do
        left=$((limit - now))
        sleep $((left < 60 ? left : 60))
    done
    while :; do
        delete_self
        sleep "${CLOUDTRAIN_RETRY_S:-60}"
    done
}

watch </dev/null >/dev/null 2>&1 &
