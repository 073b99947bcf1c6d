#!/bin/sh
# The machine powers itself off at an absolute time. That ends the work, not the price: a droplet costs until it is
# deleted, which takes a token that no machine gets. A script of the first boot does not run at others, so it stays.
deadline=@DEADLINE@
home="${CLOUDTRAIN_HOME:-/var/lib/cloudtrain}"

watch() {
    # Short sleeps, because a clock that is set right meanwhile must count; `ahead` is what the job knows of a wrong one.
    while now=$(($(date +%s) + $(cat "$home/ahead" 2>/dev/null || echo 0))) && [ "$now" -lt "$deadline" ]; do
        left=$((deadline - now))
        sleep $((left < 60 ? left : 60))
    done
    while :; do
        poweroff
        sleep "${CLOUDTRAIN_RETRY_S:-60}"
    done
}

# Without a key of an account DigitalOcean mails a password for root: nobody is to come in with it.
systemctl disable --now ssh.socket ssh.service >/dev/null 2>&1
watch </dev/null >/dev/null 2>&1 &
again="${CLOUDTRAIN_PER_BOOT:-/var/lib/cloud/scripts/per-boot}/cloudtrain-deadline"
[ "$0" = "$again" ] || { mkdir -p "${again%/*}" && cp "$0" "$again" && chmod 700 "$again"; }
