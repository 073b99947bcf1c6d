"""What every command that looks into a state or at a provider begins with: the credentials of a keyless job."""

from __future__ import annotations

import os
from collections.abc import Sequence

ASKED_FOR = ("AWS_ROLE_ARN", "CLOUDTRAIN_GOOGLE_WORKLOAD_PROVIDER", "CLOUDTRAIN_GOOGLE_SERVICE_ACCOUNT")
WITHOUT = {"completion", "config", "estimate", "image", "init", "models", "quote", "schedule", "schema", "throughput"}
GO_ON = {"doctor", "prices", "sweep"}  # these tell what they cannot reach, and look at the rest


def enter(argv: Sequence[str]) -> None:
    """Take the credentials, where the environment asks for that and the command may need any.

    Raises as `keyless.take`; a simulation has credentials of its own.
    """
    if not any(os.environ.get(name) for name in ASKED_FOR):
        return
    command = next((word for word in argv if not word.startswith("-")), "")
    apart = any(word in ("-h", "--help") or word.startswith("--simulate") for word in argv) or "rehearse" in argv[:2]
    if not command or command in WITHOUT or apart:
        return
    from cloudtrain.cli.output import print_message
    from cloudtrain.errors import CloudtrainError
    from cloudtrain.signing import keyless

    try:
        for told in keyless.take():
            print_message(told)
    except CloudtrainError as error:
        if command not in GO_ON:
            raise
        print_message(f"no keyless credentials: {error.message}")
