"""What takes part in a run but client and cloud: nothing in a real run, the simulator in a simulated one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from cloudtrain.errors import UsageError
    from cloudtrain.plan import Plan


class Machinery(Protocol):
    """Given to a session by who starts it."""

    ends_with_client: bool  # whether nothing of the run outlives the client, so that Ctrl-C has nothing to ask

    def stage(self, plan: Plan) -> Plan:
        """The plan that is started, called when a plan is agreed to and nothing is made yet."""

    def refuse(self, why: UsageError) -> None:
        """Raise, or tell, why the job of the spec could not be done."""


class RealClouds:
    """The plan is started as it was agreed to, and the run outlives its client."""

    ends_with_client = False

    def stage(self, plan: Plan) -> Plan:
        """As it is."""
        return plan

    def refuse(self, why: UsageError) -> None:
        """Raise it: no machine is made for a job that must fail."""
        raise why
