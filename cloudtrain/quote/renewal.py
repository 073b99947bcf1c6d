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
    if source.keyless or has_credentials(provider) or any(map(os.environ.get, source.price_credentials)):
        return ""
    variables = f" ({', '.join(source.credentials)})" if source.credentials else ""
    return " or ".join([*source.price_credentials, f"credentials{variables}"])


def needs_shortly(provider: str) -> str:
    """The same in a few words: a key for prices alone is named, where there is such a thing."""
    alone = load("pricing", provider, PriceSource).price_credentials
    lacks = needs(provider)
    return alone[0] if lacks and alone else lacks and f"{provider} {lacks}"


def advice(provider: str) -> str:
    """How its prices are renewed, in a sentence; "" where they cannot be asked for."""
    said = command(provider)
    if not said:
        return ""
    lacks = needs(provider)
    return f"`{said}` renews it{f', which needs {lacks}' if lacks else ''}"
