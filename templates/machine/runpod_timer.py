"""Ends the pod it runs in when its time is over: the guard that works with everybody else gone.

RunPod has no time limit of its own and starts a container again for ever when its process exits. So the deadline is an
instant, never a duration, and this program never returns: from the deadline on it asks once a minute to delete the pod,
with the key that RunPod itself puts into every pod. Standard library only, Python 3.9 or newer.

Environment: CLOUDTRAIN_DEADLINE (seconds since 1970; missing or unreadable means now), RUNPOD_POD_ID, RUNPOD_API_KEY,
and for simulations CLOUDTRAIN_RUNPOD_URL and CLOUDTRAIN_RETRY_S.
"""

import contextlib
import http.client
import json
import os
import signal
import sys
import threading
import time
import urllib.error
import urllib.request

JOB = ""  # the text of the program that begins the pod's job; the client fills it in when there is one
running = []  # the process of the job


def number(name, otherwise):
    """A number from the environment."""
    try:
        return float(os.environ[name])
    except (KeyError, ValueError):
        return otherwise


def now():
    """Seconds since 1970; the job process leaves a note when the machine's clock is wrong."""
    path = os.path.join(os.environ.get("CLOUDTRAIN_HOME") or "/var/lib/cloudtrain", "ahead")
    with contextlib.suppress(OSError, ValueError), open(path, encoding="ascii") as file:
        return time.time() + float(file.read())
    return time.time()


def log(message):
    """A line for the pod's log, if anybody reads it."""
    with contextlib.suppress(OSError, ValueError):  # a closed output must not end the program
        print("cloudtrain:", message, flush=True)


def ask(method, path, document=None):
    """The status that RunPod answers; 0 when there is no answer."""
    try:
        request = urllib.request.Request(  # noqa: S310  # https, or a simulation on loopback
            os.environ.get("CLOUDTRAIN_RUNPOD_URL", "https://api.runpod.io") + path,
            method=method,
            data=None if document is None else json.dumps(document).encode(),
            headers={
                "Authorization": "Bearer " + os.environ.get("RUNPOD_API_KEY", ""),
                "Content-Type": "application/json",
            },
        )
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return answer.status
    except urllib.error.HTTPError as refused:
        return refused.code
    except (OSError, ValueError, http.client.HTTPException):
        return 0


def end():
    """Ask for the pod to be deleted, by the old API too when the new one does not do it. Say how it went.

    A 404 is no success: whoever reads it still runs, so the pod is there and its key may not see it.
    """
    pod = os.environ.get("RUNPOD_POD_ID", "")
    status = ask("DELETE", "/v2/pods/" + pod)
    if 200 <= status < 300:
        return f"DELETE {status}"
    said = ask("POST", "/graphql", {"query": f'mutation {{ podTerminate(input: {{ podId: "{pod}" }}) }}'})
    return f"DELETE {status}, podTerminate {said}"


def keep_job():
    """Start the job again until it says that it is over, and collect what it leaves behind; then the pod ends."""
    status = 1
    while status != 0:
        job = os.posix_spawn(sys.executable, [sys.executable, "-u", "-c", JOB], os.environ)
        running[:] = [job]
        ended = None
        while ended != job:
            ended, status = os.wait()  # whatever loses its parent in a container becomes ours
        if status != 0:
            time.sleep(max(0.01, min(5.0, number("CLOUDTRAIN_RETRY_S", 5.0))))
    end_for_ever("the job is over")


def hand_on(number, frame):
    """Forward the notice to the job: a preempted pod notifies its first process alone."""
    for job in running:
        with contextlib.suppress(OSError):
            os.kill(job, number)


def end_for_ever(why):
    """Ask for the end of the pod until it comes."""
    while True:
        try:
            log(f"{why}: {end()}")
        except Exception as error:  # nothing may end this loop
            log(f"{why}, and this failed: {type(error).__name__}")
        time.sleep(max(0.01, number("CLOUDTRAIN_RETRY_S", 60.0)))


def main():
    """Wait, then ask for ever."""
    if JOB:
        signal.signal(signal.SIGTERM, hand_on)
        threading.Thread(target=keep_job, daemon=True).start()
    deadline = number("CLOUDTRAIN_DEADLINE", 0.0)
    log(f"this pod ends itself at {deadline:.0f}")
    while now() < deadline:
        # Short sleeps, because a clock that is set right meanwhile must count.
        time.sleep(max(0.01, min(30.0, deadline - now())))
    end_for_ever("the time is over")


if __name__ == "__main__":
    main()
