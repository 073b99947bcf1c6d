"""A fake cloud for machines and a fake S3, as one: for a state in a bucket wherever the machines are."""

from __future__ import annotations

from cloudtrain.simulator.aws import AwsCloud, s3
from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.gcp.storage import GcsCloud
from cloudtrain.simulator.http_server import Front


class Together:
    """`fake` has the machines, `buckets` the buckets; for a fake AWS both are one. They share a clock.

    `fake.faults`, `fake.ledger`, `fake.calls` stay those of the cloud with the machines; `buckets` has its own.
    """

    def __init__(self, fake: Front, buckets: AwsCloud | GcsCloud | None = None) -> None:
        """Without `buckets` a fake AWS keeps them itself, and one is made for any other cloud."""
        self.fake = fake
        self.buckets: AwsCloud | GcsCloud = buckets or (fake if isinstance(fake, AwsCloud) else AwsCloud(fake.clock))
        if self.buckets.clock is not fake.clock:
            raise ValueError("both must have the same clock")
        if self.buckets is not fake:
            fake.room.reached.append(self.buckets)

    def bucket(self, name: str) -> str:
        """Make a bucket; its address, as CLOUDTRAIN_STATE takes it."""
        if isinstance(self.buckets, GcsCloud):
            self.buckets.make_bucket(name)
            return f"gs://{name}"
        s3.make_bucket(self.buckets, name)
        return f"s3://{name}"

    def objects(self, name: str) -> dict[str, bytes]:
        """Everything that lies in a bucket."""
        if isinstance(self.buckets, GcsCloud):
            return self.buckets.objects(name)
        return s3.objects(self.buckets, name)

    def environment(self) -> dict[str, str]:
        """The variables with which a client finds both."""
        return {**self.buckets.environment(), **self.fake.environment()}

    def secrets(self) -> list[str]:
        """The planted secrets: what must turn up nowhere."""
        return [value for value in self.environment().values() if "PLANTED-SECRET" in value]

    def leftovers(self) -> list[str]:
        """What still exists or costs money in either, apart from buckets, which are the user's own."""
        extra = [] if self.buckets is self.fake else self.buckets.leftovers()
        return [*self.fake.leftovers(), *extra]

    def reset(self, clock: Clock | None = None) -> None:
        """Both empty again, behind the same doors, with a common clock: a new real one unless one is given."""
        common = clock or Clock()
        for each in {id(self.fake): self.fake, id(self.buckets): self.buckets}.values():
            each.reset(common)

    def stop(self) -> None:
        """Close all doors; machines that run are cut off first."""
        self.fake.stop()
        if self.buckets is not self.fake:
            self.buckets.stop()
