"""Credentials without a stored secret: the identity of a CI job, exchanged once for what the clouds' clients read.

What is exchanged goes into the environment of this process, where every client looks first: bucket, SDKs, the engine,
signed addresses. So all have the same credentials with the same end, and no command line, file of the state or message
holds them. Keys that are set already win.
"""

from __future__ import annotations

from cloudtrain.signing.keyless import amazon, google


def take() -> tuple[str, ...]:
    """Exchange the job's identity where the environment asks for it and it was not yet; what a person should know.

    Costs nothing when the variables are unset. Raises BucketDenied, Unavailable, UsageError.
    """
    return (*amazon.take(), *google.take())


def renew() -> None:
    """Exchange again what this process has exchanged some time ago, as far as the CI system still allows it.

    A run's next machine gets addresses that live as long as possible. Google signs anew each time by itself.
    """
    amazon.renew()
