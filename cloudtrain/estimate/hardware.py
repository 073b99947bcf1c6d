"""The accelerators and processors cloudtrain knows, looked up by what people call them."""

from __future__ import annotations

from cloudtrain.estimate.accelerators import Backend, Hardware, all_hardware, by_name, exactly

__all__ = ["Backend", "Hardware", "all_hardware", "by_name", "exactly", "find", "units_per_count"]


def find(text: str) -> Hardware:
    """The row that `text` means, by key, name or alias in any spelling. Raises UsageError with the nearest thing."""
    found = exactly(text)
    if found is None:
        from cloudtrain.estimate import naming

        found = naming.one(text).chips[0]
    return found


def units_per_count(text: str) -> int:
    """How many units of the peak one count of `text` means: 2 for an alias such as `2 vCPU Xeon AMX`, else 1."""
    number, _, rest = text.strip().partition(" ")
    return int(number) if number.isdigit() and rest.lower().startswith("vcpu") else 1
