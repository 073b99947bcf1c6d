"""What an account of the fake AWS holds and remembers; every call of the fake reads and changes this one record."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

from cloudtrain.simulator.aws import tables
from cloudtrain.simulator.aws.price_book import PriceBook
from cloudtrain.simulator.aws.s3_signed import Keys
from cloudtrain.simulator.aws.wire import forget, warm
from cloudtrain.simulator.ci_identity import SUBJECT, GithubTokens
from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.faults import Faults
from cloudtrain.simulator.http_server import Front, Reply
from cloudtrain.simulator.ledger import Ledger

DEFAULT_S = 3600  # of a role whose longest session nobody has raised
_accounts = itertools.count(100000000001)


@dataclass
class Machine:
    """What the fake remembers of an instance in addition to moto's own object."""

    id: str
    region: str
    type: str
    market: str
    zone: str
    vcpus: int
    tags: dict[str, str]
    groups: tuple[str, ...]
    behaviour: str
    deadline: float | None  # of the guest's shutdown timer, epoch seconds
    state: str = "pending"
    volumes: list[str] = field(default_factory=list)
    spot_request: str = ""
    script: bytes = b""  # what the guest runs at its first boot
    notice_at: float | None = None  # when AWS preempts it, once the notice has been given
    tags_inside: bool = False  # the guest may read its tags


@dataclass
class Role:
    """A role, with the two conditions of its trust policy and `MaxSessionDuration`."""

    arn: str
    issuer: GithubTokens
    longest_s: int = DEFAULT_S
    audience: str = "sts.amazonaws.com"
    subject: str = SUBJECT  # StringLike


@dataclass(frozen=True)
class Session:
    """Keys that were given, until when (seconds since 1970)."""

    keys: Keys
    ends: float


class AwsAccount(Front):
    """Machines, tokens, spot requests, schedules, quotas, and what lists do not know yet."""

    def __init__(self, clock: Clock | None, regions: tuple[str, ...]) -> None:
        super().__init__(clock)
        warm()
        self.regions = regions
        self.account = ""
        self.reset(self.clock)

    def reset(self, clock: Clock | None = None) -> None:
        """An empty account behind the same door: cheaper than a new cloud."""
        self.room.close()
        forget(self.account)
        self.clock = clock or Clock()
        self.ledger, self.faults, self.calls = Ledger(self.clock), Faults(), []
        self.slow_s = 0.0
        self.account = str(next(_accounts))
        self.pending_s, self.ending_s = 0.3, 0.2  # how long a machine is pending and shutting down
        self.guests_boot = self.schedules_fire = True  # switch a guard off to see that the other one suffices
        self.checks_signing_time = False  # whether S3 refuses what was signed by another clock than ours
        self.quotas = tables.quotas()
        self.prices = PriceBook()
        self.machines: dict[str, Machine] = {}
        self.tokens: dict[tuple[str, str], tuple[bytes, str, Reply, float]] = {}
        self.spot_requests: dict[str, dict[str, Any]] = {}
        self.schedule_bodies: dict[tuple[str, str], bytes] = {}
        self.role_known_at: dict[str, float] = {}
        self.roles: dict[str, Role] = {}  # those that trust a CI system, by their ARN
        self.sessions: dict[str, Session] = {}  # of such roles, by access key
        self.cost_tags: dict[str, float] = {}  # tags that are on bills -> since when: no tag is, by itself
        self.bill_requests: list[float] = []  # to Cost Explorer, when; a cent each
        self.bill_page = 100  # groups on a page of it
        self.hidden: list[tuple[float, str, str, str]] = []  # until, kind, region, key

    def hide(self, kind: str, region: str, key: str, seconds: float) -> None:
        """Let lists and look-ups not know a new thing for a while."""
        self.hidden.append((self.clock.now() + seconds, kind, region, key))

    def stop(self) -> None:
        super().stop()
        forget(self.account)
