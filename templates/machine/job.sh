
# The job, beside the timer: started again whenever it is killed; when it says that it is over, so is the machine.
job() {
    home="${CLOUDTRAIN_HOME:-/var/lib/cloudtrain}"
    umask 077
    mkdir -p "$home" && cat >"$home/boot.py" <<'END_OF_BOOT_PY'
@BOOT@
END_OF_BOOT_PY
    export CLOUDTRAIN_TICKET='@TICKET@' CLOUDTRAIN_HOME="$home"
    until python3 -u "$home/boot.py" >>"$home/boot.log" 2>&1; do
        sleep "${CLOUDTRAIN_RETRY_S:-5}"
    done
    while :; do
        @OVER@
        sleep "${CLOUDTRAIN_RETRY_S:-60}"
    done
}

job </dev/null >/dev/null 2>&1 &
