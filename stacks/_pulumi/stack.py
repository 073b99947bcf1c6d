"""The SDK's Pulumi stack without its bookkeeping processes: one command of the engine for one operation.

Left alone, the SDK asks `pulumi` for its version, selects the stack before each operation, and afterwards asks for the
outputs (twice) and the history: 15 of the 20 processes of an `up` and a `down`, each a quarter of a second of processor
time, more with the state in a bucket. Whether there is a stack and what is pending in it is read from the state, where
the engine keeps it; what was made is reported to our own program; the history is not read.
"""

from __future__ import annotations

from typing import Any


def open_stack(name: str, new: bool, **options: Any) -> Any:
    """An `auto.Stack` in an `auto.LocalWorkspace` of these options; a new one is made by `stack init`. Needs the SDK.

    One that is not new is believed to exist: the next operation fails with the engine's words when it does not. The
    results of its operations hold neither outputs nor a summary.
    """
    from pulumi import automation as auto
    from pulumi.automation._stack import StackInitMode

    class Workspace(auto.LocalWorkspace):
        """The SDK's workspace, which selects nothing (every command names its stack) and asks for no outputs."""

        def select_stack(self, stack_name: str) -> None:
            """Each operation passes `--stack`; no default is selected."""

        def stack_outputs(self, stack_name: str) -> dict[str, Any]:
            """None: the program has them."""
            return {}

    class Stack(auto.Stack):
        """The SDK's stack, which does not ask for the history after each operation."""

        def info(self, show_secrets: bool = True) -> Any:
            """A summary that says nothing; the SDK insists on one."""
            return "not asked for"

    return Stack(name, Workspace(**options), StackInitMode.CREATE if new else StackInitMode.SELECT)
