"""How a provider's prices are renewed: by which command, and what that needs here. Nobody is asked.

Environment variables and files say it, as they do for what `up` needs.
"""

from __future__ import annotations

import os

from cloudtrain.providers import PriceSource, load


def has_credentials(provider: str) -> bool:
    """Whether the environment or a file of its SDK holds anything that is meant as credentials for the provider."""
    source = load("pricing", provider, PriceSource)
    if any(os.environ.get(variable) for variable in source.credentials):
        return True
    files = (os.path.expanduser(os.path.expandvars(path)) for path in source.credential_files)
    return any(os.path.isfile(path) for path in files)


def command(provider: str) -> str:
    """The command that asks the provider for its prices; "" where it has no interface for that."""
    source = load("pricing", provider, PriceSource)
    return "" if source.refresh is None else f"cloudtrain prices refresh --provider {provider}"


def needs(provider: str) -> str:
    """What the command lacks here, such as `credentials (RUNPOD_API_KEY)`; "" where it can be called as it is."""
    source = load("pricing", provider, PriceSource)
    if source.keyless or has_credentials(provider):
        return ""
    variables = ", ".join(source.credentials)
    return f"credentials ({variables})" if variables else "credentials"


def advice(provider: str) -> str:
    """How its prices are renewed, in a sentence; "" where they cannot be asked for."""
    said = command(provider)
    if not said:
        return ""
    lacks = needs(provider)
    return f"`{said}` renews it{f', which needs {lacks}' if lacks else ''}"
